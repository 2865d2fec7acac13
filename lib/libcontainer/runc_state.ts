/**
 * runc's state.json: what we write so that runc can go on with a container of ours, and how we read one of either.
 *
 * The fields and their names are runc 1.5's. Older ones (1.0, 1.1) wrote zero values where 1.5 leaves a field out, so a
 * reader takes both for the same: ask the accessors below, not the fields.
 *
 * Source: runc 1.5.1, libcontainer/container_linux.go (State), libcontainer/configs (Config), opencontainers/cgroups
 * (Cgroup).
 *
 * @module
 */

import { resolve } from "@std/path";
import { cpuWeight } from "../cgroups/cpu.ts";
import { isGiven } from "../cgroups/limit.ts";
import { cleanPath, parseSystemdPath, type SystemdPath } from "../cgroups/path.ts";
import { RuncError } from "../errors.ts";
import { MountFlag } from "../ffi/constants.ts";
import type {
  Capabilities,
  Config,
  CpuAffinity,
  Hook,
  HookName,
  Hooks,
  IdMapping,
  Integer64,
  IntelRdt,
  IoPriority,
  LinuxDevice,
  Mount,
  Namespace,
  NamespaceType,
  NetDevice,
  Resources,
  Scheduler,
  ThrottleDevice,
  TimeOffsets,
  WeightDevice,
} from "../specs/config.ts";
import { parseJson } from "../specs/json.ts";
import { OCI_VERSION } from "../specs/state.ts";
import { maskMembers, maskWords } from "./cpu_affinity.ts";
import { type MemoryPolicyNumbers, memoryPolicyNumbers } from "./memory_policy.ts";
import { parseMountOptions } from "./mount_options.ts";
import { isBind } from "./mounts.ts";
import { hasNamespace, makesNamespace, namespaceKinds } from "./namespaces.ts";
import { personalityDomains } from "./personality.ts";
import type { SeccompProfile } from "./seccomp/profile.ts";
import { parseCpuList } from "./validate/cpu_list.ts";

/** state.json. What is optional may also be `null` or zero in a file of runc 1.1. */
export interface RuncState {
  readonly id: string;
  readonly init_process_pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly init_process_start: number;
  /** RFC 3339, UTC, with nanoseconds. */
  readonly created: string;
  readonly config: RuncConfig;
  readonly rootless?: boolean;
  /** By controller on cgroup v1, under `""` on v2. */
  readonly cgroup_paths?: Readonly<Record<string, string>> | null;
  /** By {@link RuncNamespaceType}. */
  readonly namespace_paths: Readonly<Record<string, string>>;
  /** Where the first process's standard streams led at its start. */
  readonly external_descriptors?: readonly string[] | null;
  readonly intel_rdt_path?: string;
  readonly intel_rdt_mon_path?: string;
}

/** libcontainer's view of config.json. */
export interface RuncConfig {
  readonly no_pivot_root?: boolean;
  readonly rootfs: string;
  readonly umask?: number | null;
  readonly readonlyfs?: boolean;
  /** MS_* flags. */
  readonly rootPropagation?: number;
  readonly mounts: readonly RuncMount[] | null;
  readonly devices: readonly RuncDevice[] | null;
  readonly netDevices?: Readonly<Record<string, { readonly name?: string }>> | null;
  readonly mount_label?: string;
  readonly hostname?: string;
  readonly domainname?: string;
  readonly namespaces: readonly RuncNamespace[] | null;
  readonly capabilities?: RuncCapabilities | null;
  readonly networks?: readonly { readonly type: string }[] | null;
  readonly cgroups: RuncCgroup | null;
  readonly apparmor_profile?: string;
  readonly process_label?: string;
  readonly oom_score_adj?: number | null;
  readonly uid_mappings?: readonly RuncIdMapping[] | null;
  readonly gid_mappings?: readonly RuncIdMapping[] | null;
  readonly mask_paths?: readonly string[] | null;
  readonly readonly_paths?: readonly string[] | null;
  readonly sysctl?: Readonly<Record<string, string>> | null;
  readonly seccomp?: SeccompProfile | null;
  readonly no_new_privileges?: boolean;
  readonly Hooks: Readonly<Partial<Record<HookName, readonly RuncHook[] | null>>> | null;
  /** The specification's version that the runtime implements, not the one that the bundle follows. */
  readonly version: string;
  /** The annotations and `bundle`, as `key=value`. */
  readonly labels: readonly string[] | null;
  readonly no_new_keyring?: boolean;
  readonly intel_rdt?: RuncIntelRdt | null;
  readonly memory_policy?: RuncMemoryPolicy | null;
  readonly rootless_euid?: boolean;
  readonly rootless_cgroups?: boolean;
  readonly time_offsets?: TimeOffsets | null;
  readonly scheduler?: Scheduler | null;
  readonly personality?: { readonly domain: number } | null;
  readonly io_priority?: IoPriority | null;
  readonly exec_cpu_affinity?: RuncAffinity | null;
}

