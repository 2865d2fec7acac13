/**
 * Signals for a container: to its init, or to all processes of its cgroup. Runs in: parent.
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
import { initOf, ownsPids, rootlessCgroupsOf, type RuncState } from "../state/runc_state.ts";

/** A container, as far as it can be signalled. */
export interface KillTarget {
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
}

/** Whether its init lives: a process with its pid and its start time. */
export function hasLiveInit(state: RuncState): boolean {
  const { pid, startTime } = initOf(state);
  return isAlive(pid, startTime);
}

/**
 * Sends a signal: to init, or for SIGKILL with a shared pid namespace to all processes of the cgroup. `all`: a container that does not run is no
 * failure.
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

/** Whether there was a process to signal. */
function signalContainer(runtime: Runtime, target: KillTarget, signal: number): boolean {
  const { state, cgroup } = target;
  if (signal === 9 && !ownsPids(state) && killCgroup(runtime, target)) return true;
  if (!hasLiveInit(state)) return false;
  const result = signalInit(runtime, state, signal);
  if (result === -Errno.ESRCH) return false;
  if (result < 0) throw new RuncError("syscall-failed", `unable to signal init: ${errnoText(-result)}`);
  // Process 1 ends last, when all others have: one that is frozen does not on v1.
  if (signal === 9) cgroup.thawToKill();
  return true;
}

/** Init by a descriptor that is its own for sure: between a look at the start time and kill(2) its pid could become another's. */
function openInit({ kernel }: Runtime, state: RuncState): OtherProcess | undefined {
  const init = OtherProcess.find(kernel, initOf(state).pid);
  // Whoever has the pid now has been open since, so it is init if this is still init's start time.
  if (init === undefined || hasLiveInit(state)) return init;
  init[Symbol.dispose]();
  return undefined;
}

/** Returns 0 or −errno: ESRCH where init is gone. */
export function signalInit(runtime: Runtime, state: RuncState, signal: number): number {
  return inSpan(runtime.trace, `send signal ${signal} to init`, () => {
    using init = openInit(runtime, state);
    return init === undefined ? -Errno.ESRCH : init.signal(signal);
  });
}

/** Whether it could. Without root the cgroup may be nobody's: init alone is killed then. */
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

/** SIGKILL, then waits for init's end. @throws {RuncError} after 10 s, runc's limit. */
export function killAndWait(runtime: Runtime, target: KillTarget): void {
  using init = openInit(runtime, target.state);
  killContainer(runtime, target, { signal: 9, all: true });
  if (init !== undefined) inSpan(runtime.trace, "wait for init's end", () => awaitEnd(runtime, target, init));
}

function awaitEnd({ kernel }: Runtime, { cgroup }: KillTarget, init: OtherProcess): void {
  const deadline = monotonicMs(kernel) + 10_000;
  // Nearly always it has ended within the first 100 ms.
  while (!sawEnd(init, poll(kernel, [watchEnd(init)], endTimeout(init, 100))[0])) {
    if (monotonicMs(kernel) >= deadline) throw new RuncError("container-state", "container init still running");
    // A process of the container may have frozen another since.
    cgroup.thawToKill();
  }
}
