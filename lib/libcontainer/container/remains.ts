/**
 * Removes a container whose state cannot be read: its directory, and the cgroups and the unit derived from its id. Runs
 * in: parent.
 *
 * The location of the cgroups is then a guess: where they are for this id without `linux.cgroupsPath`. So it kills only
 * processes that look like a container's, and none where all of them are in cgroups below. It reports everything that
 * was guessed. It cannot tell a container of the same id whose state is in another directory.
 *
 * @module
 */

import { processesIn, processesOf } from "../../cgroups/processes.ts";
import { cgroupPaths } from "../../cgroups/path.ts";
import { type CgroupLayout, readCgroupLayout } from "../../cgroups/layout.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { createCgroupManager } from "../../cgroups/open.ts";
import { sleepMs } from "../../cgroups/file.ts";
import { isThere } from "../../cgroups/driver.ts";
import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { kill } from "../../ffi/process/process.ts";
import { cgroupOptions, systemdOptions } from "./container_cgroups.ts";
import { createSystemdManager } from "../../cgroups/systemd/manager.ts";
import type { Runtime } from "../runtime.ts";
import { isMissing, StateDirectory } from "../state/store.ts";

/** This directory exists if systemd is running. sd_booted(3) */
const SYSTEMD = "/run/systemd/system";

/** Names of systemd's units that have cgroups: such a cgroup may be another service's. */
const UNIT = /\.(?:slice|scope|service|socket|mount|swap)$/;

/**
 * Removes the remains of a container, for `delete --force`. False if its state can be read now: nothing is removed
 * then.
 *
 * @throws {RuncError} `cgroup-failed` if a cgroup of the container cannot be removed.
 */
export function removeRemains(runtime: Runtime, id: string): boolean {
  const directory = new StateDirectory(runtime.root, id);
  using lock = directory.lock(runtime.kernel);
  if (lock === undefined) return true;
  const why = reasonIn(runtime, directory);
  if (why === undefined) return false;
  const cgroups = findCgroups(runtime, id);
  const removed = cgroups.flatMap((cgroup) => removeCgroups(runtime, id, cgroup));
  // Nothing was guessed if `create` was killed before it created a cgroup.
  if (cgroups.length > 0 || !isMissing(why)) {
    const also = removed.length === 0 ? "" : `, and these cgroups found by its id: ${removed.join(" ")}`;
    runtime.log(
      "warning",
      `the state of container ${id} cannot be read (${why.message}): removed its directory${also}; ` +
        "cgroups in other places were not removed, and its poststop hooks were not run",
    );
  }
  directory.remove(runtime.kernel);
  return true;
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

/** The existing cgroups of a container with this id and without `linux.cgroupsPath`. */
function findCgroups(runtime: Runtime, id: string): readonly CgroupManager[] {
  const layout = readCgroupLayout(runtime.kernel);
  const booted = isThere(SYSTEMD);
  const found: CgroupManager[] = [];
  if (hasCgroups(layout, id) && !(booted && UNIT.test(id))) {
    found.push(createCgroupManager(layout, { id }, cgroupOptions(runtime, runtime.rootlessCgroups)));
  }
  // Rootless systemd supports only v2.
  if (booted && !(runtime.rootlessCgroups && layout.mode !== "v2")) {
    const options = systemdOptions(runtime, runtime.rootlessCgroups);
    found.push(createSystemdManager(layout, { id, annotations: {} }, options));
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
function removeCgroups(runtime: Runtime, id: string, cgroup: CgroupManager): readonly string[] {
  const directories = directoriesOf(cgroup);
  const strangers = [...new Set(directories.flatMap(processesIn))].filter((pid) => !looksContained(pid));
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
  killAndWait(runtime, cgroup, directories);
  cgroup.destroy();
  return directories;
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
function killAndWait({ kernel }: Runtime, cgroup: CgroupManager, directories: readonly string[]): void {
  if (directories.every((directory) => processesIn(directory).length === 0)) return;
  const deadline = monotonicMs(kernel) + 10_000;
  cgroup.kill((pid, signal) => void kill(kernel, pid, signal));
  while (directories.some((directory) => processesIn(directory).length > 0)) {
    if (monotonicMs(kernel) >= deadline) {
      throw new RuncError("cgroup-failed", `processes in ${directories.join(" ")} do not end`);
    }
    sleepMs(10);
    cgroup.thawToKill();
  }
}
