/**
 * Waiting for the end of a process together with other things.
 *
 * @module
 */

import { openFlag } from "./constants.ts";
import { Errno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { alloc, cString, type Kernel, syscallError } from "./kernel.ts";
import { poll, POLLIN, type Watch } from "./poll.ts";
import { pidfdSendSignal } from "./process/process.ts";
import { syscallNumber } from "./syscalls.ts";

/** A process whose end can be waited for. */
export interface Ending {
  /** Becomes readable when the process ends. Undefined if a sandbox around us refuses pidfd_open(2). */
  readonly pidfd?: Fd;
  /** Whether the process has ended. */
  readonly hasEnded: boolean;
}

/** How often a process without a pidfd is looked at, in milliseconds. */
const LOOK_MS = 20;

/** What to poll for the end of a process, for {@link endTimeout} at most. {@link sawEnd} tells the result. */
export function watchEnd({ pidfd }: Ending): Watch {
  // poll(2) ignores -1.
  return { fd: pidfd?.number ?? -1, events: POLLIN };
}

/** How long to poll at most, if the wait is to last `timeoutMs` (negative: without limit). */
export function endTimeout({ pidfd }: Ending, timeoutMs: number): number {
  if (pidfd !== undefined) return timeoutMs;
  return timeoutMs < 0 ? LOOK_MS : Math.min(timeoutMs, LOOK_MS);
}

/** Whether the process has ended. `ready`: the result of poll(2) for {@link watchEnd}. */
export function sawEnd(process: Ending, ready: number | undefined): boolean {
  return process.pidfd === undefined ? process.hasEnded : ready !== 0;
}

/**
 * A process that is not our child. If a sandbox around us refuses pidfd_open(2), it is known by its directory in /proc:
 * pidfd_send_signal(2) takes that too, but poll(2) cannot wait for it.
 */
export class OtherProcess implements Ending, Disposable {
  readonly #kernel: Kernel;
  /** A pidfd or a directory in /proc. */
  readonly #fd: Fd;
  readonly pidfd?: Fd;

  private constructor(kernel: Kernel, fd: Fd, { isPidfd }: { isPidfd: boolean }) {
    this.#kernel = kernel;
    this.#fd = fd;
    if (isPidfd) this.pidfd = fd;
  }

  /** The process `pid`. Undefined if it does not exist. @see pidfd_open(2) @throws {RuncError} */
  static find(kernel: Kernel, pid: number): OtherProcess | undefined {
    const number = kernel.retry("syscall", syscallNumber("pidfd_open", kernel.arch), pid, 0);
    if (number >= 0) return new OtherProcess(kernel, new Fd(kernel, number, `pidfd of ${pid}`), { isPidfd: true });
    if (number === -Errno.ESRCH) return undefined;
    if (number !== -Errno.EPERM && number !== -Errno.ENOSYS) throw syscallError(`pidfd_open(${pid})`, -number);
    const path = `/proc/${pid}`;
    const O = openFlag(kernel.arch);
    const directory = kernel.retry("open", cString(path), O.O_DIRECTORY | O.O_CLOEXEC, 0);
    if (directory === -Errno.ENOENT || directory === -Errno.ESRCH) return undefined;
    if (directory < 0) throw syscallError(`open(${JSON.stringify(path)})`, -directory);
    return new OtherProcess(kernel, new Fd(kernel, directory, path), { isPidfd: false });
  }

  /** Sends a signal. Returns 0 or −errno. */
  signal(signal: number): number {
    return pidfdSendSignal(this.#kernel, this.#fd, signal);
  }

  get hasEnded(): boolean {
    return this.pidfd === undefined ? this.#isGone() : poll(this.#kernel, [watchEnd(this)], 0)[0] !== 0;
  }

  /** Whether it is gone, or a zombie. @see proc_pid_stat(5) @throws {RuncError} if that is not known. */
  #isGone(): boolean {
    const { O_CLOEXEC } = openFlag(this.#kernel.arch);
    const file = this.#kernel.retry("openat", this.#fd.number, cString("stat"), O_CLOEXEC, 0);
    if (file === -Errno.ENOENT || file === -Errno.ESRCH) return true;
    if (file < 0) throw syscallError(`openat(${this.#fd.label}, "stat")`, -file);
    const bytes = alloc(512);
    const length = this.#kernel.retry("read", file, bytes, bytes.length);
    this.#kernel.call("close", file);
    // The state comes after the name, which is short and can contain anything.
    const text = new TextDecoder().decode(bytes.subarray(0, Math.max(length, 0)));
    return length <= 0 || /^[ZX]/.test(text.slice(text.lastIndexOf(")") + 2));
  }

  [Symbol.dispose](): void {
    this.#fd.close();
  }
}
