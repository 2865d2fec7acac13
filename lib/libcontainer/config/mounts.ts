/**
 * The mounts of config.json, each parsed once: validation, the plan and state.json read the same result. Pure. The
 * parser accepts every mount; the rules in ./validate/mounts.ts and the plan report errors.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { MountFlag } from "../../ffi/constants.ts";
import type { IdMapping, Mount } from "../../specs/config.ts";
import { type MountOptions, parseMountOptions, withContext } from "./mount_options.ts";

/** The ids that a mount shows: of a user namespace made for the mappings, or of the container's. */
export interface MountIds {
  /** Absent: the container's user namespace. */
  readonly mappings?: { readonly uid: readonly IdMapping[]; readonly gid: readonly IdMapping[] };
  /** Also for the mounts below: `ridmap`. */
  readonly recursive: boolean;
}

/** Fields of every mount. */
export interface CommonMount {
  /** As config.json has it: for messages. */
  readonly mount: Mount;
  /** Its number in config.json. */
  readonly index: number;
  /** Its JSON pointer. */
  readonly from: string;
  /** Path in the container, clean and absolute. Like in runc, a leading path of the rootfs on the host is removed. */
  readonly destination: string;
  /** The same without that removal. runc compares this path with /dev, /proc and /sys/fs/cgroup. */
  readonly path: string;
  /** Its options, parsed. */
  readonly options: MountOptions;
  /** Absent: the mount shows the ids of its file system. Only a bind mount can have others. */
  readonly ids?: MountIds;
}

/** A new mount of an existing file or directory. */
export interface BindMount extends CommonMount {
  /** Distinguishes the kinds of mounts. */
  readonly kind: "bind";
  /** Absolute: a relative source is below the bundle. */
  readonly source: string;
  /** With the mounts below the source. */
  readonly recursive: boolean;
}

/** `bind` with `remount`: changes an existing mount. With other ids it is always a new mount. */
export interface RemountMount extends CommonMount {
  /** Distinguishes the kinds of mounts. */
  readonly kind: "remount";
  /** Absolute; only state.json has it. */
  readonly source: string;
}

/** The container's cgroups. */
export interface CgroupMount extends CommonMount {
  /** Distinguishes the kinds of mounts. */
  readonly kind: "cgroup";
}

/** Any other file system. */
export interface FileSystemMount extends CommonMount {
  /** Distinguishes the kinds of mounts. */
  readonly kind: "fileSystem";
}

/** A mount of config.json. */
export type ParsedMount = BindMount | RemountMount | CgroupMount | FileSystemMount;

/** Base paths of mounts. Both are absolute. */
export interface MountPaths {
  /** Base of a bind mount's relative source. */
  readonly bundle: string;
  /** A destination may begin with it. */
  readonly rootfs: string;
}

/** Parses the mounts of config.json, in its order. `first`: the number of the first one. */
export function parseMounts(
  mounts: readonly Mount[] | undefined,
  paths: MountPaths,
  first = 0,
): readonly ParsedMount[] {
  return (mounts ?? []).map((mount, index) => parseMount(mount, first + index, paths));
}

function parseMount(mount: Mount, index: number, { bundle, rootfs }: MountPaths): ParsedMount {
  const options = parseMountOptions(mount.options ?? []);
  const path = resolve("/", mount.destination);
  const common: CommonMount = {
    mount,
    index,
    from: `/mounts/${index}`,
    destination: path.startsWith(`${rootfs}/`) ? path.slice(rootfs.length) : path,
    path,
    options,
    ids: parseIds(mount, options),
  };
  // The option makes a bind mount; the type has no effect.
  if (options.flags & MountFlag.MS_BIND) {
    const { source = "" } = mount;
    const absolute = source.startsWith("/") ? source : resolve(bundle, source);
    if (options.flags & MountFlag.MS_REMOUNT && common.ids === undefined) {
      return { ...common, kind: "remount", source: absolute };
    }
    return { ...common, kind: "bind", source: absolute, recursive: (options.flags & MountFlag.MS_REC) !== 0 };
  }
  return { ...common, kind: mount.type === "cgroup" ? "cgroup" : "fileSystem" };
}

/** The ids of a mount with mappings, `idmap` or `ridmap`. If both options are set, the last one counts. */
function parseIds(
  { uidMappings: uid = [], gidMappings: gid = [] }: Mount,
  options: MountOptions,
): MountIds | undefined {
  const option = options.extensions.findLast((name) => name === "idmap" || name === "ridmap");
  const hasMappings = uid.length + gid.length > 0;
  if (!hasMappings && option === undefined) return undefined;
  return { mappings: hasMappings ? { uid, gid } : undefined, recursive: option === "ridmap" };
}

/** Whether a mount makes no file system: a bind mount or its remount. */
export function isBind(mount: ParsedMount): mount is BindMount | RemountMount {
  return mount.kind === "bind" || mount.kind === "remount";
}

/** Whether the plan fills /dev: not if /dev is a bind mount. */
export function fillsDev(mounts: readonly ParsedMount[]): boolean {
  return !mounts.some((mount) => mount.path === "/dev" && isBind(mount));
}

/** The policy labels these file systems. */
const unlabelledTypes: readonly (string | undefined)[] = ["proc", "sysfs", "mqueue", "cgroup"];

/** `mounts` with linux.mountLabel as an option of each file system that takes one. */
export function labelMounts(mounts: readonly ParsedMount[], label: string | undefined): readonly ParsedMount[] {
  if (!label) return mounts;
  return mounts.map((mount) => {
    if (isBind(mount) || unlabelledTypes.includes(mount.mount.type)) return mount;
    return { ...mount, options: { ...mount.options, data: withContext(mount.options.data, label) } };
  });
}
