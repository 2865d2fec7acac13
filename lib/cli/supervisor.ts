/**
 * `--supervise`: a detached container gets a monitor, which stays as the parent of its first process.
 *
 * A process cannot get other children than its own, so the command is carried out by a second runtime. It becomes the
 * monitor once the container exists, and tells the first one, which then returns to the caller.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { endTimeout, OtherProcess } from "../ffi/ending.ts";
import { eventfd } from "../ffi/event_fds.ts";
import { Fd } from "../ffi/fd.ts";
import { setCloseOnExec } from "../ffi/files.ts";
import { syscallError } from "../ffi/kernel.ts";
import { processEnvironment, shellStatus, spawn, waitChild } from "../ffi/process/process.ts";
import { readable, runWaits } from "../ffi/waits.ts";
import { imagePath } from "../libcontainer/launch/self.ts";
import { parseAuditor } from "./audit/option.ts";
import type { Context } from "./context.ts";
import { Interruptible } from "./interruption.ts";
import type { Invocation } from "./parse.ts";
import { inheritedDescriptors } from "./process_io.ts";
import { makeRuntime } from "./runtime.ts";

/** Whether another runtime is to carry this command line out, which becomes the supervisor. */
export function isDelegated({ command, options, global }: Invocation): boolean {
  const { supervise = false, detach = false } = options as { readonly supervise?: boolean; readonly detach?: boolean };
  const isDetached = command === "create" || (detach && (command === "run" || command === "restore"));
  return supervise && global.supervisor === undefined && isDetached;
}

/**
 * Has the command line carried out by a process that stays: a supervisor, or an auditor. Returns its exit status; 0 once
 * the container is there. `as`: the hidden option that tells it what it is.
 */
export function delegate(
  context: Context,
  { options, global }: Invocation,
  as: "--supervisor" | "--auditing" = "--supervisor",
): number {
  const { kernel, words } = context;
  const { "preserve-fds": preserve = 0 } = options as { readonly "preserve-fds"?: number };
  // The supervisor's descriptor must not pass for one of them.
  inheritedDescriptors(kernel, preserve, context.environment, calledProcess(context));
  const runtime = makeRuntime(context);
  const { path, args } = runtime.reexec;
  using started = eventfd(kernel);
  using _interruptible = new Interruptible(kernel, context.interruption);
  const pid = spawn(kernel, {
    path: imagePath(path),
    argv: [path, ...args, as, String(started.number), ...words],
    env: processEnvironment(kernel),
    fds: [started.number, ...(global.auditor === undefined ? [] : [parseAuditor(global.auditor).fd])]
      .map((fd) => ({ to: fd, from: fd })),
    softFileLimit: runtime.softFileLimit,
  });
  if (pid < 0) throw syscallError(`posix_spawn(${JSON.stringify(path)})`, -pid);
  // Our child: not reaped yet, so it exists.
  using supervisor = OtherProcess.find(kernel, pid)!;
  for (;;) {
    try {
      const fds = [started.number, ...(supervisor.pidfd === undefined ? [] : [supervisor.pidfd.number])];
      const [hasStarted] = runWaits(
        { kernel, interrupts: context.interruption },
        readable(fds, endTimeout(supervisor, -1)),
      );
      if (hasStarted) return 0;
    } catch (error) {
      if (!(error instanceof RuncError) || error.signal === undefined) throw error;
      // It removes what it has made, and exits with the status for that.
      supervisor.signal(error.signal);
    }
    if (supervisor.hasEnded) return shellStatus(waitChild(kernel, pid) ?? { code: 1 });
  }
}

/** The descriptor that the supervisor tells its start by. Undefined for any other runtime. */
export function supervisorOf({ kernel, global }: Pick<Context, "kernel" | "global">): Fd | undefined {
  if (global.supervisor === undefined) return undefined;
  // The container must not inherit it.
  setCloseOnExec(kernel, global.supervisor, true);
  return new Fd(kernel, global.supervisor, "supervisor's start");
}

/** The process whose LISTEN_FDS they are: this one, or the one that this supervisor or auditor works for. */
export function calledProcess({ kernel, global }: Pick<Context, "kernel" | "global">): number {
  if (global.auditor !== undefined) return parseAuditor(global.auditor).called;
  return global.supervisor === undefined ? kernel.pid : kernel.call("getppid");
}
