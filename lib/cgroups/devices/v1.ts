/**
 * The v1 devices controller: a filter becomes the fewest writes to devices.allow and devices.deny, and is read back.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { type DeviceFilter, type DeviceRule, formatRule, parseDevicesList, sameFilter, transition } from "./rules.ts";
import { readCgroupFile, writeCgroupLines } from "../file.ts";

/**
 * Makes `filter` the filter of the cgroup at `directory`.
 *
 * @throws {RuncError} `cgroup-failed` where the kernel refuses a rule (EPERM: the cgroup above does not have that device) or shows another
 * filter afterwards.
 */
export function setDevicesV1(directory: string, filter: DeviceFilter): void {
  const current = parseDevicesList(readCgroupFile(directory, "devices.list"));
  for (const { file, rules } of runs(transition(current, filter))) {
    writeCgroupLines(directory, file, rules.map(formatRule));
  }
  verify(parseDevicesList(readCgroupFile(directory, "devices.list")), filter);
}

/** Rules for the same file that follow each other: the file is opened once for them. */
function runs(
  rules: readonly DeviceRule[],
): readonly { readonly file: string; readonly rules: readonly DeviceRule[] }[] {
  const found: { file: string; rules: DeviceRule[] }[] = [];
  for (const rule of rules) {
    const file = rule.allow ? "devices.allow" : "devices.deny";
    const last = found.at(-1);
    if (last?.file === file) last.rules.push(rule);
    else found.push({ file, rules: [rule] });
  }
  return found;
}

/** Of a filter that allows by default, the list shows only that. */
function verify(actual: DeviceFilter, wanted: DeviceFilter): void {
  if (actual.allowsByDefault !== wanted.allowsByDefault) {
    throw new RuncError("cgroup-failed", "resulting devices cgroup doesn't match target mode");
  }
  if (!wanted.allowsByDefault && !sameFilter(actual, wanted)) {
    throw new RuncError("cgroup-failed", "resulting devices cgroup doesn't precisely match target");
  }
}
