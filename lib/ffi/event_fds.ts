/**
 * Descriptors that become readable on an event: eventfd(2) and inotify(7).
 *
 * @module
 */

import { openFlag } from "./constants.ts";
import { Fd } from "./fd.ts";
import { alloc, cString, type Kernel, syscallError } from "./kernel.ts";

/** The file was modified. cgroup file systems send this when a file's content changes. inotify(7) */
export const IN_MODIFY = 2;

/** `struct inotify_event` without the name: events of watched files have none. */
const INOTIFY_EVENT_SIZE = 16;
/** One read returns as many events as fit. 64 is more than the two watched files of a cgroup can queue. */
const INOTIFY_BUFFER_SIZE = 64 * INOTIFY_EVENT_SIZE;

/** A new eventfd with count 0, close-on-exec. @see eventfd(2) */
export function eventfd(kernel: Kernel): Fd {
  const number = kernel.must("eventfd(0, EFD_CLOEXEC)", "eventfd", 0, openFlag(kernel.arch).O_CLOEXEC);
  return new Fd(kernel, number, "eventfd");
}

/** Adds 1 to an eventfd's count: it becomes readable. @throws {RuncError} */
export function raiseEventfd(kernel: Kernel, fd: Fd): void {
  kernel.must(`write(${fd.label})`, "write", fd.number, ONE, ONE.length);
}

/** The count 1. */
const ONE = alloc(8).fill(1, 0, 1);

/** Reads an eventfd's count and resets it to 0. Blocks while the count is 0. */
export function readEventfd(kernel: Kernel, fd: Fd): bigint {
  const count = alloc(8);
  const size = kernel.retry("read", fd.number, count, count.length);
  if (size < 0) throw syscallError(`read(${fd.label})`, -size);
  return new DataView(count.buffer).getBigUint64(0, true);
}

/** A new inotify instance, close-on-exec. @see inotify_init(2) */
export function inotify(kernel: Kernel): Fd {
  const number = kernel.must("inotify_init1(IN_CLOEXEC)", "inotify_init1", openFlag(kernel.arch).O_CLOEXEC);
  return new Fd(kernel, number, "inotify");
}

/** Watches `path` for `events` (IN_* bits). Returns the watch's number. @see inotify_add_watch(2) */
export function inotifyWatch(kernel: Kernel, fd: Fd, path: string, events: number): number {
  return kernel.must(
    `inotify_add_watch(${JSON.stringify(path)})`,
    "inotify_add_watch",
    fd.number,
    cString(path),
    events,
  );
}

/** The numbers of the watches that have events. Blocks until the first event. */
export function readInotify(kernel: Kernel, fd: Fd): readonly number[] {
  const buffer = alloc(INOTIFY_BUFFER_SIZE);
  const size = kernel.retry("read", fd.number, buffer, buffer.length);
  if (size < 0) throw syscallError(`read(${fd.label})`, -size);
  const view = new DataView(buffer.buffer);
  const watches: number[] = [];
  for (let at = 0; at + INOTIFY_EVENT_SIZE <= size; at += INOTIFY_EVENT_SIZE + view.getUint32(at + 12, true)) {
    watches.push(view.getInt32(at, true));
  }
  return watches;
}
