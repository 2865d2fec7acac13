/**
 * Watches a container for OOM events and for its end. Runs in: parent.
 *
 * @module
 */

import { writeCgroupFile } from "../../cgroups/file.ts";
import { readKeyed } from "../../cgroups/stats/files.ts";
import { RuncError } from "../../errors.ts";
import { eventfd, IN_MODIFY, inotify, inotifyWatch, readEventfd, readInotify } from "../../ffi/event_fds.ts";
import type { Fd } from "../../ffi/fd.ts";
import { isThere, open } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";

/** A watch on a container's memory. */
export interface OomWatch extends Disposable {
  /** Readable when {@link next} has something to return, and at the end. */
  readonly fd: number;
  /** Whether there are no more events: on v1 the cgroup is gone, on v2 it has no processes. */
  readonly isOver: boolean;
  /** Takes the next event, or waits for it. Returns whether it was an OOM event. */
  next(): boolean;
}

/**
 * Watches the cgroups of a container. `paths`: by controller on v1, under `""` on v2.
 *
 * @throws {RuncError} if the container has no cgroup of the memory controller.
 */
export function watchOom(kernel: Kernel, paths: Readonly<Record<string, string>>): OomWatch {
  const { "": unified, memory } = paths;
  if (memory !== undefined) return new OomWatchV1(kernel, memory);
  if (unified === undefined || Object.keys(paths).length > 1) {
    throw new RuncError("cgroup-failed", "memory controller missing");
  }
  return new OomWatchV2(kernel, unified);
}

/**
 * Uses an eventfd registered in cgroup.event_control.
 *
 * @see Documentation/admin-guide/cgroup-v1/memory.rst, OOM Control
 */
class OomWatchV1 implements OomWatch {
  readonly #kernel: Kernel;
  readonly #control: string;
  readonly #file: Fd;
  readonly #eventfd: Fd;

  constructor(kernel: Kernel, directory: string) {
    this.#kernel = kernel;
    this.#control = `${directory}/cgroup.event_control`;
    this.#file = open(kernel, `${directory}/memory.oom_control`, 0);
    this.#eventfd = eventfd(kernel);
    writeCgroupFile(directory, "cgroup.event_control", `${this.#eventfd.number} ${this.#file.number}`);
  }

  get fd(): number {
    return this.#eventfd.number;
  }

  get isOver(): boolean {
    return !isThere(this.#kernel, this.#control);
  }

  next(): boolean {
    readEventfd(this.#kernel, this.#eventfd);
    // The removal of the cgroup is an event too.
    return !this.isOver;
  }

  [Symbol.dispose](): void {
    this.#eventfd.close();
    this.#file.close();
  }
}

/** Uses inotify: memory.events changes on an OOM event, cgroup.events when the last process has left. */
class OomWatchV2 implements OomWatch {
  readonly #kernel: Kernel;
  readonly #directory: string;
  readonly #inotify: Fd;
  readonly #memoryEvents: number;
  #kills: bigint;

  constructor(kernel: Kernel, directory: string) {
    this.#kernel = kernel;
    this.#directory = directory;
    this.#inotify = inotify(kernel);
    this.#memoryEvents = inotifyWatch(kernel, this.#inotify, `${directory}/memory.events`, IN_MODIFY);
    inotifyWatch(kernel, this.#inotify, `${directory}/cgroup.events`, IN_MODIFY);
    this.#kills = this.#readKills();
  }

  get fd(): number {
    return this.#inotify.number;
  }

  get isOver(): boolean {
    return (readKeyed(this.#directory, "cgroup.events")?.["populated"] ?? 0n) === 0n;
  }

  /** memory.events changes for other reasons too. */
  next(): boolean {
    const watches = readInotify(this.#kernel, this.#inotify);
    if (!watches.includes(this.#memoryEvents)) return false;
    const before = this.#kills;
    this.#kills = this.#readKills();
    return this.#kills > before;
  }

  #readKills(): bigint {
    return readKeyed(this.#directory, "memory.events")?.["oom_kill"] ?? 0n;
  }

  [Symbol.dispose](): void {
    this.#inotify.close();
  }
}
