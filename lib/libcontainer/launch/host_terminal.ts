/**
 * The user's terminal while it shows the container's terminal, and how the runtime gets the master of the latter. Runs
 * in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { receive } from "../../ffi/sockets.ts";
import {
  clearOnlcr,
  findHostTerminal,
  getAttributes,
  getWindowSize,
  isTerminal,
  setAttributes,
  setRaw,
  setWindowSize,
  type TerminalAttributes,
} from "../../ffi/terminal.ts";

/** The user's terminal. `using` restores its settings on every way out. */
export class HostTerminal implements Disposable {
  readonly #kernel: Kernel;
  readonly fd: Fd;
  /** The settings to restore. */
  readonly original: TerminalAttributes;
  #isRaw = false;

  /**
   * `fd`: a descriptor of the terminal, owned by this object; absent: the controlling terminal. @throws {RuncError} if
   * there is none.
   */
  constructor(kernel: Kernel, fd: Fd = findHostTerminal(kernel)) {
    this.#kernel = kernel;
    this.fd = fd;
    try {
      this.original = getAttributes(kernel, fd.number);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /** Sends every key to the container from now on, Ctrl-C too. @throws {RuncError} */
  makeRaw(): void {
    setRaw(this.#kernel, this.fd.number);
    this.#isRaw = true;
  }

  /** Undoes {@link makeRaw}. @throws {RuncError} if the terminal was hung up. */
  restore(): void {
    if (!this.#isRaw) return;
    this.#isRaw = false;
    setAttributes(this.#kernel, this.fd.number, this.original);
  }

  /** The terminal's current size. @throws {RuncError} */
  get size(): ReturnType<typeof getWindowSize> {
    return getWindowSize(this.#kernel, this.fd.number);
  }

  /** Gives the container's terminal the size of this one. @throws {RuncError} */
  copySizeTo(master: Fd): void {
    setWindowSize(this.#kernel, master.number, this.size);
  }

  [Symbol.dispose](): void {
    try {
      this.restore();
    } catch {
      // EIO: the terminal was hung up, which can be the reason why we end.
    } finally {
      this.fd.close();
    }
  }
}

/** recvtty's limit for the name sent with the descriptor, in bytes: internal/cmsg/cmsg.go @ runc v1.5.1. */
const NAME_LIMIT = 4096;

/**
 * Receives the master of the container's terminal from `socket`: one message with a name and exactly one descriptor.
 * Clears its ONLCR. Checks that it is a terminal: the container is not trusted.
 *
 * @throws {RuncError}
 */
export function receiveMaster(kernel: Kernel, socket: Fd): Fd {
  // Space for more than one descriptor, to notice extra ones; the kernel closes the rest. unix(7), SCM_RIGHTS
  const { bytes, fds } = receive(kernel, socket, NAME_LIMIT, 2);
  try {
    const [master] = fds;
    if (master === undefined || fds.length !== 1) throw refused(`number of fds is not 1: ${fds.length}`);
    if (bytes.length === 0 || bytes.length >= NAME_LIMIT) throw refused(`name of ${bytes.length} bytes`);
    if (!isTerminal(kernel, master.number)) throw refused("provided file is not a console");
    clearOnlcr(kernel, master.number);
    return master;
  } catch (error) {
    for (const fd of fds) fd.close();
    throw error;
  }
}

function refused(reason: string): RuncError {
  return new RuncError("step-failed", `cannot receive the container's terminal: ${reason}`, {
    field: "/process/terminal",
  });
}
