/**
 * A child of this process, identified by a pidfd if possible.
 *
 * @module
 */

import { Errno } from "../errno.ts";
import { Fd } from "../fd.ts";
import { alloc, type Kernel, syscallError } from "../kernel.ts";
import { type ExitStatus, kill, pidfdSendSignal } from "./process.ts";
import { syscallNumber } from "../syscalls.ts";

/** idtype_t and options of waitid(2). include/uapi/linux/wait.h */
const P_PID = 1, P_PIDFD = 3, WNOHANG = 1, WEXITED = 4, WNOWAIT = 0x01000000;
/** `siginfo_t` of SIGCHLD on 64-bit: si_signo, si_code and si_status. include/uapi/asm-generic/siginfo.h */
const SIGINFO_SIZE = 128, SIGNO = 0, CODE = 8, STATUS = 24, CLD_EXITED = 1;

function exitStatus(info: DataView): ExitStatus {
  const status = info.getInt32(STATUS, true);
  return info.getInt32(CODE, true) === CLD_EXITED ? { code: status } : { signal: status };
}

/**
 * A child whose pid another process has sent. The kernel does not reuse the pid before the child is reaped, and only
 * this object reaps it. Signals and waits use {@link pidfd} if it is defined.
 */
export class Child implements Disposable {
  readonly #kernel: Kernel;
  /** In this process's pid namespace. */
  readonly pid: number;
  /** Becomes readable when the child ends. Undefined if pidfd_open(2) is refused, or no descriptor is left for it. */
  readonly pidfd?: Fd;
  #status?: ExitStatus;
  #isReaped = false;

  private constructor(kernel: Kernel, pid: number, pidfd: Fd | undefined) {
    this.#kernel = kernel;
    this.pid = pid;
    this.pidfd = pidfd;
  }

  /** The child `pid`. Undefined if it is not our child, or is already reaped. */
  static find(kernel: Kernel, pid: number): Child | undefined {
    if (!Number.isInteger(pid) || pid < 1) return undefined;
    const number = kernel.retry("syscall", syscallNumber("pidfd_open", kernel.arch), pid, 0);
    // A thread's number: EINVAL, since Linux 6.15 ENOENT.
    if (number === -Errno.ESRCH || number === -Errno.EINVAL || number === -Errno.ENOENT) return undefined;
    // Any other error must not lose a child that runs. Its pid is enough: the kernel keeps it until we reap the child.
    const child = new Child(kernel, pid, number < 0 ? undefined : new Fd(kernel, number, `pidfd of ${pid}`));
    // The sender of the pid is not trusted: the kernel reports whether it is our child.
    if (child.#waitid(WNOHANG | WNOWAIT).result !== -Errno.ECHILD) return child;
    child.pidfd?.close();
    return undefined;
  }

  #waitid(options: number): { result: number; info: DataView } {
    const info = alloc(SIGINFO_SIZE);
    const [type, id] = this.pidfd === undefined ? [P_PID, this.pid] : [P_PIDFD, this.pidfd.number];
    return {
      result: this.#kernel.retry("waitid", type, id, info, WEXITED | options),
      info: new DataView(info.buffer),
    };
  }

  /** Whether it has ended. Does not reap it. */
  get hasEnded(): boolean {
    if (this.#isReaped) return true;
    const { result, info } = this.#waitid(WNOHANG | WNOWAIT);
    return result < 0 || info.getInt32(SIGNO, true) !== 0;
  }

  /** How it ended. Does not reap it. Undefined if it still runs, or other code has reaped it. */
  get status(): ExitStatus | undefined {
    if (this.#isReaped) return this.#status;
    const { result, info } = this.#waitid(WNOHANG | WNOWAIT);
    return result < 0 || info.getInt32(SIGNO, true) === 0 ? undefined : exitStatus(info);
  }

  /** Sends a signal. Returns 0 or −errno. */
  signal(signal: number): number {
    if (this.#isReaped) return -Errno.ESRCH;
    return this.pidfd === undefined
      ? kill(this.#kernel, this.pid, signal)
      : pidfdSendSignal(this.#kernel, this.pidfd, signal);
  }

  /** Waits for its end and reaps it, once. Undefined if other code has reaped it. */
  reap(): ExitStatus | undefined {
    if (this.#isReaped) return this.#status;
    const { result, info } = this.#waitid(0);
    if (result < 0 && result !== -Errno.ECHILD) throw syscallError(`waitid(${this.pid})`, -result);
    this.#isReaped = true;
    if (result === 0) this.#status = exitStatus(info);
    return this.#status;
  }

  /** Closes the descriptor; the child continues. */
  [Symbol.dispose](): void {
    this.pidfd?.close();
  }
}
