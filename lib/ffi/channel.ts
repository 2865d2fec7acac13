/**
 * Ends of streams that are read and written without ever waiting, by a program that waits in one poll(2) for everything.
 *
 * @module
 */

import { FileType, openFlag } from "./constants.ts";
import { cString, type Kernel, syscallError } from "./kernel.ts";
import { fstat } from "./stat.ts";
import { isTerminal } from "./terminal.ts";

/**
 * How an end is read or written without waiting. `nonblocking`: O_NONBLOCK is set, or it is a file, which never has to be waited for. `socket`: its
 * calls take MSG_DONTWAIT. `pipe`: splice(2) to or from another pipe takes SPLICE_F_NONBLOCK. `blocking`: others use it too and do not
 * expect O_NONBLOCK, so poll(2) is asked before each call.
 */
export type Manner = "nonblocking" | "socket" | "pipe" | "blocking";

/** A descriptor, and how it is used. */
export interface Channel {
  readonly fd: number;
  readonly manner: Manner;
}

/**
 * A channel of a descriptor that others hold too, such as our stdin: whoever started us shares its file description, so
 * O_NONBLOCK must not be set there. Terminals, and pipes unless `toPipe` says that the other end of the stream is one, are opened anew
 * instead, close-on-exec. `fd` itself is not touched.
 *
 * @throws {RuncError} EBADF where `fd` is not open.
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
    // EACCES: the terminal or pipe of another user, after su(1). ENXIO: a pipe that nobody reads. Used as it is.
    return number < 0 ? { fd, manner: "blocking" } : { fd: number, manner: "nonblocking" };
  }
  const manners: Readonly<Record<number, Manner>> = {
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
