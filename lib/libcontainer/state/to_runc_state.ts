/**
 * The state of a new container, in runc's format. ./runc_state.ts reads it.
 *
 * @module
 */

import { ALL_LETTERS, alwaysAllowed, ANY } from "../../cgroups/devices/rules.ts";
import { cleanCgroupsPath, parseSystemdPath } from "../../cgroups/path.ts";
import { MountFlag } from "../../ffi/constants.ts";
import {
  type Config,
  type Hook,
  hookNames,
  type Hooks,
  type IdMapping,
  type IntelRdt,
  type LinuxDevice,
  type Namespace,
  type NamespaceType,
  type NetDevice,
  type Resources,
} from "../../specs/config.ts";
import { OCI_VERSION } from "../../specs/state.ts";
import { maskWords } from "../steps/cpu_affinity.ts";
import type { StartFlags } from "../config/launch_request.ts";
import { type MemoryPolicyNumbers, memoryPolicyNumbers } from "../config/memory_policy.ts";
import { parseMountOptions } from "../config/mount_options.ts";
import { isBind, type MountIds, type ParsedMount } from "../config/mounts.ts";
import { hasNamespace, makesNamespace, namespaceKinds } from "../config/namespaces.ts";
import { personalityDomains } from "../steps/personality.ts";
import type { SeccompProfile } from "../seccomp/profile.ts";
import { limitPointers, toRuncLimits } from "./limits_state.ts";
import { omitEmpty } from "./omit_empty.ts";
import { type RuncProcess, toRuncProcess } from "./process_state.ts";
import type {
  RuncCgroup,
  RuncConfig,
  RuncDevice,
  RuncDeviceRule,
  RuncHook,
  RuncIdMapping,
  RuncIntelRdt,
  RuncMemoryPolicy,
  RuncMount,
  RuncMountIds,
  RuncNamespace,
  RuncState,
} from "./runc_state.ts";

/** The data for a container's state. */
export interface StateInput extends StartFlags {
  readonly config: Config;
  /** The mounts of the config, parsed. */
  readonly mounts: readonly ParsedMount[];
  readonly id: string;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute. */
  readonly rootfs: string;
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: number;
  /** RFC 3339, UTC. */
  readonly created: string;
  readonly cgroupPaths: Readonly<Record<string, string>>;
  /** The types of namespaces that the kernel supports. */
  readonly kernelNamespaces: readonly NamespaceType[];
  /** The targets of the first process's standard streams. */
  readonly externalDescriptors?: readonly string[];
  readonly rootlessEuid?: boolean;
  readonly rootlessCgroups?: boolean;
  readonly systemdCgroup?: boolean;
  /** The resctrl group's directory, and that of its monitoring group. */
  readonly intelRdt?: { readonly path: string; readonly monitoringPath?: string };
  /** linux.seccomp in the format of {@link RuncConfig}. */
  readonly seccomp?: SeccompProfile;
}

/** The device nodes of every container, and the device rules that no config can turn off: specconv, AllowedDevices. */
const allowedDevices: readonly { readonly path?: string; readonly rule: RuncDeviceRule }[] = alwaysAllowed.map(
  ({ path, type = "a", major = ANY, minor = ANY, access }) => ({ path, rule: deviceRule(type, major, minor, access) }),
);

function deviceRule(
  type: string,
  major: number,
  minor: number,
  permissions = ALL_LETTERS,
  allow = true,
): RuncDeviceRule {
  return { type: type.charCodeAt(0), major, minor, permissions, allow };
}

/** Creates the state with runc's fields, in runc's order, and with runc's omissions. */
export function toRuncState(input: StateInput): RuncState {
  const { rootlessEuid = false, rootlessCgroups = false, externalDescriptors = [] } = input;
  return omitEmpty({
    id: input.id,
    init_process_pid: input.pid,
    init_process_start: input.startTime,
    created: input.created,
    config: toRuncConfig(input),
    rootless: rootlessEuid && rootlessCgroups,
    cgroup_paths: input.cgroupPaths,
    namespace_paths: namespacePaths(input),
    external_descriptors: externalDescriptors,
    intel_rdt_path: input.intelRdt?.path,
    intel_rdt_mon_path: input.intelRdt?.monitoringPath,
  }, ["namespace_paths"]);
}

/** What was made last from these mounts. */
const made = new WeakMap<StateInput["mounts"], { readonly input: StateInput; readonly config: RuncConfig }>();

