/**
 * Functions that the systemd drivers for v1 and v2 share.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { Resources } from "../../specs/config.ts";
import { containerDeviceFilter, type SpecDeviceRule } from "../devices/rules.ts";
import type { DriverOptions } from "../manager.ts";
import type { UnitProperty } from "./annotations.ts";
import type { Systemd } from "./connection.ts";
import { deviceProperties, limitProperties, roundedQuota, startProperties, withoutIdleWeight } from "./properties.ts";
import type { SystemdUnit } from "./unit.ts";

/** The options of a systemd driver, in addition to those of the file driver. */
export interface SystemdDriverOptions extends DriverOptions {
  readonly systemd: Systemd;
  readonly unit: SystemdUnit;
  /** Properties from the config's annotations. */
  readonly properties: readonly UnitProperty[];
  /** The owner of the cgroup, if the container may write to it; a host id. */
  readonly ownerUid?: number;
  /** The cgroup that processes join, if it is one below the unit's. */
  readonly below?: string;
  /** Reports what systemd cannot do. */
  readonly warn: (message: string) => void;
}

/** Starts the unit with `pid` as its first process, and returns that pid. */
export function* startUnit(
  options: SystemdDriverOptions,
  pid: number | undefined,
  cgroupVersion: 1 | 2,
): Waits<number> {
  const { systemd, unit, properties } = options;
  if (pid === undefined) throw new RuncError("internal", `unit ${unit.name} needs its first process`);
  yield* systemd.startTransientUnit(unit.name, [...startProperties(unit, pid, cgroupVersion), ...properties]);
  return pid;
}

/** Stops the unit of a container that could not be created. If that fails, too, the first error is the one to tell. */
export function* undoUnit(
  { systemd, unit, warn }: Pick<SystemdDriverOptions, "systemd" | "unit" | "warn">,
): Waits<void> {
  try {
    yield* systemd.stopUnit(unit.name);
  } catch (error) {
    warn(`while cleaning up: unit "${unit.name}" may be left: ${(error as Error).message}`);
  }
}

/**
 * Sends the limits to systemd, which would otherwise overwrite them with its own. Returns the limits to write to the
 * files.
 *
 * @throws {RuncError} `config-invalid` for impossible values, `cgroup-failed` if systemd refuses them.
 */
export function* setUnitLimits(
  options: SystemdDriverOptions,
  resources: Resources,
  cgroupVersion: 1 | 2,
): Waits<Resources> {
  const { systemd, unit, warn } = options;
  const host = { cgroupVersion, systemdVersion: yield* systemd.versionFor(unit.name) };
  const { resources: settable, warnings } = withoutIdleWeight(resources, host);
  warnings.forEach(warn);
  yield* systemd.setProperties(unit.name, limitProperties(settable, host));
  const { cpu = {} } = settable;
  return { ...settable, cpu: { ...cpu, quota: roundedQuota(cpu) } };
}

/**
 * Sends the device rules to systemd. It sets its own filter again on each reload; without the rules that filter would
 * allow everything.
 */
export function* setUnitDevices(options: SystemdDriverOptions, rules: readonly SpecDeviceRule[]): Waits<void> {
  const { systemd, unit, rootless, inUserNamespace, warn } = options;
  const { properties, left } = deviceProperties(containerDeviceFilter(rules));
  if (rootless || inUserNamespace) return;
  for (const rule of left) {
    warn(`systemd cannot express the device rule ${rule}; only the container's own filter enforces it`);
  }
  yield* systemd.setProperties(unit.name, properties);
}
