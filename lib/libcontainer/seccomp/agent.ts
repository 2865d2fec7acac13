/**
 * Sends the listener of a filter with SCMP_ACT_NOTIFY to the agent that decides about the system calls. Runs in:
 * parent.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#containerprocessstate
 * @module
 */

import { RuncError } from "../../errors.ts";
import { errnoText } from "../../ffi/errno.ts";
import { alloc, type Kernel } from "../../ffi/kernel.ts";
import { pidfdGetFd, pidfdOpen } from "../../ffi/process/process.ts";
import { connectWaiting, sendFd } from "../../ffi/sockets.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { Fd } from "../../ffi/fd.ts";
import { OCI_VERSION, type State } from "../../specs/state.ts";
import type { SeccompProfile } from "./profile.ts";

/** A listener in the process that has loaded the filter. */
export interface Listener {
  /** The process's pid on the host. */
  readonly pid: number;
  /** The descriptor's number in that process. */
  readonly fd: number;
}

/** Copies the listener from the process. @throws {RuncError} */
export function takeListener(kernel: Kernel, { pid, fd }: Listener): Fd {
  using pidfd = pidfdOpen(kernel, pid);
  if (pidfd === undefined) {
    throw new RuncError("step-failed", `process ${pid} ended before its seccomp listener was taken`);
  }
  return pidfdGetFd(kernel, pidfd, fd);
}

/**
 * Sends the listener and the container's state to the agent. `goOn`: called when the process can continue; it may need
 * the agent's answer to continue.
 *
 * @throws {RuncError} if the agent cannot be reached.
 */
export function* handToAgent(
  kernel: Kernel,
  profile: SeccompProfile,
  listener: Listener,
  state: State,
  goOn: () => void,
): Waits<void> {
  const path = profile.listener_path ?? "";
  if (path === "") {
    throw new RuncError("config-invalid", "seccomp listenerPath is not set", { field: "/linux/seccomp" });
  }
  using copy = takeListener(kernel, listener);
  goOn();
  const message = new TextEncoder().encode(JSON.stringify({
    ociVersion: OCI_VERSION,
    fds: ["seccompFd"],
    pid: listener.pid,
    ...(profile.listener_metadata ? { metadata: profile.listener_metadata } : {}),
    state,
  }));
  const payload = alloc(message.length);
  payload.set(message);
  using socket = yield* connectAgent(kernel, path);
  try {
    sendFd(kernel, socket, payload, copy.number);
  } catch (error) {
    throw error instanceof RuncError ? error.within(`cannot send seccomp fd to ${path}`) : error;
  }
}

function* connectAgent(kernel: Kernel, path: string): Waits<Fd> {
  try {
    return yield* connectWaiting(kernel, path, "stream");
  } catch (error) {
    if (!(error instanceof RuncError) || error.code === "interrupted") throw error;
    const why = error.errno === undefined ? error.message : `dial unix ${path}: connect: ${errnoText(error.errno)}`;
    throw new RuncError(
      "host-lacks",
      `failed to connect with seccomp agent specified in the seccomp profile: ${why}`,
      { ...error, field: "/linux/seccomp/listenerPath", cause: error, hint: "check that the agent is running" },
    );
  }
}
