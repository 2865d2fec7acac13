/**
 * linux.namespaces: the types, and which of them a config creates or joins. Pure.
 *
 * @see namespaces(7)
 * @module
 */

import { CloneFlag } from "../../ffi/constants.ts";
import type { Config, NamespaceType } from "../../specs/config.ts";

/** The CLONE_NEW* flag and the file below /proc/PID/ns of each type. @see namespaces(7) */
export const namespaceKinds: Readonly<Record<NamespaceType, { readonly flag: number; readonly file: string }>> = {
  pid: { flag: CloneFlag.CLONE_NEWPID, file: "pid" },
  network: { flag: CloneFlag.CLONE_NEWNET, file: "net" },
  mount: { flag: CloneFlag.CLONE_NEWNS, file: "mnt" },
  ipc: { flag: CloneFlag.CLONE_NEWIPC, file: "ipc" },
  uts: { flag: CloneFlag.CLONE_NEWUTS, file: "uts" },
  user: { flag: CloneFlag.CLONE_NEWUSER, file: "user" },
  cgroup: { flag: CloneFlag.CLONE_NEWCGROUP, file: "cgroup" },
  time: { flag: CloneFlag.CLONE_NEWTIME, file: "time" },
};

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
