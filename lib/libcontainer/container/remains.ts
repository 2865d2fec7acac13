/**
 * Removes a container whose state cannot be read: its directory, its cgroups and its unit. Runs in: parent.
 *
 * A killed `create` has left a note of where they are. Otherwise their location is a guess: where they are for this id
 * without `linux.cgroupsPath`. In both cases it kills only processes that look like a container's, and none where all
 * of them are in cgroups below: the note was written before the cgroups were made. It reports everything that was
 * guessed. It cannot tell a container of the same id whose state is in another directory.
 *
 * @module
 */

import { processesIn, processesOf } from "../../cgroups/processes.ts";
import { cgroupPaths } from "../../cgroups/path.ts";
import { type CgroupLayout, readCgroupLayout } from "../../cgroups/layout.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { createCgroupManager, loadCgroupManager } from "../../cgroups/open.ts";
import { isThere } from "../../cgroups/driver.ts";
import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { endTimeout, OtherProcess } from "../../ffi/ending.ts";
import type { Fd } from "../../ffi/fd.ts";
import { kill } from "../../ffi/process/process.ts";
import { pause, readable, type Waits } from "../../ffi/waits.ts";
import { cgroupOptions, systemdOptions } from "./container_cgroups.ts";
import { createSystemdManager, loadSystemdManager } from "../../cgroups/systemd/manager.ts";
import type { Runtime } from "../runtime.ts";
import type { CreationNote } from "../state/creation_note.ts";
import { isAlive } from "../state/process_status.ts";
import { isMissing, StateDirectory } from "../state/store.ts";

/** This directory exists if systemd is running. sd_booted(3) */
const SYSTEMD = "/run/systemd/system";

const SIGKILL = 9;
/** Time for the processes of a killed `create` to end. */
const STAGE_LIMIT_MS = 2000;

/** Names of systemd's units that have cgroups: such a cgroup may be another service's. */
const UNIT = /\.(?:slice|scope|service|socket|mount|swap)$/;

/**
 * Removes the remains of a container, for `delete --force`. False if its state can be read now: nothing is removed
 * then.
 *
 * @throws {RuncError} `cgroup-failed` if a cgroup of the container cannot be removed.
 */
export function* removeRemains(runtime: Runtime, id: string): Waits<boolean> {
  const directory = new StateDirectory(runtime.root, id);
  using lock = yield* lockRemains(runtime, directory);
  if (lock === undefined && !directory.exists(runtime.kernel)) return true;
  const why = reasonIn(runtime, directory);
  if (why === undefined) return false;
  const layout = readCgroupLayout(runtime.kernel);
  const note = noteIn(runtime, directory, layout);
  if (note !== undefined) yield* endStage(runtime, note);
  const cgroups = note === undefined ? yield* findCgroups(runtime, layout, id) : notedCgroups(runtime, note);
  const removed: string[] = [];
  for (const cgroup of cgroups) removed.push(...yield* removeCgroups(runtime, id, cgroup));
  // Nothing was guessed if `create` was killed before it created a cgroup.
  if (cgroups.length > 0 || !isMissing(why)) {
    const found = note === undefined ? " found by its id" : "";
    const also = removed.length === 0 ? "" : `, and these cgroups${found}: ${removed.join(" ")}`;
    const left = note === undefined ? "cgroups in other places were not removed, and " : "";
    runtime.log(
      "warning",
      `the state of container ${id} cannot be read (${why.message}): removed its directory${also}; ` +
        `${left}its poststop hooks were not run`,
    );
  }
  directory.remove(runtime.kernel);
  return true;
}

/** Time for a creation that still goes on, and whose stage has been killed, to take back what it has made. */
const CREATION_LIMIT_MS = 2000;
/** Time for a creation to start its stage and to note it: nothing before that hangs, but the machine may be busy. */
const BEGINNING_LIMIT_MS = 10_000;

