/**
 * The mounts that every sandbox has, and those that its options ask for. Pure.
 *
 * @module
 */

import type { Mount } from "../../specs/config.ts";
import { resolve } from "../../std/path.ts";
import type { SandboxMount, SandboxUser } from "./options.ts";
import { badOption } from "./units.ts";

/** A tmpfs of the user's own. Only /tmp and /var/tmp are for everybody. */
export function freshMount({ path, user, bytes }: { path: string; user: SandboxUser; bytes: number }): Mount {
  const isShared = path === "/tmp" || path === "/var/tmp";
  const isRoots = path === "/root";
  const mode = isShared ? "1777" : isRoots ? "0700" : "0755";
  const owner = isShared || isRoots ? [] : [`uid=${user.uid}`, `gid=${user.gid}`];
  const options = ["nosuid", "nodev", `mode=${mode}`, `size=${bytes}`, ...owner];
  return { destination: path, type: "tmpfs", source: "tmpfs", options };
}

/**
 * /proc and a minimal /dev. There is no /sys: it shows the host's hardware. `hasTtyGroup`: the group 5, which terminals
 * belong to, exists in the sandbox.
 */
export function systemMounts({ hasTtyGroup }: { hasTtyGroup: boolean }): readonly Mount[] {
  const terminals = [
    "nosuid",
    "noexec",
    "newinstance",
    "ptmxmode=0666",
    "mode=0620",
    ...(hasTtyGroup ? ["gid=5"] : []),
  ];
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "noexec", "strictatime", "mode=755", "size=65536"],
    },
    { destination: "/dev/pts", type: "devpts", source: "devpts", options: terminals },
    {
      destination: "/dev/shm",
      type: "tmpfs",
      source: "shm",
      options: ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
    },
  ];
}

/** Where nothing may be mounted: the protections of these directories need the real ones. */
const reserved = ["/proc", "/sys", "/dev"];

/** The mount for one of the option `mounts`. @throws {RuncError} `usage` */
export function userMount({ source, target, readonly = true }: SandboxMount): Mount {
  const isClean = (path: string) => path.startsWith("/") && resolve(path) === path && !path.includes("\0");
  if (!isClean(source)) throw badOption("mounts", source, "an absolute path without . and ..");
  if (!isClean(target) || target === "/") {
    throw badOption("mounts", target, "an absolute path without . and .., and not /");
  }
  if (reserved.some((path) => target === path || target.startsWith(`${path}/`))) {
    throw badOption("mounts", target, `a place outside of ${reserved.join(", ")}`);
  }
  const options = ["rbind", "rprivate", "rnosuid", "rnodev", ...(readonly ? ["rro"] : [])];
  return { destination: target, type: "none", source, options };
}
