/**
 * runc's state.json, written so that runc can manage our containers, and read for containers of either.
 *
 * The fields and their names are those of runc 1.5. Older versions (1.0, 1.1) wrote zero values for fields that 1.5
 * omits. The accessors below treat both alike, so use them and not the fields.
 *
 * Source: runc 1.5.1, libcontainer/container_linux.go (State), libcontainer/configs (Config), opencontainers/cgroups
 * (Cgroup).
 *
 * @module
 */

import type { SystemdPath } from "../../cgroups/path.ts";
import { RuncError } from "../../errors.ts";
import {
  type Hook,
  type HookName,
  hookNames,
  type Hooks,
  type IdMapping,
  type Integer64,
  type IntelRdt,
  type Namespace,
  type NamespaceType,
  namespaceTypes,
  type TimeOffsets,
} from "../../specs/config.ts";
import { parseJson } from "../../specs/json.ts";
import { misfit } from "../../specs/shape.ts";
import { OCI_VERSION } from "../../specs/state.ts";
import { namespaceKinds } from "../config/namespaces.ts";
import type { SeccompProfile } from "../seccomp/profile.ts";
import type { RuncLimits } from "./limits_state.ts";
import type { RuncProcess } from "./process_state.ts";
import { stateRule } from "./state_schema.ts";

/** state.json. Optional fields may also be `null` or zero in a file of runc 1.1. */
export interface RuncState {
  readonly id: string;
  readonly init_process_pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. Absent if there is no process yet. */
  readonly init_process_start?: number;
  /** RFC 3339, UTC, with nanoseconds. */
  readonly created: string;
  readonly config: RuncConfig;
  readonly rootless?: boolean;
  /** By controller on cgroup v1, under `""` on v2. */
  readonly cgroup_paths?: Readonly<Record<string, string>> | null;
  /** By {@link RuncNamespaceType}. */
  readonly namespace_paths: Readonly<Record<string, string>>;
  /** The targets of the first process's standard streams at its start. */
  readonly external_descriptors?: readonly string[] | null;
  readonly intel_rdt_path?: string;
  readonly intel_rdt_mon_path?: string;
}

/** libcontainer's view of config.json. */
export interface RuncConfig extends RuncProcess {
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
  readonly networks?: readonly { readonly type: string }[] | null;
  readonly cgroups: RuncCgroup | null;
  readonly uid_mappings?: readonly RuncIdMapping[] | null;
  readonly gid_mappings?: readonly RuncIdMapping[] | null;
  readonly mask_paths?: readonly string[] | null;
  readonly readonly_paths?: readonly string[] | null;
  readonly sysctl?: Readonly<Record<string, string>> | null;
  readonly seccomp?: SeccompProfile | null;
  readonly Hooks: Readonly<Partial<Record<HookName, readonly RuncHook[] | null>>> | null;
  /** The version of the specification that the runtime implements, not the one in config.json. */
  readonly version: string;
  /** The annotations and `bundle`, as `key=value`. */
  readonly labels: readonly string[] | null;
  readonly no_new_keyring?: boolean;
  readonly intel_rdt?: RuncIntelRdt | null;
  readonly memory_policy?: RuncMemoryPolicy | null;
  readonly rootless_euid?: boolean;
  readonly rootless_cgroups?: boolean;
  readonly time_offsets?: TimeOffsets | null;
  readonly personality?: { readonly domain: number } | null;
}

/** linux.intelRdt; one of its fields has another name here. */
export interface RuncIntelRdt {
  readonly closID?: string;
  readonly schemata?: readonly string[] | null;
  readonly l3_cache_schema?: string;
  readonly memBwSchema?: string;
  readonly enableMonitoring?: boolean;
}

/** A memory policy in the kernel's numbers; nodes are a set as in RuncAffinity. */
export interface RuncMemoryPolicy {
  readonly mode?: number;
  readonly flags?: number;
  readonly nodes?: readonly Integer64[] | null;
}

/** libcontainer's names for the types of namespaces. */
export type RuncNamespaceType = (typeof namespaceKinds)[NamespaceType]["stateName"];

/** A namespace of the container; joined if it has a path. */
export interface RuncNamespace {
  readonly type: RuncNamespaceType;
  readonly path?: string;
}

/** A mount with its options parsed. */
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

/** The ids of a mount: those of a namespace, or mappings. */
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

/** A rule of the device controller; -1 matches any number. */
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

/** The container's cgroup: its paths, its driver, and the resources among the same fields. */
export interface RuncCgroup extends RuncLimits {
  readonly name?: string;
  readonly parent?: string;
  readonly path?: string;
  readonly scope_prefix?: string;
  /** May be missing in files of older versions, like every other resource. */
  readonly devices?: readonly RuncDeviceRule[] | null;
  readonly Systemd?: boolean;
  readonly Rootless?: boolean;
  readonly owner_uid?: number | null;
}

/**
 * Reads state.json.
 *
 * @throws {RuncError} `state-invalid` if it is broken. It is written by renaming, so it is never read half written.
 */
