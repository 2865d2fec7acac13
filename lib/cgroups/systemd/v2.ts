/**
 * cgroup v2 by systemd: the container is a unit, whose cgroup systemd makes and removes; files do the rest.
 *
 * A scope cannot be without a process, so systemd is given the stage before it has done anything, and puts it into the unit's cgroup before
 * it says that the unit runs. Everything that the stage then starts is born there.
 *
 * @module
 */

import { dirname } from "@std/path";
import { RuncError } from "../../errors.ts";
import type { Resources } from "../../specs/config.ts";
import type { SpecDeviceRule } from "../devices/rules.ts";
import { isPermission, isThere, refuseFrozen, refuseProcesses } from "../driver.ts";
import { freezerV2 } from "../freezer.ts";
import { CgroupV2, passControllersDown, refuseBelowUsage } from "../v2/fs.ts";
import type { SelfJoin } from "../manager.ts";
import { setUnitDevices, setUnitLimits, startUnit, type SystemdDriverOptions } from "./driver.ts";

/** See {@link CgroupV2} for what is not told here. */
export class SystemdV2 extends CgroupV2 {
  #directory: string;
  readonly #options: SystemdDriverOptions;
  /** The process that systemd has put in. */
  #first = 0;

  /** `directory`: the unit's cgroup, of a new one where it is expected to be. */
  constructor(directory: string, options: SystemdDriverOptions) {
    super({ "": directory }, options);
    this.#directory = directory;
    this.#options = options;
  }

  override get selfJoin(): SelfJoin {
    // Of a new container: systemd has put the stage in. A loaded one is joined as any other cgroup.
    return this.#options.loaded ? super.selfJoin : { taskFiles: [] };
  }

  override create(_limits?: Resources, pid?: number): void {
    const { systemd, unit, unifiedMount, ownerUid } = this.#options;
    refuseProcesses(this.#directory);
    refuseFrozen(freezerV2, this.#directory);
    this.#first = startUnit(this.#options, pid, 2);
    try {
      this.#find();
      // Delegate= has enabled those that systemd knows; there may be others.
      passControllersDown(unifiedMount, dirname(this.#directory));
      if (ownerUid !== undefined) giveTo(ownerUid, this.#directory);
    } catch (error) {
      systemd.stopUnit(unit.name);
      throw error;
    }
  }

  /** Its name in the cgroup file system is for systemd to choose, and its slice may be another by a property. */
  #find(): void {
    const { systemd, unit, unifiedMount } = this.#options;
    const told = `${unifiedMount}${systemd.cgroupOf(unit.name)}`;
    // A systemd in a container may see more of the hierarchy than is mounted here.
    if (told === this.#directory || told === unifiedMount || !isThere(told)) return;
    this.#directory = told;
    this.moveTo(told);
  }

  override join(pid: number, initPid?: number): void {
    if (pid === this.#first) return;
    const { systemd, unit, rootless, below } = this.#options;
    if (!rootless) return super.join(pid, initPid);
    try {
      systemd.attachProcess(unit.name, pid, below);
    } catch (error) {
      if (!(error instanceof RuncError)) throw error;
      // The unit may be gone, or init in a cgroup below it.
      super.join(pid, initPid);
    }
  }

  override setDevices(rules: readonly SpecDeviceRule[]): void {
    setUnitDevices(this.#options, rules);
    super.setDevices(rules);
  }

  override set(limits: Resources): void {
    const { memory = {} } = limits;
    if (memory.checkBeforeUpdate) refuseBelowUsage(this.#directory, memory);
    super.set(setUnitLimits(this.#options, limits, 2));
  }

  override remember(limits: Resources, stored: Resources): () => void {
    const files = super.remember(limits, stored);
    return () => {
      // systemd writes what it keeps to the files, so they come after it.
      setUnitLimits(this.#options, stored, 2);
      files();
    };
  }

  override destroy(): void {
    this.#options.systemd.stopUnit(this.#options.unit.name);
    // What the container has made below it is not systemd's.
    super.destroy();
  }
}

/** The files that whoever a cgroup is delegated to must own. cgroups(7), "Cgroup delegation containment" */
function giveTo(uid: number, directory: string): void {
  Deno.chownSync(directory, uid, null);
  for (const name of delegatedFiles()) {
    try {
      Deno.chownSync(`${directory}/${name}`, uid, null);
    } catch (error) {
      // Not every cgroup has all of them.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

function delegatedFiles(): readonly string[] {
  try {
    return Deno.readTextFileSync("/sys/kernel/cgroup/delegate").trim().split("\n");
  } catch (error) {
    if (isPermission(error) || error instanceof Deno.errors.NotFound) {
      return ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
    }
    throw error;
  }
}
