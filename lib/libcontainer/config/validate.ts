/**
 * Validates a config for this host with small rules, in the order of runc's checks. The first problem's message is
 * runc's error message.
 *
 * The rules set no defaults and do not touch the system.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 * @module
 */

import type { Config, HookName, Process } from "../../specs/config.ts";
import type { Problem } from "../../specs/problem.ts";
import { type ParsedMount, parseMounts } from "./mounts.ts";
import { hasNamespace } from "./namespaces.ts";
import { namespaceOf, quote, type Rule, type ValidationFacts } from "./validate/facts.ts";
import {
  intelRdt,
  memoryPolicyNodes,
  memoryPolicyWords,
  netDevices,
  personalityDomain,
  rootfsPropagation,
} from "./validate/linux.ts";
import {
  bindsHaveNoData,
  idMappedMounts,
  mountFields,
  relativeDestinations,
  rootlessMountIds,
} from "./validate/mounts.ts";
import {
  joinedUserMappings,
  kernelHasNamespaces,
  mappingsNeedUser,
  namesNeedUts,
  namespacesKnownOnce,
  offsetsNeedTime,
  repeatedMappings,
  restrictionsNeedMount,
  rootIsMapped,
} from "./validate/namespaces.ts";
import { type CheckTime, type ProcessFacts, processRules } from "./validate/process.ts";
import {
  cgroupsPathForm,
  deviceRules,
  deviceTypes,
  swapIsADifference,
  unifiedNeedsCgroup2,
  unknownAccess,
} from "./validate/resources.ts";
import { seccompAgent, seccompWords } from "./validate/seccomp.ts";
import { sysctlsAreNamespaced } from "./validate/sysctl.ts";

export { configError, type Problem } from "../../specs/problem.ts";
export type { GroupFacts, RootfsFacts, Unreadable, ValidationFacts } from "./validate/facts.ts";
export type { ProcessFacts } from "./validate/process.ts";

/**
 * All problems of `config`, starting with the one that runc reports. Empty: the config can be planned. `mounts`: the
 * parsed mounts of the config.
 */
export function validate(
  config: Config,
  facts: ValidationFacts,
  mounts: readonly ParsedMount[] = parseMounts(config.mounts, { bundle: "/", rootfs: facts.rootfs.path }),
): readonly Problem[] {
  const problems: Problem[] = [];
  // A counting loop: most rules are about fields that a config does not have.
  for (let index = 0; index < rules.length; index++) {
    if (hasField(config, ruleKeys[index]!)) problems.push(...rules[index]![2](config, facts, mounts));
  }
  return problems;
}

/** The problems that one rule finds. */
export function problemsOf(
  [, field, rule]: ValidationRule,
  config: Config,
  facts: ValidationFacts,
  mounts: readonly ParsedMount[],
): Iterable<Problem> {
  return hasField(config, keysOf(field)) ? rule(config, facts, mounts) : [];
}

/** Warnings for the log: valid, but probably wrong. */
export function configWarnings(config: Config): readonly Problem[] {
  return warningRules.flatMap(([, , rule]) => [...rule(config)]);
}

/** All problems of a process to start with `exec`. `at`: the process's JSON pointer. */
export function validateProcess(process: Process, facts: ProcessFacts, at = ""): readonly Problem[] {
  return processRules.flatMap(([, , , rule]) => [...rule(process, facts, at)]);
}

/**
 * One rule: its id, its field and what it looks for. A rule runs, and V8 compiles it, only if the config has the field.
 * A rule with an empty field always runs.
 */
export type ValidationRule<Id extends string = string> = readonly [id: Id, field: string, rule: Rule];

