/**
 * cgroup v1 by systemd: it makes the unit's cgroup in the hierarchies that it knows, and in its own; files do the others.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Resources } from "../../specs/config.ts";
import type { SpecDeviceRule } from "../devices/rules.ts";
import { isThere, refuseFrozen, refuseProcesses } from "../driver.ts";
import { writeProcess } from "../file.ts";
import { freezerV1 } from "../freezer.ts";
import { CgroupV1 } from "../v1/fs.ts";
import { processesIn } from "../processes.ts";
import { setUnitDevices, setUnitLimits, startUnit, type SystemdDriverOptions } from "./driver.ts";

/** See {@link CgroupV1} for what is not told here. */
export class SystemdV1 extends CgroupV1 {
  readonly #options: SystemdDriverOptions;

  /** `paths`: the unit's cgroups by controller; the object becomes the driver's own. */
  constructor(paths: Record<string, string>, options: SystemdDriverOptions) {
    super(paths, options);
    this.#options = options;
  }

  override create(limits?: Resources, pid?: number): void {
    const { systemd, unit } = this.#options;
    const { devices, freezer } = this.paths;
    if (devices !== undefined) refuseProcesses(devices);
    if (freezer !== undefined) refuseFrozen(freezerV1, freezer);
    startUnit(this.#options, pid, 1);
    try {
      this.#requireUnit();
      // What systemd has not made; the process joins these by itself, as without systemd.
      this.makeGroups(limits, { isOurs: true });
    } catch (error) {
      systemd.stopUnit(unit.name);
      throw error;
    }
  }

  /** The process enters the unit's cgroups by paths that were settled before there was a unit. */
  #requireUnit(): void {
    const { "name=systemd": expected } = this.paths;
    if (expected === undefined || isThere(expected)) return;
    const { systemd, unit } = this.#options;
    throw new RuncError(
      "cgroup-failed",
      `systemd has put unit "${unit.name}" into ${systemd.cgroupOf(unit.name)}, and not into ${expected}`,
      { field: unit.sliceFrom, hint: "give the container another name or slice" },
    );
  }

  override setDevices(rules: readonly SpecDeviceRule[]): void {
    setUnitDevices(this.#options, rules);
    this.#bringBack();
    super.setDevices(rules);
  }

  override set(limits: Resources): void {
    const rest = this.#whileFrozen(() => setUnitLimits(this.#options, limits, 1));
    this.#bringBack();
    super.set(rest);
  }

  override remember(limits: Resources, stored: Resources): () => void {
    const files = super.remember(limits, stored);
    return () => {
      // systemd writes what it keeps to the files, so they come after it.
      setUnitLimits(this.#options, stored, 1);
      files();
    };
  }

  /**
   * systemd writes all of the unit's limits anew, and denies every device for a moment: a container that runs must not see that. One that
   * is paused stays so; one that is being made has nothing to see.
   */
  #whileFrozen<Result>(action: () => Result): Result {
    const stays = !this.#options.loaded || this.paths["freezer"] === undefined || this.freezerState() === "frozen";
    if (stays) return action();
    this.freeze();
    try {
      return action();
    } finally {
      this.thaw();
    }
  }

  /**
   * A slice that gets its first unit with device rules takes all processes below it into its own devices cgroup, and leaves those of
   * delegated units there (unit_update_cgroup in src/core/cgroup.c): the container would be outside of its own, and unlimited.
   */
  #bringBack(): void {
    const { "name=systemd": unit, devices } = this.paths;
    if (unit === undefined || devices === undefined) return;
    const inside = new Set(processesIn(devices));
    for (const pid of processesIn(unit)) if (!inside.has(pid)) writeProcess(devices, pid);
  }

  override destroy(): void {
    try {
      this.#options.systemd.stopUnit(this.#options.unit.name);
    } finally {
      super.destroy();
    }
  }
}
