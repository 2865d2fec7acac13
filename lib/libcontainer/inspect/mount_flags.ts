/**
 * The flags of a mount by the names in mountinfo. Pure.
 *
 * @see proc_pid_mountinfo(5), mount(8)
 * @module
 */

import { MountAttr, MountFlag } from "../../ffi/constants.ts";
import type { RuncMount } from "../state/runc_state.ts";
import type { MountInfo } from "./proc_files.ts";

/** The flags that mountinfo shows, among the options of the mount or of its file system. */
const flagNames: readonly (readonly [name: string, flag: number, attribute: number])[] = [
  ["ro", MountFlag.MS_RDONLY, MountAttr.MOUNT_ATTR_RDONLY],
  ["nosuid", MountFlag.MS_NOSUID, MountAttr.MOUNT_ATTR_NOSUID],
  ["nodev", MountFlag.MS_NODEV, MountAttr.MOUNT_ATTR_NODEV],
  ["noexec", MountFlag.MS_NOEXEC, MountAttr.MOUNT_ATTR_NOEXEC],
  ["nosymfollow", MountFlag.MS_NOSYMFOLLOW, MountAttr.MOUNT_ATTR_NOSYMFOLLOW],
  ["noatime", MountFlag.MS_NOATIME, MountAttr.MOUNT_ATTR_NOATIME],
  ["nodiratime", MountFlag.MS_NODIRATIME, MountAttr.MOUNT_ATTR_NODIRATIME],
  ["sync", MountFlag.MS_SYNCHRONOUS, 0],
  ["dirsync", MountFlag.MS_DIRSYNC, 0],
  ["lazytime", MountFlag.MS_LAZYTIME, 0],
];

/** What a program in the container may not do there. A mount that has one without being asked to is worth a note. */
const restrictions: readonly string[] = ["ro", "nosuid", "nodev", "noexec", "nosymfollow"];

/** How the flags of a mount differ from those in the config. */
export interface FlagDifference {
  /** Asked for and absent. */
  readonly missing: readonly string[];
  /** Excluded by an option of the config (`rw`, `exec`), and present. */
  readonly forbidden: readonly string[];
  /** Restrictions that the config does not mention. */
  readonly extra: readonly string[];
}

/** The flags that a mount of the config sets and clears. */
export function configuredFlags(
  { flags = 0, cleared_flags = 0, rec_attr }: RuncMount,
): { readonly on: readonly string[]; readonly off: readonly string[] } {
  const set = rec_attr?.Attr_set ?? 0, cleared = rec_attr?.Attr_clr ?? 0;
  const names = (bits: number, attributes: number) =>
    flagNames.filter(([, flag, attribute]) => (bits & flag) !== 0 || (attributes & attribute) !== 0).map(([name]) =>
      name
    );
  const on = names(flags, set);
  // Every access time mode is cleared by the whole field, so a cleared one means nothing.
  const off = names(cleared_flags, cleared).filter((name) => !on.includes(name) && name !== "noatime");
  return { on, off };
}

/** The flags of a mount, as {@link configuredFlags} names them. */
export function shownFlags({ options, superOptions }: MountInfo): readonly string[] {
  return flagNames.map(([name]) => name).filter((name) => options.includes(name) || superOptions.includes(name));
}

/** Compares the flags of the config with those of the mount. */
export function flagDifference(mount: RuncMount, shown: MountInfo): FlagDifference {
  const { on, off } = configuredFlags(mount);
  const present = shownFlags(shown);
  return {
    missing: on.filter((name) => !present.includes(name)),
    forbidden: off.filter((name) => present.includes(name)),
    extra: restrictions.filter((name) => present.includes(name) && !on.includes(name) && !off.includes(name)),
  };
}

const propagationNames: readonly (readonly [name: string, flag: number])[] = [
  ["shared", MountFlag.MS_SHARED],
  ["slave", MountFlag.MS_SLAVE],
  ["unbindable", MountFlag.MS_UNBINDABLE],
  ["private", MountFlag.MS_PRIVATE],
];

/** `slave` for MS_SLAVE|MS_REC; undefined for 0. */
export function propagationName(flags: number): string | undefined {
  return propagationNames.find(([, flag]) => (flags & flag) !== 0)?.[0];
}

/** How a mount propagates: `shared`, `slave`, `shared slave`, `unbindable`, `private`. */
export function shownPropagation({ propagation }: MountInfo): string {
  const has = (prefix: string) => propagation.some((tag) => tag.startsWith(prefix));
  const names = [has("shared:") && "shared", has("master:") && "slave", has("unbindable") && "unbindable"];
  return names.filter((name) => name !== false).join(" ") || "private";
}

/** Whether a mount propagates as asked. A slave without a master, which mountinfo shows as private, is one too. */
export function propagatesAs(wanted: string, shown: string): boolean {
  if (wanted === "slave") return !shown.includes("shared") && shown !== "unbindable";
  return wanted === "shared" ? shown.includes("shared") : shown === wanted;
}
