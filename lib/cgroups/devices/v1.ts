/**
 * The v1 devices controller: applies a filter with as few writes to devices.allow and devices.deny as possible, then
 * reads it back to verify it.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { TURN, type Waits } from "../../ffi/waits.ts";
import { type DeviceFilter, type DeviceRule, formatRule, parseDevicesList, sameFilter, transition } from "./rules.ts";
import { readCgroupFile, writeCgroupLines } from "../file.ts";

/**
 * Sets the device filter of the cgroup at `directory`.
 *
 * @throws {RuncError} `cgroup-failed` if the kernel refuses a rule (EPERM: the parent cgroup does not allow the
 * device), or if the filter read back differs.
 */
export function* setDevicesV1(directory: string, filter: DeviceFilter): Waits<void> {
  const change = changeFrom(readCgroupFile(directory, "devices.list"), filter);
  for (const { file, lines } of change.writes) {
    writeCgroupLines(directory, file, lines);
    yield TURN;
  }
  const after = readCgroupFile(directory, "devices.list");
  if (after !== change.after) verify(parseDevicesList(after), filter);
  change.after = after;
}

/** How a list becomes that of a filter. */
interface Change {
  /** The list before. */
  readonly before: string;
  readonly writes: readonly { readonly file: string; readonly lines: readonly string[] }[];
  /** A list that is known to be the filter's. */
  after?: string;
}

/** The last change to each filter: a program that makes many containers changes all their cgroups alike. */
const changes = new WeakMap<DeviceFilter, Change>();

function changeFrom(before: string, filter: DeviceFilter): Change {
  const known = changes.get(filter);
  if (known?.before === before) return known;
  const change = {
    before,
    writes: runs(transition(parseDevicesList(before), filter)).map(({ file, rules }) => ({
      file,
      lines: rules.map(formatRule),
    })),
  };
  changes.set(filter, change);
  return change;
}

/** Groups consecutive rules for the same file, so that each file is opened once per group. */
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

/** For a filter that allows by default, the list shows only the default, so only that can be compared. */
function verify(actual: DeviceFilter, wanted: DeviceFilter): void {
  if (actual.allowsByDefault !== wanted.allowsByDefault) {
    throw new RuncError("cgroup-failed", "resulting devices cgroup doesn't match target mode");
  }
  if (!wanted.allowsByDefault && !sameFilter(actual, wanted)) {
    throw new RuncError("cgroup-failed", "resulting devices cgroup doesn't precisely match target");
  }
}
