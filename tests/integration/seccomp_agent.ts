/**
 * What stands around a filtered container: the agent that is asked about calls with SCMP_ACT_NOTIFY, and a look at the filter that the kernel has
 * loaded.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { Fd } from "../../lib/ffi/fd.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { kernel, type Running } from "./harness.ts";
import { UnixServer } from "./unix_server.ts";

// include/uapi/linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp)
const SECCOMP_IOCTL_NOTIF_RECV = 0xc0502100, SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101;
const NOTIF_SIZE = 80, RESPONSE_SIZE = 24;
const SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1;

/** The message that an agent gets with a listener. */
export interface ProcessState {
  readonly ociVersion: string;
  readonly fds: readonly string[];
  readonly pid: number;
  readonly metadata?: string;
  readonly state: { readonly id: string; readonly status: string; readonly pid: number; readonly bundle: string };
}

/** An agent that answers `errno` to the calls in `deny`, and lets the others go on. */
export class Agent implements Disposable {
  readonly #server: UnixServer;
  readonly #deny: ReadonlyMap<number, number>;

  constructor(path: string, deny: ReadonlyMap<number, number>) {
    this.#server = new UnixServer(path);
    this.#deny = deny;
  }

  /** Takes one listener and answers until `running` is over. Returns the message, and the numbers of all calls it was asked about. */
  serve(running: Running): { message: ProcessState; calls: readonly number[] } {
    // Debian's runc closes its end only when the container has started, which may take our answers.
    const { text, fds } = this.#server.receive({ andNoMore: false, isHopeless: () => running.isOver });
    assertEquals(fds.length, 1);
    using listener = fds[0]!;
    const calls: number[] = [];
    while (!running.isOver) {
      if (poll(kernel, [{ fd: listener.number, events: POLLIN }], 20)[0] === POLLIN) {
        calls.push(...this.#answer(listener));
      }
    }
    return { message: JSON.parse(text), calls };
  }

  #answer(listener: Fd): readonly number[] {
    const request = alloc(NOTIF_SIZE);
    // Gone before it was read: it was killed.
    if (kernel.retry("ioctl", listener.number, SECCOMP_IOCTL_NOTIF_RECV, request) < 0) return [];
    const view = new DataView(request.buffer);
    const nr = view.getInt32(16, true);
    const response = alloc(RESPONSE_SIZE);
    const answer = new DataView(response.buffer);
    answer.setBigUint64(0, view.getBigUint64(0, true), true);
    const errno = this.#deny.get(nr);
    if (errno === undefined) answer.setUint32(20, SECCOMP_USER_NOTIF_FLAG_CONTINUE, true);
    else answer.setInt32(16, -errno, true);
    kernel.call("ioctl", listener.number, SECCOMP_IOCTL_NOTIF_SEND, response);
    return [nr];
  }

  [Symbol.dispose](): void {
    this.#server[Symbol.dispose]();
  }
}

// include/uapi/linux/ptrace.h, wait.h
const PTRACE_ATTACH = 16, PTRACE_DETACH = 17, PTRACE_SECCOMP_GET_FILTER = 0x420c, WALL = 0x40000000;

/** The newest filter of a process, as `struct sock_filter`s. @see ptrace(2), PTRACE_SECCOMP_GET_FILTER */
export function loadedFilter(pid: number): Uint8Array {
  kernel.must(`ptrace(PTRACE_ATTACH, ${pid})`, "ptrace", PTRACE_ATTACH, pid, 0, 0);
  try {
    kernel.must(`waitpid(${pid})`, "waitpid", pid, alloc(4), WALL);
    const program = alloc(8 * 4096);
    const count = kernel.must(
      "ptrace(PTRACE_SECCOMP_GET_FILTER)",
      "ptrace",
      PTRACE_SECCOMP_GET_FILTER,
      pid,
      0,
      program,
    );
    assert(count > 0);
    return program.subarray(0, 8 * count);
  } finally {
    kernel.call("ptrace", PTRACE_DETACH, pid, 0, 0);
  }
}
