/**
 * What of a container is not its own: mounts of the host and namespaces that it has joined. CRIU saves only their names,
 * and needs to know them for a checkpoint and for a restore. Pure.
 *
 * Source: runc 1.5.1, libcontainer/criu_linux.go.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { CloneFlag } from "../../ffi/constants.ts";
import { namespaceKinds } from "../config/namespaces.ts";
import { cgroupPathsOf, type RuncMount, type RuncNamespaceType, type RuncState } from "../state/runc_state.ts";
import { INSTALL_HINT } from "./criu_program.ts";
import { CriuSince } from "./criu_version.ts";

/** A v1 hierarchy in the container's mount of type `cgroup`. */
export interface CgroupBind {
  /** The directory below the mount. */
  readonly name: string;
  /** The container's cgroup on the host. */
  readonly source: string;
}

/** A mount of the host in the container: a path there, and a path of the host. */
export interface ExternalMount {
  readonly destination: string;
  readonly source: string;
}

/** What the names of external mounts depend on. */
export interface MountFacts {
  /** The v1 hierarchies; empty on v2. */
  readonly cgroupBinds: readonly CgroupBind[];
  /** A path in the container with its symlinks followed. */
  readonly resolve: (path: string) => string;
  /** The directory of the sd_notify proxy's socket, if the container has it. */
  readonly notifyDirectory?: string;
}

/** Where the container has it. A state of ours does not list this mount, a state of runc's does. */
const NOTIFY_PLACE = "/run/notify";

/** Whether the container has only cgroup2: its mount of type `cgroup` is then a mount of its own. */
export function hasCgroup2Only(state: RuncState): boolean {
  const controllers = Object.keys(cgroupPathsOf(state));
  return controllers.length === 1 && controllers[0] === "";
}

/** Bind mounts, and the cgroups on v1: with a cgroup namespace the container mounts the hierarchies itself. */
export function externalMounts(state: RuncState, facts: MountFacts): readonly ExternalMount[] {
  const own = hasCgroup2Only(state) || hasNamespaceType(state, "NEWCGROUP");
  return allMounts(state, facts).flatMap((mount) => {
    if (mount.device === "bind") return [named(state, mount, facts)];
    if (mount.device !== "cgroup" || own) return [];
    return facts.cgroupBinds.map(({ name, source }) =>
      named(state, { source, destination: `${mount.destination}/${name}` }, facts)
    );
  });
}

function allMounts({ config }: RuncState, { notifyDirectory }: MountFacts): readonly RuncMount[] {
  const mounts = config.mounts ?? [];
  const isListed = mounts.some(({ destination }) => destination === NOTIFY_PLACE);
  if (notifyDirectory === undefined || isListed) return mounts;
  return [...mounts, { source: notifyDirectory, destination: NOTIFY_PLACE, device: "bind" }];
}

/** The device nodes. In a user namespace they are bind mounts of the host's; elsewhere CRIU ignores the names. */
export function externalDevices(state: RuncState, facts: MountFacts): readonly ExternalMount[] {
  return (state.config.devices ?? []).map(({ path }) => named(state, { source: path, destination: path }, facts));
}

/** Like runc, a leading path of the rootfs is removed. */
function named(
  { config: { rootfs } }: RuncState,
  { source, destination }: Pick<RuncMount, "source" | "destination">,
  { resolve }: MountFacts,
): ExternalMount {
  const inside = destination.startsWith(`${rootfs}/`) ? destination.slice(rootfs.length) : destination;
  return { destination: criuName(resolve(inside)), source };
}

/**
 * A resolved path as CRIU's name of a mount. CRIU keeps `mnt[NAME]:VALUE` as one text, and finds a name by what the text
 * begins with: with `]:` in a name, what follows would be another mount's value, which is a path of the host in a restore.
 * Links of the image have a say in the name. CRIU, external.c, external_lookup_by_key()
 *
 * @throws {RuncError} `unsupported`.
 */
export function criuName(path: string): string {
  if (!path.includes("]:")) return path;
  throw new RuncError("unsupported", `a mount on ${JSON.stringify(path)} cannot be named to CRIU`, {
    hint: 'the path in the container, with its symlinks followed, has "]:" in it',
  });
}

/** Whether the container has a namespace of the type, new or joined. */
export function hasNamespaceType({ config }: RuncState, type: RuncNamespaceType): boolean {
  return (config.namespaces ?? []).some((namespace) => namespace.type === type);
}

/** A namespace that CRIU leaves alone: its name in CRIU's options, and the path of a joined one. */
export interface ExternalNamespace {
  readonly kind: "net" | "pid";
  /** The name by which a checkpoint and its restore know it. */
  readonly key: string;
  readonly path: string;
}

const externalKinds = [
  { type: "NEWNET", kind: "net", key: "extRootNetNS", since: CriuSince.EXTERNAL_NETWORK },
  { type: "NEWPID", kind: "pid", key: "extRootPidNS", since: CriuSince.EXTERNAL_PID },
] as const;

/** The network and pid namespaces that the container has joined. */
export function externalNamespaces(state: RuncState): readonly ExternalNamespace[] {
  return externalKinds.flatMap(({ type, kind, key }) => {
    const path = pathOf(state, type);
    return path === "" ? [] : [{ kind, key, path }];
  });
}

/**
 * Like runc, it does not ask whether there is such a namespace. `process`: for the message.
 *
 * @throws {RuncError} `host-lacks` if CRIU is too old for such namespaces.
 */
export function requireExternalNamespaces(
  version: number,
  process: "checkpointing process" | "the restoration process",
): void {
  const lacking = externalKinds.find(({ since }) => version < since);
  if (lacking === undefined) return;
  const what = `criu lacks support for external ${lacking.kind} namespace`;
  throw new RuncError("host-lacks", `${what} during ${process} (old criu version?)`, { hint: INSTALL_HINT });
}

/** A namespace that CRIU itself joins when it restores. */
export interface JoinedNamespace {
  readonly ns: string;
  readonly ns_file: string;
}

/** The other namespaces that the container joins. @throws {RuncError} `unsupported` for a cgroup namespace. */
export function joinedNamespaces({ config }: RuncState): readonly JoinedNamespace[] {
  return (config.namespaces ?? []).flatMap(({ type, path = "" }) => {
    if (path === "" || externalKinds.some((kind) => kind.type === type)) return [];
    if (type === "NEWCGROUP") throw new RuncError("unsupported", `Do not know how to handle namespace ${type}`);
    const kind = Object.values(namespaceKinds).find(({ stateName }) => stateName === type);
    return kind === undefined ? [] : [{ ns: kind.file, ns_file: path }];
  });
}

function pathOf({ config }: RuncState, type: RuncNamespaceType): string {
  return (config.namespaces ?? []).find((namespace) => namespace.type === type)?.path ?? "";
}

/** The network devices and their addresses are not CRIU's matter: it makes an empty network namespace. */
export const EMPTY_NAMESPACES = CloneFlag.CLONE_NEWNET >>> 0;