export function parseRuncState(text: string): RuncState {
  const state = parseStateJson(text);
  // A value that is no object has none of the fields either.
  const wrong = misfit({ required: stateRule }, state);
  if (wrong !== undefined) {
    throw brokenState(`state.json is not the state of a container: ${wrong || "it"} is missing or of another type`);
  }
  if (isDeeper(state, LEVELS)) throw brokenState(`state.json has more than ${LEVELS} levels`);
  return state as RuncState;
}

/** More than any state has. Who writes the state again is not stopped by the depth of fields that it does not know. */
const LEVELS = 100;

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  for (const name in value) if (isDeeper((value as Record<string, unknown>)[name], levels - 1)) return true;
  return false;
}

function parseStateJson(text: string): unknown {
  try {
    return parseJson(text, "state.json");
  } catch (error) {
    throw error instanceof RuncError ? brokenState(error.message, error) : error;
  }
}

/** The error where state.json cannot be used. */
export function brokenState(message: string, cause?: RuncError): RuncError {
  return new RuncError("state-invalid", message, {
    cause,
    hint: "the container cannot be used; delete it with: runc delete --force",
  });
}

/** The container's name. */
export function idOf({ id }: RuncState): string {
  return id;
}

/** When it was created: RFC 3339, UTC. */
export function createdOf({ created }: RuncState): string {
  return created;
}

/** Its first process: the host's pid, and when it started, in clock ticks after boot. */
export function initOf(state: RuncState): { readonly pid: number; readonly startTime: number } {
  return { pid: state.init_process_pid, startTime: state.init_process_start ?? 0 };
}

/** Whether its first process does not exist yet: a restore is at work, or was killed. */
export function isUnfinished({ init_process_pid }: RuncState): boolean {
  return init_process_pid <= 0;
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

/** The specification's version in the output of `state`. */
export function versionOf({ config }: RuncState): string {
  return config.version || OCI_VERSION;
}

/** The root file system's path on the host. */
export function rootfsOf({ config }: RuncState): string {
  return config.rootfs;
}

/** The container's own namespaces, without those shared with the host, with paths that `exec` can join. */
export function namespacesOf(state: RuncState): readonly Required<Namespace>[] {
  return (state.config.namespaces ?? []).flatMap(({ type: name }) => {
    const type = namespaceTypes.find((candidate) => namespaceKinds[candidate].stateName === name);
    const path = state.namespace_paths[name];
    return type === undefined || path === undefined ? [] : [{ type, path }];
  });
}

/** Whether the container has created its pid namespace: its processes then end with its first one. */
export function ownsPids({ config }: RuncState): boolean {
  return (config.namespaces ?? []).some(({ type, path }) => type === namespaceKinds.pid.stateName && !path);
}

/** The hooks from config.json. */
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

/** linux.intelRdt; undefined if the config had none. */
export function intelRdtOf({ config: { intel_rdt } }: RuncState): IntelRdt | undefined {
  if (intel_rdt === undefined || intel_rdt === null) return undefined;
  const { l3_cache_schema: l3CacheSchema, schemata, ...rest } = intel_rdt;
  return { ...rest, l3CacheSchema, schemata: schemata ?? undefined };
}

/**
 * The container's resctrl group; undefined if it has none. `shared`: a class of service that outlives the container.
 */
export function rdtGroupOf(
  state: RuncState,
): { readonly path: string; readonly monitoringPath?: string; readonly shared: boolean } | undefined {
  const path = state.intel_rdt_path ?? "";
  if (path === "") return undefined;
  const monitoringPath = state.intel_rdt_mon_path || undefined;
  return { path, monitoringPath, shared: (state.config.intel_rdt?.closID ?? "") !== "" };
}

/** linux.seccomp; undefined if the config had none. */
export function seccompOf({ config }: RuncState): SeccompProfile | undefined {
  return config.seccomp ?? undefined;
}

/** The cgroup's directories by controller, as in {@link RuncState}. */
export function cgroupPathsOf(state: RuncState): Readonly<Record<string, string>> {
  return state.cgroup_paths ?? {};
}

/** The rules of the device controller; empty for a file without resources. */
export function deviceRulesOf({ config }: RuncState): readonly RuncDeviceRule[] {
  return config.cgroups?.devices ?? [];
}

/** Whether systemd manages the cgroup. */
export function systemdOf({ config }: RuncState): boolean {
  return config.cgroups?.Systemd ?? false;
}

/** The parts of the unit's name from the config. */
export function systemdPathOf({ config }: RuncState): SystemdPath {
  const { name = "", parent = "", scope_prefix = "" } = config.cgroups ?? {};
  return { name, slice: parent, prefix: scope_prefix };
}

/** Whether failures to manage the cgroup are ignored. */
export function rootlessCgroupsOf({ config }: RuncState): boolean {
  return (config.rootless_cgroups ?? config.cgroups?.Rootless) ?? false;
}

/** Whether it was started without root. */
export function rootlessEuidOf({ config }: RuncState): boolean {
  return config.rootless_euid ?? false;
}
