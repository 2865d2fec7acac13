/**
 * The systemd driver for cgroup v2. The container is a unit; systemd creates and removes its cgroup. The file driver
 * does the rest.
 *
 * A scope needs a process. systemd gets the stage before the stage does anything, and moves it into the unit's cgroup
 * before it reports the unit as started. Everything that the stage starts afterwards starts in that cgroup.
 *
 * @module
 */

import { dirname } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { Resources } from "../../specs/config.ts";
import type { SpecDeviceRule } from "../devices/rules.ts";
import { isPermission, isThere, refuseFrozen, refuseProcesses } from "../driver.ts";
import { freezerV2 } from "../freezer.ts";
import { CgroupV2, passControllersDown, refuseBelowUsage } from "../v2/fs.ts";
import type { SelfJoin } from "../manager.ts";
import { setUnitDevices, setUnitLimits, startUnit, type SystemdDriverOptions, undoUnit } from "./driver.ts";

/** The systemd driver for v2. {@link CgroupV2} documents the rest. */
export class SystemdV2 extends CgroupV2 {
  #directory: string;
  readonly #options: SystemdDriverOptions;
  /** The process that systemd moved into the unit. */
  #first = 0;

  /** `directory`: the unit's cgroup. For a new unit, where it is expected. */
  constructor(directory: string, options: SystemdDriverOptions) {
    super({ "": directory }, options);
    this.#directory = directory;
    this.#options = options;
  }

  override get selfJoin(): SelfJoin {
    // In a new container, systemd has already moved the stage. An existing container is joined like any other cgroup.
    return this.#options.loaded ? super.selfJoin : { taskFiles: [] };
  }

  override *create(_limits?: Resources, pid?: number): Waits<void> {
    const { unifiedMount, ownerUid } = this.#options;
    refuseProcesses(this.#directory);
    yield* refuseFrozen(freezerV2, this.#directory);
    this.#first = yield* startUnit(this.#options, pid, 2);
    try {
      yield* this.#find();
      // Delegate= enables only the controllers that systemd knows. There may be others.
      yield* passControllersDown(unifiedMount, dirname(this.#directory));
      if (ownerUid !== undefined) giveTo(ownerUid, this.#directory);
    } catch (error) {
      yield* undoUnit(this.#options);
      throw error;
    }
  }

  /** Asks systemd for the cgroup: systemd chooses its name, and a property can change its slice. */
  *#find(): Waits<void> {
    const { systemd, unit, unifiedMount } = this.#options;
    const told = `${unifiedMount}${yield* systemd.cgroupOf(unit.name)}`;
    // A systemd in a container may see more of the hierarchy than is mounted here.
    if (told === this.#directory || told === unifiedMount || !isThere(told)) return;
    this.#directory = told;
    this.moveTo(told);
  }

  override *join(pid: number, initPid?: number): Waits<void> {
    if (pid === this.#first) return;
    const { systemd, unit, rootless, below } = this.#options;
    if (!rootless) return yield* super.join(pid, initPid);
    try {
      yield* systemd.attachProcess(unit.name, pid, below);
    } catch (error) {
      if (!(error instanceof RuncError)) throw error;
      // The unit may have ended, or init may be in a cgroup below it.
      yield* super.join(pid, initPid);
    }
  }

  override *setDevices(rules: readonly SpecDeviceRule[]): Waits<void> {
    yield* setUnitDevices(this.#options, rules);
    yield* super.setDevices(rules);
  }

  override *set(limits: Resources): Waits<void> {
    const { memory = {} } = limits;
    if (memory.checkBeforeUpdate) refuseBelowUsage(this.#directory, memory);
    yield* super.set(yield* setUnitLimits(this.#options, limits, 2));
  }

  override remember(limits: Resources, stored: Resources): () => Waits<void> {
    const files = super.remember(limits, stored);
    const options = this.#options;
    return function* (): Waits<void> {
      // systemd writes what it keeps to the files, so they come after it.
      yield* setUnitLimits(options, stored, 2);
      yield* files();
    };
  }

  override *destroy(): Waits<void> {
    yield* this.#options.systemd.stopUnit(this.#options.unit.name);
    // systemd does not remove cgroups that the container created below its own.
    yield* super.destroy();
  }
}

/** Gives `uid` the files that the owner of a delegated cgroup must own. cgroups(7), "Cgroup delegation containment" */
function giveTo(uid: number, directory: string): void {
  Deno.chownSync(directory, uid, null);
  for (const name of delegatedFiles()) {
    try {
      Deno.chownSync(`${directory}/${name}`, uid, null);
    } catch (error) {
      // Some cgroups lack some of these files.
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