/**
 * Locks the directory. If a creation still goes on, it is ended first. Undefined if there is no directory, or if the
 * other command does not let go in time: then it hangs, perhaps in a hook.
 */
function* lockRemains(runtime: Runtime, directory: StateDirectory): Waits<Fd | undefined> {
  const { kernel } = runtime;
  let deadline = monotonicMs(kernel) + BEGINNING_LIMIT_MS;
  for (let isNoted = false;;) {
    const lock = directory.tryLock(kernel);
    if (lock !== "busy") return lock;
    const note = noteIn(runtime, directory);
    if (note !== undefined) {
      yield* endStage(runtime, note);
      if (!isNoted) deadline = monotonicMs(kernel) + CREATION_LIMIT_MS;
      isNoted = true;
    }
    if (monotonicMs(kernel) >= deadline) return undefined;
    yield* pause(10);
  }
}

/**
 * Removes the directory of a creation that was killed before it had made anything. Returns false if a container is there
 * now. A creation that still goes on is left alone.
 */
export function removeStateless({ kernel, root }: Pick<Runtime, "kernel" | "root">, id: string): boolean {
  const directory = new StateDirectory(root, id);
  const lock = directory.tryLock(kernel);
  if (lock === "busy" || lock === undefined) return true;
  using _lock = lock;
  try {
    directory.load(kernel);
    return false;
  } catch (error) {
    if (!isMissing(error)) return false;
  }
  directory.remove(kernel);
  return true;
}

function noteIn(
  { kernel }: Runtime,
  directory: StateDirectory,
  layout = readCgroupLayout(kernel),
): CreationNote | undefined {
  return directory.readNote(kernel, layout.hierarchies.map(({ mountPoint }) => mountPoint));
}

/** Why the state cannot be read; undefined if it can. */
function reasonIn({ kernel }: Runtime, directory: StateDirectory): RuncError | undefined {
  try {
    directory.load(kernel);
    return undefined;
  } catch (error) {
    if (error instanceof RuncError) return error;
    throw error;
  }
}

/**
 * Kills the stage, which is in the host's mount namespace at first, and waits for its end. It ends by itself when the
 * runtime is killed, but not at once.
 */
function* endStage({ kernel }: Runtime, { stage: { pid, startTime } }: CreationNote): Waits<void> {
  using stage = pid === 0 ? undefined : OtherProcess.find(kernel, pid);
  // The process is open before its start time is checked. If the start time is still the stage's, it is the stage.
  if (stage === undefined || !isAlive(pid, startTime)) return;
  stage.signal(SIGKILL);
  const fds = stage.pidfd === undefined ? [] : [stage.pidfd.number];
  const deadline = monotonicMs(kernel) + STAGE_LIMIT_MS;
  while (!stage.hasEnded && monotonicMs(kernel) < deadline) yield* readable(fds, endTimeout(stage, 100));
}

/** The existing cgroups that the note names. */
function notedCgroups(runtime: Runtime, { cgroupPaths, systemd }: CreationNote): readonly CgroupManager[] {
  if (Object.keys(cgroupPaths).length === 0) return [];
  const { rootlessCgroups } = runtime;
  const cgroup = systemd === undefined
    ? loadCgroupManager(cgroupPaths, cgroupOptions(runtime, rootlessCgroups))
    : loadSystemdManager(cgroupPaths, systemd, systemdOptions(runtime, rootlessCgroups));
  return directoriesOf(cgroup).length > 0 ? [cgroup] : [];
}

