/**
 * What the systemd drivers for v1 and v2 have in common.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Resources } from "../../specs/config.ts";
import { containerDeviceFilter, type SpecDeviceRule } from "../devices/rules.ts";
import type { DriverOptions } from "../manager.ts";
import type { UnitProperty } from "./annotations.ts";
import type { Systemd } from "./connection.ts";
import { deviceProperties, limitProperties, roundedQuota, startProperties, withoutIdleWeight } from "./properties.ts";
import type { SystemdUnit } from "./unit.ts";

/** What a driver needs beside what the driver of files does. */
export interface SystemdDriverOptions extends DriverOptions {
  readonly systemd: Systemd;
  readonly unit: SystemdUnit;
  /** Properties that the config's annotations ask for. */
  readonly properties: readonly UnitProperty[];
  /** Who is to own the cgroup, because the container may write to it; host id. */
  readonly ownerUid?: number;
  /** The cgroup of processes that join, below the unit's. */
  readonly below?: string;
  /** Tells of what systemd cannot do. */
  readonly warn: (message: string) => void;
}

/** Starts the unit with `pid` as its first process, which is returned. */
export function startUnit(options: SystemdDriverOptions, pid: number | undefined, cgroupVersion: 1 | 2): number {
  const { systemd, unit, properties } = options;
  if (pid === undefined) throw new RuncError("internal", `unit ${unit.name} needs its first process`);
  systemd.startTransientUnit(unit.name, [...startProperties(unit, pid, cgroupVersion), ...properties]);
  return pid;
}

/**
 * Tells systemd the limits, and returns those that the files are to have then: systemd would else set its own again.
 *
 * @throws {RuncError} `config-invalid` for values that cannot be, `cgroup-failed` where systemd refuses them.
 */
export function setUnitLimits(options: SystemdDriverOptions, resources: Resources, cgroupVersion: 1 | 2): Resources {
  const { systemd, unit, warn } = options;
  const host = { cgroupVersion, systemdVersion: systemd.versionFor(unit.name) };
  const { resources: settable, warnings } = withoutIdleWeight(resources, host);
  warnings.forEach(warn);
  systemd.setProperties(unit.name, limitProperties(settable, host));
  const { cpu = {} } = settable;
  return { ...settable, cpu: { ...cpu, quota: roundedQuota(cpu) } };
}

/** Tells systemd the device rules: it sets its own filter anew when it reloads, and would else allow all. */
export function setUnitDevices(options: SystemdDriverOptions, rules: readonly SpecDeviceRule[]): void {
  const { systemd, unit, rootless, inUserNamespace, warn } = options;
  const { properties, left } = deviceProperties(containerDeviceFilter(rules));
  if (rootless || inUserNamespace) return;
  for (const rule of left) {
    warn(`systemd has no words for the device rule ${rule}; only the container's own filter has it`);
  }
  systemd.setProperties(unit.name, properties);
}