/** Sets of processors as 16 words of 64 bits. */
export interface RuncAffinity {
  readonly Initial: readonly Integer64[] | null;
  readonly Final: readonly Integer64[] | null;
}

/** linux.intelRdt; one of its fields has another name here. */
export interface RuncIntelRdt {
  readonly closID?: string;
  readonly schemata?: readonly string[] | null;
  readonly l3_cache_schema?: string;
  readonly memBwSchema?: string;
  readonly enableMonitoring?: boolean;
}

/** A memory policy in the kernel's numbers; nodes are a set as in {@link RuncAffinity}. */
export interface RuncMemoryPolicy {
  readonly mode?: number;
  readonly flags?: number;
  readonly nodes?: readonly Integer64[] | null;
}

/** The names that libcontainer has for the kinds of namespaces. */
export type RuncNamespaceType = (typeof namespaceNames)[NamespaceType];

/** A namespace of the container, joined where it has a path. */
export interface RuncNamespace {
  readonly type: RuncNamespaceType;
  readonly path?: string;
}

/** A mount with its options taken apart. */
export interface RuncMount {
  readonly source: string;
  readonly destination: string;
  readonly device: string;
  readonly flags?: number;
  readonly cleared_flags?: number;
  readonly propagation_flags?: readonly number[] | null;
  readonly data?: string;
  readonly rec_attr?: RuncMountAttr | null;
  readonly extensions?: number;
}

/** `struct mount_attr`. */
export interface RuncMountAttr {
  readonly Attr_set: number;
  readonly Attr_clr: number;
  readonly Propagation: number;
  readonly Userns_fd: number;
}

/** A rule of the device controller; -1 is any number. */
export interface RuncDeviceRule {
  /** The letter's code: 99 is `c`. */
  readonly type: number;
  readonly major: number;
  readonly minor: number;
  readonly permissions: string;
  readonly allow: boolean;
}

