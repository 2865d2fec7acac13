/**
 * Rules for the smaller fields of `linux`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md
 * @module
 */

import type { Config } from "../../../specs/config.ts";
import { pointerToken, type Problem } from "../../../specs/problem.ts";
import { hasNamespace } from "../namespaces.ts";
import { memoryPolicyFlags } from "../memory_policy.ts";
import { propagationNames } from "../mount_options.ts";
import { cpuListError, parseCpuList } from "./cpu_list.ts";
import { quote, type ValidationFacts } from "./facts.ts";

/** A mode of mount_namespaces(7). */
export function* rootfsPropagation(config: Config, { noPivot }: ValidationFacts): Iterable<Problem> {
  const found = config.linux?.rootfsPropagation ?? "";
  if (found === "") return;
  const at = "/linux/rootfsPropagation";
  if (!propagationNames.includes(found)) {
    yield { at, found, wanted: propagationNames.join(", "), message: `rootfsPropagation=${found} is not supported` };
  } else if (noPivot && found.endsWith("private")) {
    const message = "rootfsPropagation of [r]private is not safe without pivot_root";
    yield { at, found, wanted: "slave, shared or unbindable", message };
  }
}

/** How many nodes a memory policy's mode requires, set_mempolicy(2). */
const policyNodes: Readonly<Record<string, "none" | "some" | "any">> = {
  MPOL_DEFAULT: "none",
  MPOL_LOCAL: "none",
  MPOL_PREFERRED: "any",
  MPOL_BIND: "some",
  MPOL_INTERLEAVE: "some",
  MPOL_PREFERRED_MANY: "some",
  MPOL_WEIGHTED_INTERLEAVE: "some",
};

const POLICY_FLAGS = Object.keys(memoryPolicyFlags);

/** Checks the words of a memory policy. */
export function* memoryPolicyWords(config: Config): Iterable<Problem> {
  const policy = config.linux?.memoryPolicy;
  if (policy === undefined) return;
  const { mode, nodes, flags = [] } = policy;
  const at = "/linux/memoryPolicy";
  if (!Object.hasOwn(policyNodes, mode)) {
    const message = `invalid memory policy mode ${quote(mode)}`;
    yield { at: `${at}/mode`, found: mode, wanted: Object.keys(policyNodes).join(", "), message };
  }
  const error = cpuListError(nodes);
  if (error !== undefined) {
    const message = `invalid memory policy nodes ${quote(nodes)}: ${error}`;
    yield { at: `${at}/nodes`, found: nodes, wanted: "a list of nodes such as 0-3,7", message };
  }
  for (const [index, flag] of flags.entries()) {
    if (POLICY_FLAGS.includes(flag)) continue;
    const message = `invalid memory policy flag ${quote(flag)}`;
    yield { at: `${at}/flags/${index}`, found: flag, wanted: POLICY_FLAGS.join(", "), message };
  }
}

/** Checks that the nodes fit the mode. */
export function* memoryPolicyNodes(config: Config): Iterable<Problem> {
  const { mode = "", nodes = "" } = config.linux?.memoryPolicy ?? {};
  if (cpuListError(nodes) !== undefined) return;
  const count = parseCpuList(nodes).length;
  const at = "/linux/memoryPolicy/nodes";
  if (policyNodes[mode] === "none" && count > 0) {
    yield { at, found: nodes, wanted: "no nodes", message: `memory policy mode requires 0 nodes but got ${count}` };
  } else if (policyNodes[mode] === "some" && count === 0) {
    yield { at, found: nodes, wanted: "a node", message: "memory policy mode requires at least one node but got 0" };
  }
}

/** personality(2) */
export function* personalityDomain(config: Config): Iterable<Problem> {
  const domain = config.linux?.personality?.domain;
  if (domain === undefined || domain === "LINUX" || domain === "LINUX32") return;
  const message = `invalid personality domain ${domain}`;
  yield { at: "/linux/personality/domain", found: domain, wanted: "LINUX, LINUX32", message };
}

/** Only root may move interfaces, only into a network namespace, and the kernel must accept their names. */
export function* netDevices(config: Config, { rootlessEuid, rootlessCgroups }: ValidationFacts): Iterable<Problem> {
  const devices = Object.entries(config.linux?.netDevices ?? {});
  if (devices.length === 0) return;
  const at = "/linux/netDevices";
  if (!hasNamespace(config, "network")) {
    const message = "unable to move network devices without a NET namespace";
    yield { at, wanted: 'an entry of type "network" in linux.namespaces', message };
  } else if (rootlessEuid || rootlessCgroups) {
    yield { at, wanted: "none", message: "network devices are not supported for rootless containers" };
  }
  for (const [name, { name: newName = "" }] of devices) {
    for (const found of newName === "" ? [name] : [name, newName]) {
      if (isDeviceName(found)) continue;
      const message = `invalid network device name ${quote(found)}`;
      yield { at: at + pointerToken(name), found, wanted: "1 to 16 characters without /, : and space", message };
    }
  }
}

/** dev_valid_name() in net/core/dev.c, with runc's limit. */
function isDeviceName(name: string): boolean {
  return name.length > 0 && name.length <= 16 && name !== "." && name !== ".." && !/[/: ]/.test(name);
}

/** The host must support the requested resctrl features, and the group's name must be a file name. */
export function* intelRdt(config: Config, facts: ValidationFacts): Iterable<Problem> {
  const rdt = config.linux?.intelRdt;
  if (rdt === undefined) return;
  const at = "/linux/intelRdt";
  if (facts.intelRdt === undefined) {
    const message = "intelRdt is specified in config, but Intel RDT is not enabled";
    yield { at, found: rdt, wanted: "nothing", message };
    return;
  }
  const { closID = "", l3CacheSchema = "", memBwSchema = "" } = rdt;
  if (closID === "." || closID === ".." || (closID.length > 1 && closID.includes("/"))) {
    const message = `invalid intelRdt.ClosID ${quote(closID)}`;
    yield { at: `${at}/closID`, found: closID, wanted: "a file name", message };
  }
  if (l3CacheSchema !== "" && !facts.intelRdt.cat) {
    const message = "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled";
    yield { at: `${at}/l3CacheSchema`, found: l3CacheSchema, wanted: "nothing", message };
  }
  if (memBwSchema !== "" && !facts.intelRdt.mba) {
    const message = "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled";
    yield { at: `${at}/memBwSchema`, found: memBwSchema, wanted: "nothing", message };
  }
}
