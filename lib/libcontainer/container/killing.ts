/**
 * Sends signals to a container's init, or to all processes of its cgroup. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { endTimeout, OtherProcess, sawEnd, watchEnd } from "../../ffi/ending.ts";
import { Errno, errnoText } from "../../ffi/errno.ts";
import { poll } from "../../ffi/poll.ts";
import { kill } from "../../ffi/process/process.ts";
import { inSpan } from "../../trace/tracer.ts";
import type { Runtime } from "../runtime.ts";
import { isAlive } from "../state/process_status.ts";
import { initOf, isUnfinished, ownsPids, rootlessCgroupsOf, type RuncState } from "../state/runc_state.ts";

/** The parts of a container that are needed to signal it. */
export interface KillTarget {
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
}

/** Whether init is alive: a process with its pid and its start time. */
export function hasLiveInit(state: RuncState): boolean {
  const { pid, startTime } = initOf(state);
  return isAlive(pid, startTime);
}

/**
 * Sends a signal to init. SIGKILL with a shared pid namespace is sent to all processes of the cgroup. `all`: a
 * container that is not running is not an error.
 *
 * @throws {RuncError} `container-state` (`container not running`).
 */
export function killContainer(
  runtime: Runtime,
  target: KillTarget,
  { signal, all = false }: { signal: number; all?: boolean },
): void {
  if (!signalContainer(runtime, target, signal) && !all) {
    throw new RuncError("container-state", "container not running");
  }
}

/** Sends the signal. Returns false if no process existed to signal. */
function signalContainer(runtime: Runtime, target: KillTarget, signal: number): boolean {
  const { state, cgroup } = target;
  if (signal === 9 && !ownsPids(state) && killCgroup(runtime, target)) return true;
  if (!hasLiveInit(state)) return false;
  const result = signalInit(runtime, state, signal);
  if (result === -Errno.ESRCH) return false;
  if (result < 0) throw new RuncError("syscall-failed", `unable to signal init: ${errnoText(-result)}`);
  // Process 1 ends only after all others of its pid namespace. On v1 a frozen process does not end.
  if (signal === 9) cgroup.thawToKill();
  return true;
}

/** Opens init. Its pid alone is not safe: another process can get it between a check of the start time and kill(2). */
function openInit({ kernel }: Runtime, state: RuncState): OtherProcess | undefined {
  if (isUnfinished(state)) return undefined;
  const init = OtherProcess.find(kernel, initOf(state).pid);
  // The process is open before its start time is checked. If the start time is still init's, the process is init.
  if (init === undefined || hasLiveInit(state)) return init;
  init[Symbol.dispose]();
  return undefined;
}

/** Sends a signal to init. Returns 0 or −errno: ESRCH if init has ended. */
export function signalInit(runtime: Runtime, state: RuncState, signal: number): number {
  return inSpan(runtime.trace, `send signal ${signal} to init`, () => {
    using init = openInit(runtime, state);
    return init === undefined ? -Errno.ESRCH : init.signal(signal);
  });
}

/** Kills all processes of the cgroup. Returns false if it does not exist or, without root, cannot be used. */
export function killCgroup(runtime: Runtime, { state, cgroup }: KillTarget): boolean {
  try {
    return cgroup.kill((pid, number) => void kill(runtime.kernel, pid, number));
  } catch (error) {
    if (!rootlessCgroupsOf(state)) {
      throw error instanceof RuncError ? error.within("unable to kill all processes") : error;
    }
    runtime.log(
      "warning",
      "only the container's first process is killed: its cgroup cannot be used; delegate cgroup v2 to the user who calls",
    );
    return false;
  }
}

/** Sends SIGKILL, then waits for the end of init. @throws {RuncError} after 10 s, runc's limit. */
export function killAndWait(runtime: Runtime, target: KillTarget): void {
  using init = openInit(runtime, target.state);
  killContainer(runtime, target, { signal: 9, all: true });
  if (init !== undefined) inSpan(runtime.trace, "wait for init's end", () => awaitEnd(runtime, target, init));
}

function awaitEnd({ kernel }: Runtime, { cgroup }: KillTarget, init: OtherProcess): void {
  const deadline = monotonicMs(kernel) + 10_000;
  // Init nearly always ends within the first 100 ms.
  while (!sawEnd(init, poll(kernel, [watchEnd(init)], endTimeout(init, 100))[0])) {
    if (monotonicMs(kernel) >= deadline) throw new RuncError("container-state", "container init still running");
    // A process of the container can have frozen another one meanwhile.
    cgroup.thawToKill();
  }
}