/** A device node. */
export interface RuncDevice extends RuncDeviceRule {
  readonly path: string;
  readonly file_mode: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** The five capability sets. */
export interface RuncCapabilities {
  readonly Bounding?: readonly string[] | null;
  readonly Effective?: readonly string[] | null;
  readonly Inheritable?: readonly string[] | null;
  readonly Permitted?: readonly string[] | null;
  readonly Ambient?: readonly string[] | null;
}

/** A range of ids. */
export interface RuncIdMapping {
  readonly container_id: number;
  readonly host_id: number;
  readonly size: number;
}

/** A hook's command; the timeout is in nanoseconds. */
export interface RuncHook {
  readonly path: string;
  readonly args: readonly string[] | null;
  readonly env: readonly string[] | null;
  readonly dir: string;
  readonly timeout: number | null;
}

/** The container's cgroup: where, by which driver, and the resources among the same fields. */
export interface RuncCgroup {
  readonly name?: string;
  readonly parent?: string;
  readonly path?: string;
  readonly scope_prefix?: string;
  /** Missing, as every other resource may be, in files of older versions. */
  readonly devices?: readonly RuncDeviceRule[] | null;
  readonly memory?: Integer64;
  readonly memory_reservation?: Integer64;
  readonly memory_swap?: Integer64;
  readonly cpu_shares?: Integer64;
  readonly cpu_quota?: Integer64;
  readonly cpu_burst?: Integer64 | null;
  readonly cpu_period?: Integer64;
  readonly cpu_rt_quota?: Integer64;
  readonly cpu_rt_period?: Integer64;
  readonly cpuset_cpus?: string;
  readonly cpuset_mems?: string;
  readonly cpu_idle?: Integer64 | null;
  readonly pids_limit?: Integer64 | null;
  readonly blkio_weight?: number;
  readonly blkio_leaf_weight?: number;
  readonly blkio_weight_device?: readonly RuncWeightDevice[] | null;
  readonly blkio_throttle_read_bps_device?: readonly ThrottleDevice[] | null;
  readonly blkio_throttle_write_bps_device?: readonly ThrottleDevice[] | null;
  readonly blkio_throttle_read_iops_device?: readonly ThrottleDevice[] | null;
  readonly blkio_throttle_write_iops_device?: readonly ThrottleDevice[] | null;
  readonly hugetlb_limit?: readonly { readonly page_size: string; readonly limit: Integer64 }[] | null;
  readonly oom_kill_disable?: boolean;
  readonly memory_swappiness?: Integer64 | null;
  readonly net_prio_ifpriomap?: readonly { readonly interface: string; readonly priority: number }[] | null;
  readonly net_cls_classid_u?: number;
  readonly rdma?: Readonly<Record<string, { readonly hca_handles?: number; readonly hca_objects?: number }>> | null;
  readonly cpu_weight?: Integer64;
  readonly unified?: Readonly<Record<string, string>> | null;
  readonly memory_check_before_update?: boolean;
  readonly Systemd?: boolean;
  readonly Rootless?: boolean;
  readonly owner_uid?: number | null;
}

/** Weights of a block device; 0 where it has none. */
export interface RuncWeightDevice extends WeightDevice {
  readonly weight: number;
  readonly leafWeight: number;
}

/** What a container's state is made of. */
export interface StateInput {
  readonly config: Config;
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
  /** The kinds of namespaces that the kernel has. */
  readonly kernelNamespaces: readonly NamespaceType[];
  /** Where the first process's standard streams lead. */
  readonly externalDescriptors?: readonly string[];
  readonly rootlessEuid?: boolean;
  readonly rootlessCgroups?: boolean;
  readonly systemdCgroup?: boolean;
  readonly noPivot?: boolean;
  readonly noNewKeyring?: boolean;
  /** The resctrl group's directory, and that of its monitoring group. */
  readonly intelRdt?: { readonly path: string; readonly monitoringPath?: string };
  /** linux.seccomp as {@link RuncConfig} has it. */
  readonly seccomp?: SeccompProfile;
}

const namespaceNames = {
  pid: "NEWPID",
  network: "NEWNET",
  mount: "NEWNS",
  ipc: "NEWIPC",
  uts: "NEWUTS",
  user: "NEWUSER",
  cgroup: "NEWCGROUP",
  time: "NEWTIME",
} as const satisfies Readonly<Record<NamespaceType, string>>;

/** The nodes that every container has, and the device rules that no config can switch off: specconv, AllowedDevices. */
const allowedDevices: readonly { readonly path?: string; readonly rule: RuncDeviceRule }[] = [
  { rule: deviceRule("c", -1, -1, "m") },
  { rule: deviceRule("b", -1, -1, "m") },
  { path: "/dev/null", rule: deviceRule("c", 1, 3) },
  { path: "/dev/random", rule: deviceRule("c", 1, 8) },
  { path: "/dev/full", rule: deviceRule("c", 1, 7) },
  { path: "/dev/tty", rule: deviceRule("c", 5, 0) },
  { path: "/dev/zero", rule: deviceRule("c", 1, 5) },
  { path: "/dev/urandom", rule: deviceRule("c", 1, 9) },
  { rule: deviceRule("c", 136, -1) },
  { rule: deviceRule("c", 5, 2) },
  { rule: deviceRule("c", 10, 200) },
];

function deviceRule(type: string, major: number, minor: number, permissions = "rwm", allow = true): RuncDeviceRule {
  return { type: type.charCodeAt(0), major, minor, permissions, allow };
}

/** The state as runc would write it: fields in its order, left out where it would leave them out. */
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

function toRuncConfig(input: StateInput): RuncConfig {
  const { config, rootlessEuid = false, rootlessCgroups = false } = input;
  const { process, root, linux = {} } = config;
  return omitEmpty({
    no_pivot_root: input.noPivot ?? false,
    rootfs: input.rootfs,
    umask: process?.user.umask,
    readonlyfs: root?.readonly ?? false,
    rootPropagation: propagationFlag(linux.rootfsPropagation),
    mounts: (config.mounts ?? []).map((mount) => toRuncMount(mount, input.bundle)),
    devices: toRuncDevices(input),
    netDevices: linux.netDevices && toRuncNetDevices(linux.netDevices),
    mount_label: linux.mountLabel,
    hostname: config.hostname,
    domainname: config.domainname,
    namespaces: (linux.namespaces ?? []).map(toRuncNamespace),
    capabilities: process?.capabilities && toRuncCapabilities(process.capabilities),
    networks: makesNamespace(config, "network") ? [{ type: "loopback" }] : [],
    cgroups: toRuncCgroup(input),
    apparmor_profile: process?.apparmorProfile,
    process_label: process?.selinuxLabel,
    oom_score_adj: process?.oomScoreAdj,
    uid_mappings: mappingsOf(input, "uidMappings").map(toRuncMapping),
    gid_mappings: mappingsOf(input, "gidMappings").map(toRuncMapping),
    mask_paths: linux.maskedPaths,
    readonly_paths: linux.readonlyPaths,
    sysctl: linux.sysctl,
    seccomp: input.seccomp,
    no_new_privileges: process?.noNewPrivileges,
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
    scheduler: process?.scheduler,
    personality: linux.personality && { domain: personalityDomains[linux.personality.domain]! },
    io_priority: process?.ioPriority,
    exec_cpu_affinity: process?.execCPUAffinity && toRuncAffinity(process.execCPUAffinity),
  }, ["intel_rdt", "memory_policy", "rootfs", "mounts", "devices", "namespaces", "umask", "oom_score_adj", "labels"]);
}

/** `object` without the fields that Go's omitempty leaves out: false, 0, "", empty lists and maps. `keep`: fields without it. */
function omitEmpty<Type extends object>(object: Type, keep: readonly (keyof Type)[] = []): Type {
  const kept = Object.entries(object).filter(([key, value]) =>
    value !== undefined && (keep.includes(key as keyof Type) || !isEmpty(value))
  );
  return Object.fromEntries(kept) as Type;
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null ? Object.keys(value).length === 0 : !value;
}

/** Every kind that the kernel has, also those that the container shares with the host. */
function namespacePaths({ pid, kernelNamespaces }: StateInput): Readonly<Record<string, string>> {
  return Object.fromEntries(
    kernelNamespaces.map((type) => [namespaceNames[type], `/proc/${pid}/ns/${namespaceKinds[type].file}`]),
  );
}

function propagationFlag(propagation: string | undefined): number | undefined {
  return propagation === undefined ? undefined : parseMountOptions([propagation]).propagation[0];
}

/** specconv, createLibcontainerMount: a bind mount's type and relative source are resolved here. */
function toRuncMount(mount: Mount, bundle: string): RuncMount {
  const { source = "", destination, type = "", options = [] } = mount;
  const { flags, clearedFlags, propagation, data, recursiveSet, recursiveClear, extensions } = parseMountOptions(
    options,
  );
  const bind = isBind(mount);
  return omitEmpty({
    source: bind && !source.startsWith("/") ? resolve(bundle, source) : source,
    destination,
    device: bind ? "bind" : type,
    flags,
    cleared_flags: clearedFlags,
    propagation_flags: propagation,
    data,
    rec_attr: recursiveSet === 0 && recursiveClear === 0
      ? undefined
      : { Attr_set: recursiveSet, Attr_clr: recursiveClear, Propagation: 0, Userns_fd: 0 },
    extensions: extensions.includes("tmpcopyup") ? 1 : 0,
  }, ["source", "destination", "device"]);
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

/** A default device that the config has a device of its own for gets neither node nor rule. */
function ownAllowedDevices(config: Config): typeof allowedDevices {
  const paths = (config.linux?.devices ?? []).map(({ path }) => path);
  return allowedDevices.filter(({ path }) => path === undefined || !paths.includes(path));
}

/** In a user namespace every node belongs to its root. */
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
  return omitEmpty({ type: namespaceNames[type], path });
}

function toRuncCapabilities(sets: Capabilities): RuncCapabilities | undefined {
  return omitEmpty({
    Bounding: sets.bounding,
    Effective: sets.effective,
    Inheritable: sets.inheritable,
    Permitted: sets.permitted,
    Ambient: sets.ambient,
  });
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

function toRuncAffinity({ initial = "", final = "" }: CpuAffinity): RuncAffinity | undefined {
  if (initial === "" && final === "") return undefined;
  const words = (list: string) => list === "" ? null : maskWords(parseCpuList(list));
  return { Initial: words(initial), Final: words(final) };
}

function toRuncMapping({ containerID, hostID, size }: IdMapping): RuncIdMapping {
  return { container_id: containerID, host_id: hostID, size };
}

const hookNames = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;

function toRuncHooks(hooks: Hooks): RuncConfig["Hooks"] {
  return Object.fromEntries(hookNames.map((name) => [name, hooks[name]?.map(toRuncHook) ?? null]));
}

function toRuncHook({ path, args, env, timeout }: Hook): RuncHook {
  return {
    path,
    args: args ?? null,
    env: env ?? null,
    dir: "",
    timeout: timeout === undefined ? null : timeout * 1e9,
  };
}

/** specconv, CreateCgroupConfig. The limits stand among these fields. */
function toRuncCgroup(input: StateInput): RuncCgroup {
  const { config, rootlessCgroups = false, systemdCgroup = false } = input;
  return omitEmpty({
    ...(systemdCgroup ? systemdCgroupFields(input) : pathFields(input)),
    devices: [
      ...(config.linux?.resources?.devices ?? []).map(({ type = "", major = -1, minor = -1, access = "", allow }) =>
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

/** Pointers in Go (burst, idle, pids, swappiness) are written even when 0, as a limit of 0 is one. */
const limitPointers = ["cpu_burst", "cpu_idle", "pids_limit", "memory_swappiness"] as const;

function toRuncLimits(resources: Resources): RuncCgroup {
  const { memory = {}, cpu = {}, pids = {}, blockIO = {}, network = {}, rdma = {} } = resources;
  return {
    memory: memory.limit,
    memory_reservation: memory.reservation,
    memory_swap: memory.swap,
    cpu_shares: cpu.shares,
    cpu_quota: cpu.quota,
    cpu_burst: cpu.burst,
    cpu_period: cpu.period,
    cpu_rt_quota: cpu.realtimeRuntime,
    cpu_rt_period: cpu.realtimePeriod,
    cpuset_cpus: cpu.cpus,
    cpuset_mems: cpu.mems,
    cpu_idle: cpu.idle,
    pids_limit: pids.limit,
    blkio_weight: blockIO.weight,
    blkio_leaf_weight: blockIO.leafWeight,
    blkio_weight_device: blockIO.weightDevice?.map(toRuncWeight),
    blkio_throttle_read_bps_device: blockIO.throttleReadBpsDevice,
    blkio_throttle_write_bps_device: blockIO.throttleWriteBpsDevice,
    blkio_throttle_read_iops_device: blockIO.throttleReadIOPSDevice,
    blkio_throttle_write_iops_device: blockIO.throttleWriteIOPSDevice,
    hugetlb_limit: resources.hugepageLimits?.map(({ pageSize, limit }) => ({ page_size: pageSize, limit })),
    oom_kill_disable: memory.disableOOMKiller,
    memory_swappiness: memory.swappiness,
    net_prio_ifpriomap: network.priorities?.map(({ name, priority }) => ({ interface: name, priority })),
    net_cls_classid_u: network.classID,
    rdma: Object.fromEntries(
      Object.entries(rdma).map(([device, { hcaHandles, hcaObjects }]) =>
        [device, { hca_handles: hcaHandles, hca_objects: hcaObjects }] as const
      ),
    ),
    cpu_weight: isGiven(cpu.shares) ? cpuWeight(cpu.shares) : undefined,
    unified: resources.unified,
    memory_check_before_update: memory.checkBeforeUpdate,
  };
}

function toRuncWeight({ major, minor, weight = 0, leafWeight = 0 }: WeightDevice): RuncWeightDevice {
  return { major, minor, weight, leafWeight };
}

/** `cgroup` with other limits, written as {@link toRuncState} writes it. */
export function withLimits(cgroup: RuncCgroup, resources: Resources): RuncCgroup {
  const { Systemd, Rootless, owner_uid, ...before } = cgroup;
  const changed = { ...before, ...toRuncLimits(resources), Systemd, Rootless, owner_uid };
  return omitEmpty(changed, ["owner_uid", ...limitPointers]);
}

function pathFields({ config, id }: StateInput): RuncCgroup {
  const path = cleanPath(config.linux?.cgroupsPath ?? "");
  return path === "" ? { name: id } : { path };
}

function systemdCgroupFields({ config, id }: StateInput): RuncCgroup {
  const { slice, prefix, name } = parseSystemdPath({ id, cgroupsPath: config.linux?.cgroupsPath });
  return { name, parent: slice, scope_prefix: prefix };
}

/** A container that can write to its own cgroup directory owns it, as the user of its process: the host id. */
export function cgroupOwner(input: Pick<StateInput, "config">): number | undefined {
  const { config } = input;
  const writable = (config.mounts ?? []).some(({ source, destination, options = [] }) =>
    source === "cgroup" && resolve("/", destination) === "/sys/fs/cgroup" &&
    (parseMountOptions(options).flags & MountFlag.MS_RDONLY) === 0
  );
  if (!writable || !makesNamespace(config, "cgroup")) return undefined;
  const uid = config.process?.user.uid ?? 0;
  return hasNamespace(config, "user") ? hostId(mappingsOf(input, "uidMappings"), uid) : uid;
}

/**
 * Reads state.json.
 *
 * @throws {RuncError} `container-state` when it is broken: it is written by renaming, so nobody saw it half done.
 */
export function parseRuncState(text: string): RuncState {
  const state = parseJson(text, "state.json") as Partial<RuncState> | null;
  if (
    typeof state?.config !== "object" || state.config === null || typeof state.init_process_pid !== "number" ||
    typeof state.id !== "string"
  ) {
    throw new RuncError("container-state", "state.json is not the state of a container");
  }
  return state as RuncState;
}

/** The bundle's directory, absolute. */
export function bundleOf(state: RuncState): string {
  return labelsOf(state).find(([key]) => key === "bundle")?.[1] ?? "";
}

/** The config's annotations. */
export function annotationsOf(state: RuncState): Readonly<Record<string, string>> {
  return Object.fromEntries(labelsOf(state).filter(([key]) => key !== "bundle"));
}

function labelsOf({ config }: RuncState): readonly (readonly [key: string, value: string])[] {
  return (config.labels ?? []).flatMap((label) => {
    const equals = label.indexOf("=");
    return equals < 0 ? [] : [[label.slice(0, equals), label.slice(equals + 1)] as const];
  });
}

/** The specification's version that `state` prints. */
export function versionOf({ config }: RuncState): string {
  return config.version || OCI_VERSION;
}

/** The root file system's path on the host. */
export function rootfsOf({ config }: RuncState): string {
  return config.rootfs;
}

/** The namespaces of the container's own, not those that it shares with the host, with paths that `exec` can join. */
export function namespacesOf(state: RuncState): readonly Required<Namespace>[] {
  const types = Object.keys(namespaceNames) as NamespaceType[];
  return (state.config.namespaces ?? []).flatMap(({ type: name }) => {
    const type = types.find((candidate) => namespaceNames[candidate] === name);
    const path = state.namespace_paths[name];
    return type === undefined || path === undefined ? [] : [{ type, path }];
  });
}

/** The hooks, as config.json had them. */
export function hooksOf({ config }: RuncState): Hooks {
  return Object.fromEntries(
    hookNames.flatMap((name) => {
      const hooks = config.Hooks?.[name] ?? [];
      return hooks.length === 0 ? [] : [[name, hooks.map(fromRuncHook)]];
    }),
  );
}

function fromRuncHook({ path, args, env, timeout }: RuncHook): Hook {
  return {
    path,
    ...(args === null ? {} : { args }),
    ...(env === null ? {} : { env }),
    ...(timeout === null ? {} : { timeout: timeout / 1e9 }),
  };
}

/** The capability sets; undefined where the config had none. */
export function capabilitiesOf({ config }: RuncState): Capabilities | undefined {
  const sets = config.capabilities;
  if (sets === undefined || sets === null) return undefined;
  const { Bounding, Effective, Inheritable, Permitted, Ambient } = sets;
  return {
    bounding: Bounding ?? [],
    effective: Effective ?? [],
    inheritable: Inheritable ?? [],
    permitted: Permitted ?? [],
    ambient: Ambient ?? [],
  };
}

/** The id mappings of the container's user namespace; empty without one. */
export function mappingsOfState({ config }: RuncState): {
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
} {
  return {
    uidMappings: (config.uid_mappings ?? []).map(fromRuncMapping),
    gidMappings: (config.gid_mappings ?? []).map(fromRuncMapping),
  };
}

function fromRuncMapping({ container_id, host_id, size }: RuncIdMapping): IdMapping {
  return { containerID: container_id, hostID: host_id, size };
}

/** The umask that the config asked for; undefined where it had none. */
export function umaskOf({ config }: RuncState): number | undefined {
  return config.umask ?? undefined;
}

/** How its processes are scheduled where they do not say: process.scheduler, process.ioPriority and process.execCPUAffinity. */
export function schedulingOf(
  { config }: RuncState,
): { readonly scheduler?: Scheduler; readonly ioPriority?: IoPriority; readonly execCPUAffinity?: CpuAffinity } {
  const affinity = config.exec_cpu_affinity ?? undefined;
  const list = (words: readonly Integer64[] | null) => maskMembers(words ?? []).join(",");
  return {
    scheduler: config.scheduler ?? undefined,
    ioPriority: config.io_priority ?? undefined,
    execCPUAffinity: affinity && { initial: list(affinity.Initial), final: list(affinity.Final) },
  };
}

/** linux.personality in the kernel's numbers; undefined where the config had none. */
export function personalityOf({ config }: RuncState): number | undefined {
  return config.personality?.domain;
}

/** linux.memoryPolicy; undefined where the config had none. */
export function memoryPolicyOf({ config }: RuncState): MemoryPolicyNumbers | undefined {
  if (config.memory_policy === undefined || config.memory_policy === null) return undefined;
  const { mode = 0, flags = 0, nodes } = config.memory_policy;
  return { mode, flags, nodes: nodes ? maskMembers(nodes) : undefined };
}

/** The AppArmor profile and the SELinux label of the container's first process. */
export function securityOf({ config }: RuncState): {
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
} {
  return { apparmorProfile: config.apparmor_profile, selinuxLabel: config.process_label };
}

/** Its resctrl group; undefined where it has none. `shared`: a class of service that outlives the container. */
export function rdtGroupOf(
  state: RuncState,
): { readonly path: string; readonly monitoringPath?: string; readonly shared: boolean } | undefined {
  const path = state.intel_rdt_path ?? "";
  if (path === "") return undefined;
  const monitoringPath = state.intel_rdt_mon_path || undefined;
  return { path, monitoringPath, shared: (state.config.intel_rdt?.closID ?? "") !== "" };
}

/** linux.seccomp; undefined where the config had none. */
export function seccompOf({ config }: RuncState): SeccompProfile | undefined {
  return config.seccomp ?? undefined;
}

/** Whether the container is confined to some processors. */
export function hasCpusetOf({ config }: RuncState): boolean {
  return (config.cgroups?.cpuset_cpus ?? "") !== "";
}

/** The cgroup's directories by controller, as in {@link RuncState}. */
export function cgroupPathsOf(state: RuncState): Readonly<Record<string, string>> {
  return state.cgroup_paths ?? {};
}

/** The rules of the device controller; none in a file without resources. */
export function deviceRulesOf({ config }: RuncState): readonly RuncDeviceRule[] {
  return config.cgroups?.devices ?? [];
}

/** Whether systemd manages the cgroup. */
export function systemdOf({ config }: RuncState): boolean {
  return config.cgroups?.Systemd ?? false;
}

/** What the config called the unit. */
export function systemdPathOf({ config }: RuncState): SystemdPath {
  const { name = "", parent = "", scope_prefix = "" } = config.cgroups ?? {};
  return { name, slice: parent, prefix: scope_prefix };
}

/** Whether failures to manage the cgroup are to be expected. */
export function rootlessCgroupsOf({ config }: RuncState): boolean {
  return (config.rootless_cgroups ?? config.cgroups?.Rootless) ?? false;
}

/** Whether it was started by a user who is not root. */
export function rootlessEuidOf({ config }: RuncState): boolean {
  return config.rootless_euid ?? false;
}
