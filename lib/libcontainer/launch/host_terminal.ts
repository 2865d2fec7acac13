/**
 * The user's terminal while a container's terminal is shown on it, and how that one's master arrives. Runs in: parent.
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

/** The user's terminal. `using` puts it back as it was on every way out. */
export class HostTerminal implements Disposable {
  readonly #kernel: Kernel;
  readonly fd: Fd;
  /** What it is given back. */
  readonly original: TerminalAttributes;
  #isRaw = false;

  /** `fd`: taken over; the terminal that the user sits at where absent. @throws {RuncError} where there is none. */
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

  /** Every key goes to the container from now on, Ctrl-C too. @throws {RuncError} */
  makeRaw(): void {
    setRaw(this.#kernel, this.fd.number);
    this.#isRaw = true;
  }

  /** Undoes {@link makeRaw}. A terminal that is gone meanwhile has nothing to restore. */
  restore(): void {
    if (!this.#isRaw) return;
    this.#isRaw = false;
    setAttributes(this.#kernel, this.fd.number, this.original);
  }

  /** Its size now. @throws {RuncError} */
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
      // EIO: the terminal was hung up, which is one reason for us to end.
    } finally {
      this.fd.close();
    }
  }
}

/** recvtty's limit for the name beside the descriptor, in bytes: internal/cmsg/cmsg.go @ runc v1.5.1. */
const NAME_LIMIT = 4096;

/**
 * Receives the master of the container's terminal from `socket`: one message, a name and exactly one descriptor. Its
 * ONLCR is cleared. What comes from a container is not trusted to be a terminal.
 *
 * @throws {RuncError}
 */
export function receiveMaster(kernel: Kernel, socket: Fd): Fd {
  // Room for more than one, to notice them; those beyond are closed by the kernel. unix(7), SCM_RIGHTS
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
