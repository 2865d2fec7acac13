/**
 * The auditor's part: takes the listener from the runtime, and answers each question with "go on". Runs in: auditor, a
 * process of the runtime that lives as long as the container's processes.
 *
 * @module
 */

import { RuncError } from "../../../errors.ts";
import type { Fd } from "../../../ffi/fd.ts";
import { alloc, type Kernel } from "../../../ffi/kernel.ts";
import { answerContinue, receiveNotification } from "../../../ffi/process/seccomp.ts";
import { receive, sendFd } from "../../../ffi/sockets.ts";
import { type Listener, takeListener } from "../agent.ts";
import type { Recording } from "./recording.ts";

/** Sends the listener of init's filter to the auditor. `goOn`: called when init can continue. Runs in: parent. */
export function handToAuditor(kernel: Kernel, auditor: Fd, listener: Listener, goOn: () => void): void {
  using copy = takeListener(kernel, listener);
  goOn();
  sendFd(kernel, auditor, alloc(1), copy.number);
}

/** Receives the listener; undefined if the runtime has ended without one. @throws {RuncError} */
export function receiveListener(kernel: Kernel, socket: Fd): Fd | undefined {
  const { fds, bytes } = receive(kernel, socket, 1);
  if (fds.length === 0 && bytes.length > 0) throw new RuncError("protocol", "the runtime sent no seccomp listener");
  return fds[0];
}

/** Notes the next call and lets it go on. The caller has seen that there is one. */
export function serveNext(kernel: Kernel, listener: Fd, recording: Recording): void {
  const call = receiveNotification(kernel, listener);
  // The process was killed meanwhile.
  if (call === undefined) return;
  recording.add(call);
  answerContinue(kernel, listener, call.id);
}