/** The rules in order. */
export const validationRules = [
  // When config.json has been read: utils_linux.go, validateProcessSpec.
  ["process-present", "", processPresent],
  ...ofProcess("read"),
  // When it is converted: specconv/spec_linux.go, CreateLibcontainerConfig.
  ["root-present", "", rootPresent],
  ["mount-fields", "mounts", mountFields],
  ["device-type", "linux.devices", deviceTypes],
  ["systemd-cgroups-path", "linux.cgroupsPath", cgroupsPathForm],
  ["device-rules", "linux.resources.devices", deviceRules],
  ["rootfs-propagation", "linux.rootfsPropagation", rootfsPropagation],
  ["namespace-types", "linux.namespaces", namespacesKnownOnce],
  ["joined-user-mappings", "linux.namespaces", joinedUserMappings],
  ["root-mapped", "linux.namespaces", rootIsMapped],
  ["seccomp-words", "linux.seccomp", seccompWords],
  ["memory-policy-words", "linux.memoryPolicy", memoryPolicyWords],
  ["personality-domain", "linux.personality", personalityDomain],
  ...ofProcess("convert"),
  // configs/validate/validator.go, Validate.
  ["unified-cgroup2", "linux.resources.unified", unifiedNeedsCgroup2],
  ["memory-swap", "linux.resources.memory", swapIsADifference],
  ["rootfs-usable", "root", rootfsUsable],
  ["net-devices", "linux.netDevices", netDevices],
  ["names-need-uts", "", namesNeedUts],
  ["paths-need-mount", "linux", restrictionsNeedMount],
  ["namespace-kernel", "linux.namespaces", kernelHasNamespaces],
  ["mappings-need-user", "linux", mappingsNeedUser],
  ["time-offsets", "linux.timeOffsets", offsetsNeedTime],
  ["sysctl-namespaced", "linux.sysctl", sysctlsAreNamespaced],
  ["intel-rdt", "linux.intelRdt", intelRdt],
  ["rootless-user", "", rootlessNeedsUser],
  ["rootless-mount-ids", "mounts", rootlessMountIds],
  ["bind-options", "mounts", bindsHaveNoData],
  ["idmap-mappings", "mounts", idMappedMounts],
  ...ofProcess("validate"),
  ["memory-policy-nodes", "linux.memoryPolicy", memoryPolicyNodes],
  // Problems that runc finds when it starts the container, or in the container.
  ...ofProcess("start"),
  ["seccomp-agent", "linux.seccomp", seccompAgent],
  ["name-nul", "", namesHaveNoNul],
  ["path-length", "", pathsFit],
  ["hook-fields", "hooks", hooksCanRun],
] as const satisfies readonly ValidationRule[];

/** The rules for what is valid, but probably wrong. */
export const warningRules = [
  ["destination-relative", "mounts", relativeDestinations],
  ["device-access-letters", "linux.resources.devices", unknownAccess],
  ["mappings-repeated", "linux.namespaces", repeatedMappings],
] as const satisfies readonly (readonly [id: string, field: string, rule: (config: Config) => Iterable<Problem>])[];

const rules: readonly ValidationRule[] = validationRules;
/** The keys of each rule's field. */
const ruleKeys = rules.map(([, field]) => keysOf(field));

/** The keys on the way to a field; none for the whole config. */
function keysOf(field: string): readonly string[] {
  return field === "" ? [] : field.split(".");
}

function hasField(config: Config, keys: readonly string[]): boolean {
  let value: unknown = config;
  for (let index = 0; index < keys.length; index++) {
    value = (value as Readonly<Record<string, unknown>> | undefined)?.[keys[index]!];
  }
  return value !== undefined;
}

type ProcessRuleId = (typeof processRules)[number][0];

/** The rules of a process that runc checks then. */
function ofProcess(time: CheckTime): readonly ValidationRule<ProcessRuleId>[] {
  return processRules.filter(([, , when]) => when === time).map(([id, field, , rule]) => [
    id,
    field,
    ({ process }, facts) => process === undefined ? [] : rule(process, facts, "/process"),
  ]);
}

/** The specification allows the process to be set at `start`, but `start` has no option for it. */
function* processPresent(config: Config): Iterable<Problem> {
  if (config.process !== undefined) return;
  yield { at: "/process", wanted: "a process", message: "process property must not be empty" };
}

