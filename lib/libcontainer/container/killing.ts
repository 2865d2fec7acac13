/**
 * Signals a container. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { endTimeout, OtherProcess } from "../../ffi/ending.ts";
import { Errno, errnoText } from "../../ffi/errno.ts";
import { kill } from "../../ffi/process/process.ts";
import { readable, type Waits } from "../../ffi/waits.ts";
import type { Runtime } from "../runtime.ts";
import { isAlive } from "../state/process_status.ts";
import { initOf, isUnfinished, rootlessCgroupsOf, type RuncState } from "../state/runc_state.ts";

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

/** Opens init. Its pid alone is not safe: another process can get it between a check of the start time and kill(2). */
export function openInit({ kernel }: Runtime, state: RuncState): OtherProcess | undefined {
  if (isUnfinished(state)) return undefined;
  using kept = new DisposableStack();
  const init = OtherProcess.find(kernel, initOf(state).pid);
  if (init === undefined) return undefined;
  kept.use(init);
  // The process is open before its start time is checked. If the start time is still init's, the process is init.
  if (!hasLiveInit(state)) return undefined;
  kept.move();
  return init;
}

/** Sends a signal to init. @throws {RuncError} `container-state` (`container not running`) if it has ended. */
export function signalInit(runtime: Runtime, state: RuncState, signal: number): void {
  using init = openInit(runtime, state);
  const result = init === undefined ? -Errno.ESRCH : init.signal(signal);
  if (result === -Errno.ESRCH) throw new RuncError("container-state", "container not running");
  if (result < 0) throw new RuncError("syscall-failed", `unable to signal init: ${errnoText(-result)}`);
}

/** Kills all processes of the cgroup. Returns false if it does not exist or, without root, cannot be used. */
export function* killCgroup(runtime: Runtime, { state, cgroup }: KillTarget): Waits<boolean> {
  try {
    return yield* cgroup.kill((pid, number) => void kill(runtime.kernel, pid, number));
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

/** Waits for the end of a killed init. @throws {RuncError} after 10 s, runc's limit. */
export function* awaitInitEnd({ kernel }: Runtime, { cgroup }: KillTarget, init: OtherProcess): Waits<void> {
  const deadline = monotonicMs(kernel) + 10_000;
  const fds = init.pidfd === undefined ? [] : [init.pidfd.number];
  while (!init.hasEnded) {
    // Init nearly always ends within the first 100 ms.
    const [hasEnded = false] = yield* readable(fds, endTimeout(init, 100), { isDeaf: true });
    if (hasEnded) return;
    if (monotonicMs(kernel) >= deadline) throw new RuncError("container-state", "container init still running");
    // A process of the container can have frozen another one meanwhile.
    cgroup.thawToKill();
  }
}
