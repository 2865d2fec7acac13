/**
 * What is left of a container whose state cannot be read: its directory, and cgroups and a unit that the id leads to. Runs in: parent.
 *
 * Where the container was is a guess then: where it would be by its id alone, without `linux.cgroupsPath`. So no process is killed that does
 * not look like a container's, nor where all are in cgroups below, and all that was guessed is told. A container of the same id, whose state is
 * in another directory, cannot be told apart.
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

/** Where systemd runs there is this directory. sd_booted(3) */
const SYSTEMD = "/run/systemd/system";

/** Names of systemd's units that are cgroups: one of these beside the container's may be anybody's. */
const UNIT = /\.(?:slice|scope|service|socket|mount|swap)$/;

/**
 * Removes what is left of a container, for `delete --force`. False where its state can be read by now, or again: then nothing was removed.
 *
 * @throws {RuncError} `cgroup-failed` where a cgroup of its cannot be removed.
 */
export function removeRemains(runtime: Runtime, id: string): boolean {
  const directory = new StateDirectory(runtime.root, id);
  using lock = directory.lock(runtime.kernel);
  if (lock === undefined) return true;
  const why = reasonIn(runtime, directory);
  if (why === undefined) return false;
  const cgroups = findCgroups(runtime, id);
  const removed = cgroups.flatMap((cgroup) => removeCgroups(runtime, id, cgroup));
  // A create that was killed before it had a cgroup: nothing was guessed.
  if (cgroups.length > 0 || !isMissing(why)) {
    const also = removed.length === 0 ? "" : `, and what its id leads to: ${removed.join(" ")}`;
    runtime.log(
      "warning",
      `the state of container ${id} cannot be read (${why.message}): removed its directory${also}; ` +
        "cgroups in other places, if it had any, stay, and its poststop hooks were not run",
    );
  }
  directory.remove();
  return true;
}

/** Why there is no state; undefined where there is one. */
function reasonIn({ kernel }: Runtime, directory: StateDirectory): RuncError | undefined {
  try {
    directory.load(kernel);
    return undefined;
  } catch (error) {
    if (error instanceof RuncError) return error;
    throw error;
  }
}

/** Cgroups that are there, and that a container of this id without `linux.cgroupsPath` has. */
function findCgroups(runtime: Runtime, id: string): readonly CgroupManager[] {
  const layout = readCgroupLayout(runtime.kernel);
  const booted = isThere(SYSTEMD);
  const found: CgroupManager[] = [];
  if (hasCgroups(layout, id) && !(booted && UNIT.test(id))) {
    found.push(createCgroupManager(layout, { id }, cgroupOptions(runtime, runtime.rootlessCgroups)));
  }
  // Rootless, v1 has none.
  if (booted && !(runtime.rootlessCgroups && layout.mode !== "v2")) {
    const options = systemdOptions(runtime, runtime.rootlessCgroups);
    found.push(createSystemdManager(layout, { id, annotations: {} }, options));
  }
  return found.filter((cgroup) => directoriesOf(cgroup).length > 0);
}

/** A host may have none at all. */
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

/** Ends what is in there and removes it; returns the directories. What may be somebody else's stays, and that is told. */
function removeCgroups(runtime: Runtime, id: string, cgroup: CgroupManager): readonly string[] {
  const directories = directoriesOf(cgroup);
  const strangers = [...new Set(directories.flatMap(processesIn))].filter((pid) => !looksContained(pid));
  if (strangers.length > 0) {
    runtime.log(
      "warning",
      `${directories.join(" ")} may not be container ${id}'s, and stays: ` +
        `of its processes these are in no mount namespace of their own: ${strangers.join(" ")}`,
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
 * Whether a process is in another mount namespace than we are, as those of nearly every container are, and those of the host are not. One
 * that has ended is nobody's; one that is outside of our pid namespace has no number here, which cgroup2 shows as 0.
 */
function looksContained(pid: number): boolean {
  try {
    return pid !== 0 && mountNamespace(String(pid)) !== mountNamespace("self");
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

const mountNamespace = (pid: string) => Deno.readLinkSync(`/proc/${pid}/ns/mnt`);

/** @throws {RuncError} after 10 s, as for any other container. */
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
