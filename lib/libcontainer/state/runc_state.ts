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

import type { SystemdPath } from "../../cgroups/path.ts";
import { RuncError } from "../../errors.ts";
import type {
  Hook,
  HookName,
  Hooks,
  IdMapping,
  Integer64,
  IntelRdt,
  IoPriority,
  Namespace,
  NamespaceType,
  Scheduler,
  ThrottleDevice,
  TimeOffsets,
  WeightDevice,
} from "../../specs/config.ts";
import { parseJson } from "../../specs/json.ts";
import { OCI_VERSION } from "../../specs/state.ts";
import type { SeccompProfile } from "../seccomp/profile.ts";

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
  readonly id_mapping?: RuncMountIds | null;
}

/** Whose ids a mount has: those of a namespace, or mappings. */
export interface RuncMountIds {
  readonly recursive?: boolean;
  readonly userns_path?: string;
  readonly uid_mappings?: readonly RuncIdMapping[] | null;
  readonly gid_mappings?: readonly RuncIdMapping[] | null;
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
  /** From 105 days on it is a bigint where it was read from a file. */
  readonly timeout: number | bigint | null;
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

/** The kinds of hooks, in the order of state.json. */
export const hookNames = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
] as const;

/** The kinds of namespaces by the names that state.json has for them. */
export const namespaceNames = {
  pid: "NEWPID",
  network: "NEWNET",
  mount: "NEWNS",
  ipc: "NEWIPC",
  uts: "NEWUTS",
  user: "NEWUSER",
  cgroup: "NEWCGROUP",
  time: "NEWTIME",
} as const satisfies Readonly<Record<NamespaceType, string>>;

/**
 * Reads state.json.
 *
 * @throws {RuncError} `state-invalid` when it is broken: it is written by renaming, so nobody saw it half done.
 */
export function parseRuncState(text: string): RuncState {
  const state = parseStateJson(text);
  const paths = Object.values(state?.cgroup_paths ?? {});
  if (
    typeof state?.config !== "object" || state.config === null || typeof state.init_process_pid !== "number" ||
    typeof state.id !== "string" || paths.some((path) => typeof path !== "string")
  ) {
    throw brokenState("state.json is not the state of a container");
  }
  return state as RuncState;
}

function parseStateJson(text: string): Partial<RuncState> | null {
  try {
    return parseJson(text, "state.json") as Partial<RuncState> | null;
  } catch (error) {
    throw error instanceof RuncError ? brokenState(error.message, error) : error;
  }
}

/** The error where state.json cannot be used. */
export function brokenState(message: string, cause?: RuncError): RuncError {
  return new RuncError("state-invalid", message, {
    cause,
    hint: "the container cannot be used; runc delete --force removes what can be found of it",
  });
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

/** Whether the container made its pid namespace: its processes then end with its first one. */
export function ownsPids({ config }: RuncState): boolean {
  return (config.namespaces ?? []).some(({ type, path }) => type === namespaceNames.pid && !path);
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
    ...(timeout === null ? {} : { timeout: Number(timeout) / 1e9 }),
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

/** linux.intelRdt; undefined where the config had none. */
export function intelRdtOf({ config: { intel_rdt } }: RuncState): IntelRdt | undefined {
  if (intel_rdt === undefined || intel_rdt === null) return undefined;
  const { l3_cache_schema: l3CacheSchema, schemata, ...rest } = intel_rdt;
  return { ...rest, l3CacheSchema, schemata: schemata ?? undefined };
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