/** What differs between containers that are made from one config; it does not tell the path of the cgroups. */
const own: ReadonlySet<string> = new Set<keyof StateInput>([
  "id",
  "pid",
  "startTime",
  "created",
  "cgroupPaths",
  "kernelNamespaces",
  "externalDescriptors",
]);

/** A program that makes many containers makes them from the same parts: only the path of the cgroups is another one. */
function toRuncConfig(input: StateInput): RuncConfig {
  const before = made.get(input.mounts);
  if (before !== undefined && isAlike(before.input, input)) {
    return { ...before.config, cgroups: { ...before.config.cgroups, ...pathFields(input) } };
  }
  const config = newRuncConfig(input);
  made.set(input.mounts, { input, config });
  return config;
}

function isAlike(one: StateInput, other: StateInput): boolean {
  const hasPath = ({ config }: StateInput) =>
    config.linux?.cgroupsPath !== undefined && config.linux.cgroupsPath !== "";
  return hasPath(one) && hasPath(other) && one.systemdCgroup !== true && other.systemdCgroup !== true &&
    isSame(one, other, (key) => own.has(key) || key === "config") &&
    isSame(one.config, other.config, (key) => key === "linux") &&
    isSame(one.config.linux!, other.config.linux!, (key) => key === "cgroupsPath");
}

/** Whether both have the same fields, but for those that may differ. */
function isSame<Type extends object>(one: Type, other: Type, mayDiffer: (key: string) => boolean): boolean {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]) as Set<keyof Type & string>;
  return [...keys].every((key) => mayDiffer(key) || one[key] === other[key]);
}

function newRuncConfig(input: StateInput): RuncConfig {
  const { config, rootlessEuid = false, rootlessCgroups = false } = input;
  const { process, root, linux = {} } = config;
  const kept: RuncProcess = process === undefined ? {} : toRuncProcess(process);
  return omitEmpty({
    no_pivot_root: input.noPivot ?? false,
    rootfs: input.rootfs,
    umask: process?.user.umask,
    readonlyfs: root?.readonly ?? false,
    rootPropagation: propagationFlag(linux.rootfsPropagation),
    mounts: input.mounts.map((mount) => toRuncMount(mount, input)),
    devices: toRuncDevices(input),
    netDevices: linux.netDevices && toRuncNetDevices(linux.netDevices),
    mount_label: linux.mountLabel,
    hostname: config.hostname,
    domainname: config.domainname,
    namespaces: (linux.namespaces ?? []).map(toRuncNamespace),
    capabilities: kept.capabilities,
    networks: makesNamespace(config, "network") ? [{ type: "loopback" }] : [],
    cgroups: toRuncCgroup(input),
    apparmor_profile: kept.apparmor_profile,
    process_label: kept.process_label,
    oom_score_adj: kept.oom_score_adj,
    uid_mappings: mappingsOf(input, "uidMappings").map(toRuncMapping),
    gid_mappings: mappingsOf(input, "gidMappings").map(toRuncMapping),
    mask_paths: linux.maskedPaths,
    readonly_paths: linux.readonlyPaths,
    sysctl: linux.sysctl,
    seccomp: input.seccomp,
    no_new_privileges: kept.no_new_privileges,
    Hooks: toRuncHooks(config.hooks ?? {}),
    version: OCI_VERSION,
    labels: [
      ...Object.entries(config.annotations ?? {}).map(([key, value]) => `${key}=${value}`),
      `bundle=${input.bundle}`,
    ],
    no_new_keyring: input.noNewKeyring ?? false,
    intel_rdt: linux.intelRdt && toRuncIntelRdt(linux.intelRdt),
    memory_policy: linux.memoryPolicy && toRuncMemoryPolicy(memoryPolicyNumbers(linux.memoryPolicy)),
    rootless_euid: rootlessEuid,
    rootless_cgroups: rootlessCgroups,
    time_offsets: linux.timeOffsets,
    scheduler: kept.scheduler,
    personality: linux.personality && { domain: personalityDomains[linux.personality.domain]! },
    // Those above keep their places; what runc has added since comes last.
    ...kept,
  }, [
    "intel_rdt",
    "memory_policy",
    "rootfs",
    "mounts",
    "devices",
    "namespaces",
    "umask",
    "oom_score_adj",
    "labels",
    "capabilities",
  ]);
}

/** Every type that the kernel supports, including those shared with the host. */
function namespacePaths({ pid, kernelNamespaces }: StateInput): Readonly<Record<string, string>> {
  return Object.fromEntries(
    kernelNamespaces.map((type) => [namespaceKinds[type].stateName, `/proc/${pid}/ns/${namespaceKinds[type].file}`]),
  );
}

