/**
 * linux.namespaces: the types, and which of them a config creates or joins. Pure.
 *
 * @see namespaces(7)
 * @module
 */

import { CloneFlag } from "../../ffi/constants.ts";
import type { Config, NamespaceType } from "../../specs/config.ts";

/** What the kernel and state.json call a type of namespace. */
interface NamespaceKind {
  /** CLONE_NEW* */
  readonly flag: number;
  /** The file below /proc/PID/ns. */
  readonly file: string;
  readonly stateName: string;
}

/** Each type of namespace. @see namespaces(7) */
export const namespaceKinds = {
  pid: { flag: CloneFlag.CLONE_NEWPID, file: "pid", stateName: "NEWPID" },
  network: { flag: CloneFlag.CLONE_NEWNET, file: "net", stateName: "NEWNET" },
  mount: { flag: CloneFlag.CLONE_NEWNS, file: "mnt", stateName: "NEWNS" },
  ipc: { flag: CloneFlag.CLONE_NEWIPC, file: "ipc", stateName: "NEWIPC" },
  uts: { flag: CloneFlag.CLONE_NEWUTS, file: "uts", stateName: "NEWUTS" },
  user: { flag: CloneFlag.CLONE_NEWUSER, file: "user", stateName: "NEWUSER" },
  cgroup: { flag: CloneFlag.CLONE_NEWCGROUP, file: "cgroup", stateName: "NEWCGROUP" },
  time: { flag: CloneFlag.CLONE_NEWTIME, file: "time", stateName: "NEWTIME" },
} as const satisfies Readonly<Record<NamespaceType, NamespaceKind>>;

/** Whether to move devices of the host into its network namespace. */
export function hasNetworkDevices(config: Config): boolean {
  return Object.keys(config.linux?.netDevices ?? {}).length > 0;
}

/** Whether config.json lists a namespace of the type, new or joined. */
export function hasNamespace(config: Config, type: NamespaceType): boolean {
  return config.linux?.namespaces?.some((namespace) => namespace.type === type) ?? false;
}

/** Whether a new namespace of the type is created. */
export function makesNamespace(config: Config, type: NamespaceType): boolean {
  return config.linux?.namespaces?.some((namespace) => namespace.type === type && !namespace.path) ?? false;
}

/**
 * A namespace to join: its type, and its path in config.json. The parent opens it as the fixed descriptor `ns-<type>`.
 */
export interface JoinedNamespace {
  readonly type: NamespaceType;
  readonly from: string;
  /** For the step's label. */
  readonly path: string;
}

/** The namespaces that config.json joins by path, in the config's order. */
export function joinedNamespaces(config: Config): readonly JoinedNamespace[] {
  return (config.linux?.namespaces ?? []).flatMap((namespace, index) =>
    namespace.path ? [{ type: namespace.type, from: `/linux/namespaces/${index}`, path: namespace.path }] : []
  );
}
