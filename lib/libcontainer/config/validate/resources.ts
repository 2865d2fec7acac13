/**
 * Rules for devices and for the container's cgroup.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#control-groups
 * @module
 */

import { accessBits, ALL_LETTERS, unknownAccessLetters } from "../../../cgroups/devices/rules.ts";
import { swapProblem } from "../../../cgroups/limits/memory.ts";
import type { Config } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import { quote, type ValidationFacts } from "./facts.ts";

const DEVICE_TYPES = ["c", "u", "b", "p"];
const RULE_TYPES = ["a", "b", "c"];

/** mknod(2): character device, block device or FIFO. */
export function* deviceTypes(config: Config): Iterable<Problem> {
  for (const [index, { type, path }] of (config.linux?.devices ?? []).entries()) {
    const at = `/linux/devices/${index}`;
    if (!DEVICE_TYPES.includes(type)) {
      const message = `invalid device type ${quote(type)}`;
      yield { at: `${at}/type`, found: type, wanted: DEVICE_TYPES.join(", "), message };
    }
    if (path === "" || path.includes("\0")) {
      const message = `invalid device path ${quote(path)}`;
      yield { at: `${at}/path`, found: path, wanted: "a path in the container", message };
    }
  }
}

/** With systemd the path has three parts; otherwise it can be any path. */
export function* cgroupsPathForm(config: Config, { systemdCgroup }: ValidationFacts): Iterable<Problem> {
  const path = config.linux?.cgroupsPath ?? "";
  if (!systemdCgroup || path === "" || path.split(":").length === 3) return;
  const message = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, ' +
    `got ${quote(path)} instead`;
  yield { at: "/linux/cgroupsPath", found: path, wanted: "slice:prefix:name", message };
}

/** The values that the device controller accepts. */
export function* deviceRules(config: Config): Iterable<Problem> {
  for (const [index, { access = "", type = "" }] of (config.linux?.resources?.devices ?? []).entries()) {
    const at = `/linux/resources/devices/${index}`;
    if (access === "") {
      const message = `device access at ${index} field cannot be empty`;
      yield { at: `${at}/access`, wanted: `letters of ${ALL_LETTERS}`, message };
    } else if (accessBits(access) === undefined) {
      const message = `device access at ${index} field contains unknown modes: ${quote(access)}`;
      yield { at: `${at}/access`, found: access, wanted: `letters of ${ALL_LETTERS}`, message };
    }
    if (type !== "" && !RULE_TYPES.includes(type)) {
      const message = `invalid cgroup device type ${quote(type)}`;
      yield { at: `${at}/type`, found: type, wanted: RULE_TYPES.join(", "), message };
    }
  }
}

/** Letters that runc ignores. A rule with only such letters is rejected, because it has no useful meaning. */
export function* unknownAccess(config: Config): Iterable<Problem> {
  for (const [index, { access = "" }] of (config.linux?.resources?.devices ?? []).entries()) {
    const unknown = unknownAccessLetters(access);
    if (unknown === "") continue;
    yield {
      at: `/linux/resources/devices/${index}/access`,
      found: access,
      wanted: `letters of ${ALL_LETTERS}`,
      message: `device access at ${index} field contains unknown modes, which are ignored: ${quote(unknown)}`,
    };
  }
}

/** Files of cgroup v2 exist only in cgroup v2. */
export function* unifiedNeedsCgroup2(config: Config, { cgroup2 }: ValidationFacts): Iterable<Problem> {
  const unified = config.linux?.resources?.unified ?? {};
  if (cgroup2 || Object.keys(unified).length === 0) return;
  const message = "invalid configuration: cannot use unified on cgroup v1";
  yield { at: "/linux/resources/unified", found: unified, wanted: "nothing", message };
}

/**
 * cgroup v2 limits swap alone, while config.json limits memory and swap together: swap is the difference.
 */
export function* swapIsADifference(config: Config, { cgroup2 }: ValidationFacts): Iterable<Problem> {
  const { swap = 0, limit = 0 } = config.linux?.resources?.memory ?? {};
  // Without a limit of memory the driver decides, when it sets the limits.
  if (!cgroup2 || BigInt(limit) === -1n) return;
  const message = swapProblem(BigInt(limit), BigInt(swap));
  if (message !== undefined) {
    yield { at: "/linux/resources/memory/swap", found: swap, wanted: "at least the limit", message };
  }
}