/** The existing cgroups of a container with this id and without `linux.cgroupsPath`. */
function* findCgroups(runtime: Runtime, layout: CgroupLayout, id: string): Waits<readonly CgroupManager[]> {
  const booted = isThere(SYSTEMD);
  const found: CgroupManager[] = [];
  if (hasCgroups(layout, id) && !(booted && UNIT.test(id))) {
    found.push(createCgroupManager(layout, { id }, cgroupOptions(runtime, runtime.rootlessCgroups)));
  }
  // Rootless systemd supports only v2.
  if (booted && !(runtime.rootlessCgroups && layout.mode !== "v2")) {
    const options = systemdOptions(runtime, runtime.rootlessCgroups);
    try {
      found.push(yield* createSystemdManager(layout, { id, annotations: {} }, options));
    } catch (error) {
      // A user without a systemd to ask has no container whose cgroup it has made.
      if (!(error instanceof RuncError) || error.code !== "host-lacks") throw error;
    }
  }
  return found.filter((cgroup) => directoriesOf(cgroup).length > 0);
}

/** The host may have no cgroups at all. */
function hasCgroups(layout: CgroupLayout, id: string): boolean {
  try {
    return Object.keys(cgroupPaths(layout, { id })).length > 0;
  } catch (error) {
    if (error instanceof RuncError && error.code === "host-lacks") return false;
    throw error;
  }
}

function directoriesOf({ paths }: CgroupManager): readonly string[] {
  return [...new Set(Object.values(paths))].filter(isThere);
}

/**
 * Kills the processes in the cgroups and removes these; returns the directories. A cgroup that may belong to another
 * service stays, with a warning.
 */
function* removeCgroups(runtime: Runtime, id: string, cgroup: CgroupManager): Waits<readonly string[]> {
  const directories = directoriesOf(cgroup);
  const strangers = yield* strangersIn(runtime, directories);
  if (strangers.length > 0) {
    runtime.log(
      "warning",
      `${directories.join(" ")} may not belong to container ${id} and was not removed: ` +
        `these processes in it are in the host's mount namespace: ${strangers.join(" ")}`,
    );
    return [];
  }
  // The cgroup above an engine's containers may have the name of one: `docker`, `kubepods`.
  if (
    directories.some((each) => processesIn(each).length > 0) &&
    !directories.some((each) => processesOf(each).length > 0)
  ) {
    runtime.log(
      "warning",
      `${directories.join(" ")} may not be container ${id}'s, and stays: ` +
        "all processes are in cgroups below, as those of other containers would be",
    );
    return [];
  }
  yield* killAndWait(runtime, cgroup, directories);
  yield* cgroup.destroy();
  return directories;
}

/**
 * The processes that do not look contained. A helper of a killed `create` has the host's mount namespace too, and ends
 * by itself, but not at once.
 */
function* strangersIn({ kernel }: Runtime, directories: readonly string[]): Waits<readonly number[]> {
  const deadline = monotonicMs(kernel) + STAGE_LIMIT_MS;
  for (;;) {
    const found = [...new Set(directories.flatMap(processesIn))].filter((pid) => !looksContained(pid));
    if (found.length === 0 || monotonicMs(kernel) >= deadline) return found;
    yield* pause(10);
  }
}

/**
 * Whether a process is in another mount namespace than the runtime: nearly every container's is, and the host's are
 * not. A process that has ended counts as contained. One outside our pid namespace has no number here, which cgroup2
 * shows as 0.
 */
function looksContained(pid: number): boolean {
  try {
    return pid !== 0 && mountNamespace(String(pid)) !== mountNamespace("self");
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

const mountNamespace = (pid: string) => Deno.readLinkSync(`/proc/${pid}/ns/mnt`);

/** @throws {RuncError} after 10 s, as for other containers. */
function* killAndWait({ kernel }: Runtime, cgroup: CgroupManager, directories: readonly string[]): Waits<void> {
  if (directories.every((directory) => processesIn(directory).length === 0)) return;
  const deadline = monotonicMs(kernel) + 10_000;
  yield* cgroup.kill((pid, signal) => void kill(kernel, pid, signal));
  while (directories.some((directory) => processesIn(directory).length > 0)) {
    if (monotonicMs(kernel) >= deadline) {
      throw new RuncError("cgroup-failed", `processes in ${directories.join(" ")} do not end`);
    }
    yield* pause(10);
    cgroup.thawToKill();
  }
}