function propagationFlag(propagation: string | undefined): number | undefined {
  return propagation === undefined ? undefined : parseMountOptions([propagation]).propagation[0];
}

/** specconv, createLibcontainerMount: a bind mount's type and relative source are resolved here. */
function toRuncMount(parsed: ParsedMount, input: StateInput): RuncMount {
  const { mount: { source = "", destination, type = "" }, options, ids } = parsed;
  const { flags, clearedFlags, propagation, data, recursiveSet, recursiveClear, extensions } = options;
  return omitEmpty({
    source: isBind(parsed) ? parsed.source : source,
    destination,
    device: isBind(parsed) ? "bind" : type,
    flags,
    cleared_flags: clearedFlags,
    propagation_flags: propagation,
    data,
    rec_attr: recursiveSet === 0 && recursiveClear === 0
      ? undefined
      : { Attr_set: recursiveSet, Attr_clr: recursiveClear, Propagation: 0, Userns_fd: 0 },
    extensions: extensions.includes("tmpcopyup") ? 1 : 0,
    id_mapping: toRuncMountIds(ids, input),
  }, ["source", "destination", "device", "id_mapping"]);
}

/** `idmap` and `ridmap` without mappings use those of the container's user namespace. */
function toRuncMountIds(ids: MountIds | undefined, input: StateInput): RuncMountIds | undefined {
  if (ids === undefined) return undefined;
  const { recursive, mappings } = ids;
  const path = input.config.linux?.namespaces?.find(({ type }) => type === "user")?.path ?? "";
  if (mappings === undefined && path !== "") return omitEmpty({ recursive, userns_path: path });
  const { uid, gid } = mappings ?? { uid: mappingsOf(input, "uidMappings"), gid: mappingsOf(input, "gidMappings") };
  return omitEmpty({ recursive, uid_mappings: uid.map(toRuncMapping), gid_mappings: gid.map(toRuncMapping) });
}

function toRuncDevices(input: StateInput): readonly RuncDevice[] {
  const owner = rootOwner(input);
  const defaults = ownAllowedDevices(input.config).flatMap(({ path, rule }) =>
    path === undefined ? [] : [omitEmpty({ ...rule, path, file_mode: 0o666, ...owner }, ["major", "minor", "allow"])]
  );
  return [...defaults, ...(input.config.linux?.devices ?? []).map((device) => toRuncDevice(device, owner))];
}

function toRuncDevice(device: LinuxDevice, owner: { readonly uid?: number; readonly gid?: number }): RuncDevice {
  const { path, type, major, minor, fileMode = 0o666, uid, gid } = device;
  return omitEmpty({
    ...deviceRule(type === "u" ? "c" : type, major, minor, "", false),
    path,
    file_mode: fileMode & 0o7777,
    uid,
    gid,
    ...owner,
  }, ["major", "minor", "permissions", "allow", "file_mode"]);
}

/** A default device that is also in the config gets neither its default node nor its default rule. */
function ownAllowedDevices(config: Config): typeof allowedDevices {
  const paths = (config.linux?.devices ?? []).map(({ path }) => path);
  return allowedDevices.filter(({ path }) => path === undefined || !paths.includes(path));
}

/** In a user namespace every node belongs to the namespace's root. */
function rootOwner(input: StateInput): { readonly uid?: number; readonly gid?: number } {
  if (!hasNamespace(input.config, "user")) return {};
  return { uid: hostId(mappingsOf(input, "uidMappings"), 0), gid: hostId(mappingsOf(input, "gidMappings"), 0) };
}

function mappingsOf(
  { config }: Pick<StateInput, "config">,
  field: "uidMappings" | "gidMappings",
): readonly IdMapping[] {
  return hasNamespace(config, "user") ? config.linux?.[field] ?? [] : [];
}

function hostId(mappings: readonly IdMapping[], id: number): number | undefined {
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range && range.hostID + (id - range.containerID);
}

function toRuncNamespace({ type, path = "" }: Namespace): RuncNamespace {
  return omitEmpty({ type: namespaceKinds[type].stateName, path });
}

function toRuncMemoryPolicy({ mode, flags, nodes }: MemoryPolicyNumbers): RuncMemoryPolicy {
  return omitEmpty({ mode, flags, nodes: nodes && maskWords(nodes) });
}

