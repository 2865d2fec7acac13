/**
 * Whether a config makes sense on this host: small rules, each of which yields problems, in the order in which runc checks.
 * The first problem's message is the error that runc would give.
 *
 * Nothing here fills in a default or touches the system.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 * @module
 */

import type { Config, HookName, Process } from "../../specs/config.ts";
import type { Problem } from "../../specs/problem.ts";
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

/** All that is wrong with `config`, what runc would complain of first. Empty: it can be planned. */
export function validate(config: Config, facts: ValidationFacts): readonly Problem[] {
  return rules.flatMap(([field, rule]) => hasField(config, field) ? [...rule(config, facts)] : []);
}

/** What is not an error but not right either; to be logged. */
export function configWarnings(config: Config): readonly Problem[] {
  return [...relativeDestinations(config), ...unknownAccess(config), ...repeatedMappings(config)];
}

/** All that is wrong with a process that `exec` is to start. `at`: the process's JSON pointer. */
export function validateProcess(process: Process, facts: ProcessFacts, at = ""): readonly Problem[] {
  return processRules.flatMap(([, , rule]) => [...rule(process, facts, at)]);
}

/**
 * The rules in order, each with the field that it is about: a rule does not run (and V8 does not compile it) where the config
 * does not have the field. Empty: it runs always.
 */
const rules: readonly (readonly [field: string, rule: Rule])[] = [
  // When config.json has been read: utils_linux.go, validateProcessSpec.
  ["", processPresent],
  ...ofProcess("read"),
  // When it is converted: specconv/spec_linux.go, CreateLibcontainerConfig.
  ["", rootPresent],
  ["mounts", mountFields],
  ["linux.devices", deviceTypes],
  ["linux.cgroupsPath", cgroupsPathForm],
  ["linux.resources.devices", deviceRules],
  ["linux.rootfsPropagation", rootfsPropagation],
  ["linux.namespaces", namespacesKnownOnce],
  ["linux.namespaces", joinedUserMappings],
  ["linux.namespaces", rootIsMapped],
  ["linux.seccomp", seccompWords],
  ["linux.memoryPolicy", memoryPolicyWords],
  ["linux.personality", personalityDomain],
  ...ofProcess("convert"),
  // configs/validate/validator.go, Validate.
  ["linux.resources.unified", unifiedNeedsCgroup2],
  ["linux.resources.memory", swapIsADifference],
  ["root", rootfsUsable],
  ["linux.netDevices", netDevices],
  ["", namesNeedUts],
  ["linux", restrictionsNeedMount],
  ["linux.namespaces", kernelHasNamespaces],
  ["linux", mappingsNeedUser],
  ["linux.timeOffsets", offsetsNeedTime],
  ["linux.sysctl", sysctlsAreNamespaced],
  ["linux.intelRdt", intelRdt],
  ["", rootlessNeedsUser],
  ["mounts", rootlessMountIds],
  ["mounts", bindsHaveNoData],
  ["mounts", idMappedMounts],
  ...ofProcess("validate"),
  ["linux.memoryPolicy", memoryPolicyNodes],
  // What runc finds out when it starts the container, or in the container.
  ...ofProcess("start"),
  ["linux.seccomp", seccompAgent],
  ["", namesHaveNoNul],
  ["", pathsFit],
  ["hooks", hooksCanRun],
];

function hasField(config: Config, field: string): boolean {
  if (field === "") return true;
  let value: unknown = config;
  for (const key of field.split(".")) value = (value as Readonly<Record<string, unknown>> | undefined)?.[key];
  return value !== undefined;
}

/** The rules of a process that runc checks then. */
function ofProcess(time: CheckTime): readonly (readonly [field: string, rule: Rule])[] {
  return processRules.filter(([, when]) => when === time).map(([field, , rule]) => [
    field,
    ({ process }, facts) => process === undefined ? [] : rule(process, facts, "/process"),
  ]);
}

/** The specification allows it to come with `start`; there is no way to say it there. */
function* processPresent(config: Config): Iterable<Problem> {
  if (config.process !== undefined) return;
  yield { at: "/process", wanted: "a process", message: "process property must not be empty" };
}

function* rootPresent(config: Config): Iterable<Problem> {
  if (config.root === undefined) yield { at: "/root", wanted: "a root", message: "root must be specified" };
}

/** A directory whose path has no symlink: the one that is checked is then the one that is used. */
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

/** Without root, only a user namespace gives the rights to set up a container. */
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

/** Paths whose directories are made one by one: the kernel would refuse the whole path in the end. */
function* pathsFit({ process, mounts = [], linux: { devices = [] } = {} }: Config): Iterable<Problem> {
  const paths: readonly (readonly [path: string, at: string])[] = [
    [process?.cwd ?? "", "/process/cwd"],
    ...mounts.map(({ destination }, index) => [destination, `/mounts/${index}/destination`] as const),
    ...devices.map(({ path }, index) => [path, `/linux/devices/${index}/path`] as const),
  ];
  for (const [found, at] of paths) {
    // A character is three bytes at most: most paths need not be counted.
    if (found.length <= PATH_MAX / 3 || new TextEncoder().encode(found).length <= PATH_MAX) continue;
    const message = `${quote(`${found.slice(0, 60)}...`)}: file name too long`;
    yield { at, found, wanted: `a path of at most ${PATH_MAX} bytes`, message };
  }
}

/** sethostname(2) takes bytes with a length, uname(2) gives them back up to the first NUL. */
function* namesHaveNoNul(config: Config): Iterable<Problem> {
  for (const field of ["hostname", "domainname"] as const) {
    const found = config[field];
    if (!found?.includes("\0")) continue;
    yield { at: `/${field}`, found, wanted: "no NUL", message: `${field} contains nul byte (\\x00)` };
  }
}

/** A command, and time to run it in. */
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
