/**
 * New file systems: proc, sysfs and other types of mount(2); ./tmpfs.ts has tmpfs. Runs in: init, before pivot_root.
 *
 * @module
 */

import { MountFlag } from "../../../ffi/constants.ts";
import type { Op } from "../../../plan/op.ts";
import { ensureDirectory } from "../root/in_root.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { FileSystemMount, ParsedMount } from "../../config/mounts.ts";
import { mountHere, target } from "./calls.ts";
import { mountPrefix } from "./messages.ts";
import { placeOptions, refuseTarget } from "./place.ts";
import { tmpfsOps } from "./tmpfs.ts";

const { MS_RDONLY } = MountFlag;

/** Mounts a new file system on its place. */
export function fileSystemOps(parsed: FileSystemMount, facts: HostFacts): readonly Op[] {
  switch (parsed.mount.type) {
    case "proc":
    case "sysfs":
      return kernelFsOps(parsed, facts);
    case "tmpfs":
      return tmpfsOps(parsed, facts);
    default:
      return plainOps(parsed, facts);
  }
}

/** procfs and sysfs: only on a real directory, without symlinks in its path (CVE-2019-19921, CVE-2023-27561). */
function kernelFsOps(parsed: FileSystemMount, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  const ordinary = `${mountPrefix(mount)}: filesystem ${
    JSON.stringify(mount.type)
  } must be mounted on ordinary directory`;
  return [
    ...ensureDirectory(destination, target, { arch: facts.arch, noSymlinks: true }, {
      meaning: { ELOOP: ordinary, ENOTDIR: ordinary },
    }),
    ...mountHere(parsed, {
      type: mount.type!,
      source: mount.source ?? mount.type!,
      flags: options.flags,
      data: options.data,
    }),
  ];
}

/** Any other type of mount(2). */
function plainOps(parsed: FileSystemMount, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  return [
    ...ensureDirectory(destination, target, placeOptions(parsed, facts)),
    ...refuseTarget(parsed, facts),
    ...mountHere(parsed, {
      type: mount.type ?? "",
      source: mount.source ?? "",
      flags: isReadOnlyLater(parsed) ? options.flags & ~MS_RDONLY : options.flags,
      data: options.data,
    }),
  ];
}

/** Whether a mount becomes read-only later: the plan first makes mount points in a tmpfs and device nodes in /dev. */
export function isReadOnlyLater({ mount, destination, options }: ParsedMount): boolean {
  return (options.flags & MS_RDONLY) !== 0 && (mount.type === "tmpfs" || destination === "/dev");
}
