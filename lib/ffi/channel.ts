/**
 * Stream ends for a program that waits for everything in one poll(2): no read or write blocks.
 *
 * @module
 */

import { FileType, openFlag } from "./constants.ts";
import { cString, type Kernel, syscallError } from "./kernel.ts";
import { fstat } from "./stat.ts";
import { isTerminal } from "./terminal.ts";

/**
 * How to read or write a descriptor without blocking:
 * - `nonblocking`: O_NONBLOCK is set, or the descriptor is a regular file, which never blocks.
 * - `socket`: calls take MSG_DONTWAIT.
 * - `pipe`: splice(2) to or from another pipe takes SPLICE_F_NONBLOCK.
 * - `blocking`: other processes share the descriptor and do not expect O_NONBLOCK, so poll(2) is called before each
 *   call.
 */
export type IoMode = "nonblocking" | "socket" | "pipe" | "blocking";

/** A descriptor, and how to use it. */
export interface Channel {
  readonly fd: number;
  readonly manner: IoMode;
}

/**
 * A channel for a descriptor that other processes hold too, such as our stdin. Our caller shares its file description,
 * so this function must not set O_NONBLOCK on it. It reopens terminals instead, close-on-exec, and also pipes, unless
 * `toPipe` says that the other end of the stream is a pipe. `fd` itself is not changed.
 *
 * @throws {RuncError} EBADF if `fd` is not open.
 */
export function sharedChannel(
  kernel: Kernel,
  fd: number,
  { direction, toPipe }: { direction: "read" | "write"; toPipe: boolean },
): Channel {
  const type = fileType(kernel, fd);
  if (type === FileType.S_IFIFO && toPipe) return { fd, manner: "pipe" };
  if (type === FileType.S_IFIFO || (type === FileType.S_IFCHR && isTerminal(kernel, fd))) {
    const O = openFlag(kernel.arch);
    const flags = O.O_NONBLOCK | O.O_NOCTTY | O.O_CLOEXEC | (direction === "write" ? O.O_WRONLY : 0);
    const number = kernel.retry("open", cString(`/proc/self/fd/${fd}`), flags);
    // EACCES: the terminal or pipe belongs to another user, after su(1). ENXIO: the pipe has no reader. Both are used
    // as they are.
    return number < 0 ? { fd, manner: "blocking" } : { fd: number, manner: "nonblocking" };
  }
  const manners: Readonly<Record<number, IoMode>> = {
    [FileType.S_IFSOCK]: "socket",
    [FileType.S_IFREG]: "nonblocking",
  };
  return { fd, manner: manners[type] ?? "blocking" };
}

function fileType(kernel: Kernel, fd: number): number {
  const status = fstat(kernel, fd);
  if (typeof status === "number") throw syscallError(`fstat(${fd})`, -status);
  return status.mode & FileType.S_IFMT;
}