function* rootPresent(config: Config): Iterable<Problem> {
  if (config.root === undefined) yield { at: "/root", wanted: "a root", message: "root must be specified" };
}

/** A directory whose path has no symlink, so that the checked directory is the one used. */
function* rootfsUsable(config: Config, { rootfs }: ValidationFacts): Iterable<Problem> {
  if (config.root === undefined) return;
  const problem = { at: "/root/path", found: config.root.path, wanted: "a directory without symlinks in its path" };
  if (rootfs.error !== undefined) {
    yield { ...problem, message: `invalid rootfs: ${rootfs.error}` };
  } else if (rootfs.resolved !== rootfs.path) {
    yield { ...problem, message: "invalid rootfs: not an absolute path, or a symlink" };
  } else if (rootfs.isDirectory === false) {
    yield { ...problem, message: `invalid rootfs: ${rootfs.path}: not a directory` };
  }
}

/** Without root, setting up a container needs the rights of a user namespace. */
function* rootlessNeedsUser(config: Config, { rootlessEuid }: ValidationFacts): Iterable<Problem> {
  if (!rootlessEuid) return;
  if (!hasNamespace(config, "user")) {
    const message = "rootless container requires user namespaces";
    yield { at: "/linux/namespaces", wanted: 'an entry of type "user"', message };
  } else if ((namespaceOf(config, "user")?.path ?? "") === "") {
    for (const kind of ["uid", "gid"] as const) {
      if ((config.linux?.[`${kind}Mappings`] ?? []).length > 0) continue;
      const message = `rootless containers requires at least one ${kind.toUpperCase()} mapping`;
      yield { at: `/linux/${kind}Mappings`, wanted: "a mapping", message };
    }
  }
}

/** Bytes of a path, without its NUL. include/uapi/linux/limits.h */
const PATH_MAX = 4095;

/** Paths whose directories are created one by one: the kernel would reject the whole path later. */
function* pathsFit({ process, mounts = [], linux: { devices = [] } = {} }: Config): Iterable<Problem> {
  const paths: readonly (readonly [path: string, at: string])[] = [
    [process?.cwd ?? "", "/process/cwd"],
    ...mounts.map(({ destination }, index) => [destination, `/mounts/${index}/destination`] as const),
    ...devices.map(({ path }, index) => [path, `/linux/devices/${index}/path`] as const),
  ];
  for (const [found, at] of paths) {
    // A character has at most three bytes, so most paths need no counting.
    if (found.length <= PATH_MAX / 3 || new TextEncoder().encode(found).length <= PATH_MAX) continue;
    const message = `${quote(`${found.slice(0, 60)}...`)}: file name too long`;
    yield { at, found, wanted: `a path of at most ${PATH_MAX} bytes`, message };
  }
}

/** sethostname(2) takes bytes with a length; uname(2) returns them up to the first NUL. */
function* namesHaveNoNul(config: Config): Iterable<Problem> {
  for (const field of ["hostname", "domainname"] as const) {
    const found = config[field];
    if (!found?.includes("\0")) continue;
    yield { at: `/${field}`, found, wanted: "no NUL", message: `${field} contains nul byte (\\x00)` };
  }
}

/** Each hook needs a command and a positive timeout. */
function* hooksCanRun(config: Config): Iterable<Problem> {
  for (
    const [name, hooks] of Object.entries(config.hooks ?? {}) as [HookName, NonNullable<Config["hooks"]>[HookName]][]
  ) {
    for (const [index, { path, timeout }] of (hooks ?? []).entries()) {
      const at = `/hooks/${name}/${index}`;
      if (path === "") {
        yield {
          at: `${at}/path`,
          wanted: "an absolute path",
          message: `${name} hook #${index}: path must not be empty`,
        };
      }
      if (timeout !== undefined && timeout <= 0) {
        const message = `${name} hook #${index}: timeout must be greater than zero`;
        yield { at: `${at}/timeout`, found: timeout, wanted: "more than 0 seconds", message };
      }
    }
  }
}
