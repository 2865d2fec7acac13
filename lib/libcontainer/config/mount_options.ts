/**
 * Mount option strings of config.json to what the kernel takes: one table, from which `features` lists the names.
 *
 * @see config-linux.md and config.md of the runtime-spec, "Linux mount options"; mount(8)
 *
 * @module
 */

import { MountAttr, MountFlag } from "../../ffi/constants.ts";

/** A mount's options, taken apart. */
export interface MountOptions {
  /** MS_* bits that are set. */
  readonly flags: number;
  /** MS_* bits that an option names to be off. */
  readonly clearedFlags: number;
  /** MS_* propagation types, with MS_REC where recursive; in order. */
  readonly propagation: readonly number[];
  /** MOUNT_ATTR_* bits to set on the mount and all below it. */
  readonly recursiveSet: number;
  /** MOUNT_ATTR_* bits to clear there. */
  readonly recursiveClear: number;
  /** `tmpcopyup`, `idmap`, `ridmap`, `copy-symlink`, `dest-nofollow`, `src-nofollow`. */
  readonly extensions: readonly string[];
  /** Everything else, comma separated: for the file system. */
  readonly data: string;
}

type Meaning =
  | { readonly set: number }
  | { readonly clear: number }
  | { readonly propagation: number }
  | { readonly recursiveSet: number }
  | { readonly recursiveClear: number }
  | { readonly extension: true };

const M = MountFlag;
const A = MountAttr;

const meanings: Readonly<Record<string, Meaning>> = {
  async: { clear: M.MS_SYNCHRONOUS },
  atime: { clear: M.MS_NOATIME },
  bind: { set: M.MS_BIND },
  defaults: { set: 0 },
  dev: { clear: M.MS_NODEV },
  diratime: { clear: M.MS_NODIRATIME },
  dirsync: { set: M.MS_DIRSYNC },
  exec: { clear: M.MS_NOEXEC },
  iversion: { set: M.MS_I_VERSION },
  lazytime: { set: M.MS_LAZYTIME },
  loud: { clear: M.MS_SILENT },
  mand: { set: M.MS_MANDLOCK },
  noatime: { set: M.MS_NOATIME },
  nodev: { set: M.MS_NODEV },
  nodiratime: { set: M.MS_NODIRATIME },
  noexec: { set: M.MS_NOEXEC },
  noiversion: { clear: M.MS_I_VERSION },
  nolazytime: { clear: M.MS_LAZYTIME },
  nomand: { clear: M.MS_MANDLOCK },
  norelatime: { clear: M.MS_RELATIME },
  nostrictatime: { clear: M.MS_STRICTATIME },
  nosuid: { set: M.MS_NOSUID },
  nosymfollow: { set: M.MS_NOSYMFOLLOW },
  rbind: { set: M.MS_BIND | M.MS_REC },
  relatime: { set: M.MS_RELATIME },
  remount: { set: M.MS_REMOUNT },
  ro: { set: M.MS_RDONLY },
  rw: { clear: M.MS_RDONLY },
  silent: { set: M.MS_SILENT },
  strictatime: { set: M.MS_STRICTATIME },
  suid: { clear: M.MS_NOSUID },
  symfollow: { clear: M.MS_NOSYMFOLLOW },
  sync: { set: M.MS_SYNCHRONOUS },

  private: { propagation: M.MS_PRIVATE },
  rprivate: { propagation: M.MS_PRIVATE | M.MS_REC },
  slave: { propagation: M.MS_SLAVE },
  rslave: { propagation: M.MS_SLAVE | M.MS_REC },
  shared: { propagation: M.MS_SHARED },
  rshared: { propagation: M.MS_SHARED | M.MS_REC },
  unbindable: { propagation: M.MS_UNBINDABLE },
  runbindable: { propagation: M.MS_UNBINDABLE | M.MS_REC },

  ratime: { recursiveClear: A.MOUNT_ATTR_NOATIME },
  rdev: { recursiveClear: A.MOUNT_ATTR_NODEV },
  rdiratime: { recursiveClear: A.MOUNT_ATTR_NODIRATIME },
  rexec: { recursiveClear: A.MOUNT_ATTR_NOEXEC },
  rnoatime: { recursiveSet: A.MOUNT_ATTR_NOATIME },
  rnodev: { recursiveSet: A.MOUNT_ATTR_NODEV },
  rnodiratime: { recursiveSet: A.MOUNT_ATTR_NODIRATIME },
  rnoexec: { recursiveSet: A.MOUNT_ATTR_NOEXEC },
  // MOUNT_ATTR_RELATIME is 0: setting it means to clear the rest of the access time modes, and the other way round.
  rnorelatime: { recursiveClear: 0 },
  rnostrictatime: { recursiveClear: A.MOUNT_ATTR_STRICTATIME },
  rnosuid: { recursiveSet: A.MOUNT_ATTR_NOSUID },
  rnosymfollow: { recursiveSet: A.MOUNT_ATTR_NOSYMFOLLOW },
  rrelatime: { recursiveSet: 0 },
  rro: { recursiveSet: A.MOUNT_ATTR_RDONLY },
  rrw: { recursiveClear: A.MOUNT_ATTR_RDONLY },
  rstrictatime: { recursiveSet: A.MOUNT_ATTR_STRICTATIME },
  rsuid: { recursiveClear: A.MOUNT_ATTR_NOSUID },
  rsymfollow: { recursiveClear: A.MOUNT_ATTR_NOSYMFOLLOW },

  idmap: { extension: true },
  ridmap: { extension: true },
  tmpcopyup: { extension: true },

  // crun's.
  "copy-symlink": { extension: true },
  "dest-nofollow": { extension: true },
  "src-nofollow": { extension: true },
};