function toRuncNetDevices(devices: Readonly<Record<string, NetDevice>>): RuncConfig["netDevices"] {
  return Object.fromEntries(Object.entries(devices).map(([name, device]) => [name, omitEmpty({ name: device.name })]));
}

function toRuncIntelRdt(rdt: IntelRdt): RuncIntelRdt {
  const { closID, schemata, l3CacheSchema, memBwSchema, enableMonitoring } = rdt;
  return omitEmpty({ closID, schemata, l3_cache_schema: l3CacheSchema, memBwSchema, enableMonitoring });
}

function toRuncMapping({ containerID, hostID, size }: IdMapping): RuncIdMapping {
  return { container_id: containerID, host_id: hostID, size };
}

function toRuncHooks(hooks: Hooks): RuncConfig["Hooks"] {
  return Object.fromEntries(hookNames.map((name) => [name, hooks[name]?.map(toRuncHook) ?? null]));
}

function toRuncHook({ path, args, env, timeout }: Hook): RuncHook {
  return {
    path,
    args: args ?? null,
    env: env ?? null,
    dir: "",
    timeout: timeout === undefined ? null : nanoseconds(timeout),
  };
}

/** The longest time.Duration of Go: 292 years. runc cannot read a longer one. */
const LONGEST = 2n ** 63n - 1n;

function nanoseconds(seconds: number): number | bigint {
  const exact = BigInt(seconds) * 1_000_000_000n;
  const limited = exact > LONGEST ? LONGEST : exact;
  return limited <= Number.MAX_SAFE_INTEGER ? Number(limited) : limited;
}

/** specconv, CreateCgroupConfig. The limits are among these fields. */
function toRuncCgroup(input: StateInput): RuncCgroup {
  const { config, rootlessCgroups = false, systemdCgroup = false } = input;
  return omitEmpty({
    ...(systemdCgroup ? systemdCgroupFields(input) : pathFields(input)),
    devices: [
      ...(config.linux?.resources?.devices ?? []).map(({ type = "", major = ANY, minor = ANY, access = "", allow }) =>
        deviceRule(type === "" ? "a" : type, major, minor, access, allow)
      ),
      ...ownAllowedDevices(config).map(({ rule }) => rule),
    ],
    ...toRuncLimits(config.linux?.resources ?? {}),
    Systemd: systemdCgroup,
    Rootless: rootlessCgroups,
    owner_uid: cgroupOwner(input),
  }, ["owner_uid", ...limitPointers]);
}

/** Pointers in Go (burst, idle, pids, swappiness) are written even if 0, because 0 is a valid limit. */
export function withResources(state: RuncState, resources: Resources, rdt?: IntelRdt): RuncState {
  const { config } = state;
  return {
    ...state,
    config: {
      ...config,
      cgroups: withLimits(config.cgroups ?? {}, resources),
      ...(rdt === undefined ? {} : { intel_rdt: toRuncIntelRdt(rdt) }),
    },
  };
}

/** `cgroup` with other limits, in the format of {@link toRuncState}. */
export function withLimits(cgroup: RuncCgroup, resources: Resources): RuncCgroup {
  const { Systemd, Rootless, owner_uid, ...before } = cgroup;
  const changed = { ...before, ...toRuncLimits(resources), Systemd, Rootless, owner_uid };
  return omitEmpty(changed, ["owner_uid", ...limitPointers]);
}

function pathFields({ config, id }: StateInput): RuncCgroup {
  const path = cleanCgroupsPath(config.linux?.cgroupsPath ?? "");
  return path === "" ? { name: id } : { path };
}

function systemdCgroupFields({ config, id }: StateInput): RuncCgroup {
  const { slice, prefix, name } = parseSystemdPath({ id, cgroupsPath: config.linux?.cgroupsPath });
  return { name, parent: slice, scope_prefix: prefix };
}

/** The owner of the cgroup directory, if the container can write to it: the host id of its process's user. */
export function cgroupOwner(input: Pick<StateInput, "config" | "mounts">): number | undefined {
  const { config } = input;
  const writable = input.mounts.some(({ mount, path, options }) =>
    mount.source === "cgroup" && path === "/sys/fs/cgroup" && (options.flags & MountFlag.MS_RDONLY) === 0
  );
  if (!writable || !makesNamespace(config, "cgroup")) return undefined;
  const uid = config.process?.user.uid ?? 0;
  return hasNamespace(config, "user") ? hostId(mappingsOf(input, "uidMappings"), uid) : uid;
}
