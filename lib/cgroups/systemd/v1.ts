/**
 * The systemd driver for cgroup v1. systemd creates the unit's cgroup in its own hierarchy and in those that it
 * manages. The file driver creates the others.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { Resources } from "../../specs/config.ts";
import type { SpecDeviceRule } from "../devices/rules.ts";
import { isThere, refuseFrozen, refuseProcesses } from "../driver.ts";
import { writeProcess } from "../file.ts";
import { freezerV1 } from "../freezer.ts";
import { CgroupV1 } from "../v1/fs.ts";
import { processesIn } from "../processes.ts";
import { setUnitDevices, setUnitLimits, startUnit, type SystemdDriverOptions, undoUnit } from "./driver.ts";

/** The systemd driver for v1. {@link CgroupV1} documents the rest. */
export class SystemdV1 extends CgroupV1 {
  readonly #options: SystemdDriverOptions;

  /** `paths`: the unit's cgroups by controller. The driver takes over the object and changes it. */
  constructor(paths: Record<string, string>, options: SystemdDriverOptions) {
    super(paths, options);
    this.#options = options;
  }

  override *create(limits?: Resources, pid?: number): Waits<void> {
    const { devices, freezer } = this.paths;
    if (devices !== undefined) refuseProcesses(devices);
    if (freezer !== undefined) yield* refuseFrozen(freezerV1, freezer);
    yield* startUnit(this.#options, pid, 1);
    try {
      yield* this.#requireUnit();
      // Creates the cgroups that systemd does not. The process joins them by itself, as without systemd.
      yield* this.makeGroups(limits, { isOurs: true });
    } catch (error) {
      yield* undoUnit(this.#options);
      throw error;
    }
  }

  /**
   * Checks that systemd put the unit where it was expected: the process joins by paths that were chosen before the unit
   * existed.
   */
  *#requireUnit(): Waits<void> {
    const { "name=systemd": expected } = this.paths;
    if (expected === undefined || isThere(expected)) return;
    const { systemd, unit } = this.#options;
    const actual = yield* systemd.cgroupOf(unit.name);
    throw new RuncError(
      "cgroup-failed",
      `systemd put unit "${unit.name}" into ${actual}, expected ${expected}`,
      { field: unit.sliceFrom, hint: "choose another unit name or slice" },
    );
  }

  override *setDevices(rules: readonly SpecDeviceRule[]): Waits<void> {
    yield* setUnitDevices(this.#options, rules);
    yield* this.#bringBack();
    yield* super.setDevices(rules);
  }

  override *set(limits: Resources): Waits<void> {
    const rest = yield* this.#whileFrozen(() => setUnitLimits(this.#options, limits, 1));
    yield* this.#bringBack();
    yield* super.set(rest);
  }

  override remember(limits: Resources, stored: Resources): () => Waits<void> {
    const files = super.remember(limits, stored);
    const options = this.#options;
    return function* (): Waits<void> {
      // systemd writes what it keeps to the files, so they come after it.
      yield* setUnitLimits(options, stored, 1);
      yield* files();
    };
  }

  /**
   * Freezes a running container while systemd writes: systemd writes all of the unit's limits again and denies every
   * device for a moment, which the container must not see. A paused container stays paused. A container that is being
   * created is not affected.
   */
  *#whileFrozen<Result>(action: () => Waits<Result>): Waits<Result> {
    const stays = !this.#options.loaded || this.paths["freezer"] === undefined ||
      (yield* this.freezerState()) === "frozen";
    if (stays) return yield* action();
    yield* this.freeze();
    try {
      return yield* action();
    } finally {
      this.thaw();
    }
  }

  /**
   * When a slice gets its first unit with device rules, systemd moves all processes below the slice into the slice's
   * own devices cgroup, and leaves those of delegated units there (unit_update_cgroup in src/core/cgroup.c). The
   * container would then be outside its own cgroup and unlimited.
   */
  *#bringBack(): Waits<void> {
    const { "name=systemd": unit, devices } = this.paths;
    if (unit === undefined || devices === undefined) return;
    const inside = new Set(processesIn(devices));
    for (const pid of processesIn(unit)) if (!inside.has(pid)) yield* writeProcess(devices, pid);
  }

  override *destroy(): Waits<void> {
    try {
      yield* this.#options.systemd.stopUnit(this.#options.unit.name);
    } finally {
      yield* super.destroy();
    }
  }
}