/** The options that concern access times: any of them needs the whole of MOUNT_ATTR__ATIME in attr_clr. mount_setattr(2) */
const recursiveAtime = new Set(["ratime", "rnoatime", "rnorelatime", "rnostrictatime", "rrelatime", "rstrictatime"]);

/** What `features` lists: every option but those with data of their own. Sorted. */
export const mountOptionNames: readonly string[] = Object.keys(meanings)
  .filter((name) => name !== "idmap" && name !== "ridmap")
  .sort();

/** The options that say how mounts propagate. mount_namespaces(7) */
export const propagationNames: readonly string[] = Object.keys(meanings)
  .filter((name) => "propagation" in meanings[name]!);

/** Takes option strings apart. A later option overrides an earlier one. */
export function parseMountOptions(options: readonly string[]): MountOptions {
  let flags = 0, clearedFlags = 0, recursiveSet = 0, recursiveClear = 0;
  const propagation: number[] = [];
  const extensions: string[] = [];
  const data: string[] = [];
  for (const option of options) {
    const meaning = Object.hasOwn(meanings, option) ? meanings[option]! : undefined;

    if (meaning === undefined) {
      data.push(option);
    } else if ("set" in meaning) {
      flags |= meaning.set;
      clearedFlags &= ~meaning.set;
    } else if ("clear" in meaning) {
      flags &= ~meaning.clear;
      clearedFlags |= meaning.clear;
    } else if ("propagation" in meaning) {
      propagation.push(meaning.propagation);
    } else if ("extension" in meaning) {
      extensions.push(option);
    } else {
      if (recursiveAtime.has(option)) {
        // One field of the kernel's, of which only one value can be set.
        recursiveSet &= ~A.MOUNT_ATTR__ATIME;
        recursiveClear |= A.MOUNT_ATTR__ATIME;
      }
      if ("recursiveSet" in meaning) {
        recursiveSet |= meaning.recursiveSet;
        recursiveClear &= ~meaning.recursiveSet | A.MOUNT_ATTR__ATIME;
      } else {
        recursiveClear |= meaning.recursiveClear;
        recursiveSet &= ~meaning.recursiveClear;
      }
    }
  }
  return { flags, clearedFlags, propagation, recursiveSet, recursiveClear, extensions, data: data.join(",") };
}

/** The options in a file system's mount data: a comma in double quotes is part of a label. */
export function splitData(data: string): readonly string[] {
  return data.match(/(?:[^,"]|"[^"]*"?)+/g) ?? [];
}

/** A file system's mount data with a label for everything in it. mount(8), "context=" */
export function withContext(data: string, label: string | undefined): string {
  if (!label) return data;
  return `${data === "" ? "" : `${data},`}context=${JSON.stringify(label)}`;
}
