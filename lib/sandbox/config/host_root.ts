/**
 * The root file system `host`: the host's programs read-only, everything else empty and new. Pure.
 *
 * root.path is a directory with a few empty directories, symlinks and small files, the skeleton. It is the same for all
 * sandboxes with the same options, and never written to: the host's directories and the fresh ones are mounted over it.
 *
 * @module
 */

import type { Mount } from "../../specs/config.ts";
import { dirname, resolve } from "../../std/path.ts";
import type { HostEntry } from "./host_layout.ts";
import { freshMount } from "./mounts.ts";
import type { SandboxUser } from "./options.ts";

/** A file of the skeleton. */
export type SkeletonEntry =
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "symlink"; readonly target: string }
  | { readonly path: string; readonly kind: "file"; readonly content: string };

/** The user and group of nobody. */
const NOBODY = 65534;

/** The home directory of users other than root. */
export const HOME = "/home/sandbox";

/** What the root depends on. */
export interface HostRootRequest {
  readonly layout: readonly HostEntry[];
  readonly user: SandboxUser;
  readonly network: "none" | "host";
  /** Bytes of each fresh directory. */
  readonly diskBytes: number;
  /** Where more is mounted. */
  readonly places: readonly { readonly path: string; readonly kind: "directory" | "file" }[];
}

/** A root file system: root.path's content, and the mounts over it. */
export interface HostRoot {
  readonly skeleton: readonly SkeletonEntry[];
  readonly mounts: readonly Mount[];
}

/** Options of all mounts of host directories, with those below them. */
const HOST_OPTIONS = ["rbind", "rprivate", "rro", "rnosuid", "rnodev"];

/** Plans the root. */
export function hostRoot({ layout, user, network, diskBytes, places }: HostRootRequest): HostRoot {
  const isNetworked = network === "host";
  const shown = layout.filter((entry) => entry.kind !== "symlink" || leadsToShown(entry));
  // A symlink out of what is shown, such as /etc/localtime to /var, is shown as the file that it leads to.
  const files = layout.filter((entry) => entry.kind === "symlink" && !leadsToShown(entry));
  const bound = [
    ...shown.filter(({ kind }) => kind !== "symlink"),
    ...files.map((entry): HostEntry => ({ ...entry, kind: "file" })),
    ...(isNetworked ? ["/etc/hosts", "/etc/resolv.conf"] : []).map((path): HostEntry => ({ path, kind: "file" })),
  ];
  // In directories of the host, nothing can be made; in fresh ones, the runtime makes the place.
  const filled = [...layout.map(({ path }) => path), ...freshDirectories];
  const empty = places.filter(({ path }) => !filled.some((other) => path === other || path.startsWith(`${other}/`)));
  const entries: readonly SkeletonEntry[] = [
    ...empty.map(placeFor),
    ...["/dev", "/proc", "/sys", ...freshDirectories].map((path) => ({ path, kind: "directory" as const })),
    ...shown.filter(({ kind }) => kind === "symlink").map(symlinkEntry),
    ...bound.map(placeFor),
    ...accountFiles(user),
    ...(isNetworked ? [] : [{ path: "/etc/hosts", kind: "file" as const, content: LOCAL_HOSTS }]),
  ];
  return {
    skeleton: withParents(entries),
    mounts: [
      ...bound.map(({ path }) => ({ destination: path, type: "none", source: path, options: HOST_OPTIONS })),
      ...freshDirectories.map((path) => freshMount({ path, user, bytes: diskBytes })),
    ],
  };
}

const freshDirectories = ["/tmp", "/var/tmp", "/run", "/root", HOME];

const LOCAL_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";

/** Whether a symlink leads to what is shown, too: /bin to usr/bin. */
function leadsToShown({ path, target = "" }: HostEntry): boolean {
  return /^\/(usr|bin|lib|nix\/store)\//.test(`${resolve(dirname(path), target)}/`);
}

function symlinkEntry({ path, target = "" }: HostEntry): SkeletonEntry {
  return { path, kind: "symlink", target };
}

/** What is mounted over. */
function placeFor({ path, kind }: Pick<HostEntry, "path" | "kind">): SkeletonEntry {
  return kind === "directory" ? { path, kind } : { path, kind: "file", content: "" };
}

/** The files that name users and groups: those of the sandbox, and nothing of the host. */
function accountFiles({ uid, gid }: SandboxUser): readonly SkeletonEntry[] {
  const users = [
    `root:x:0:0::/root:/bin/sh`,
    ...(uid === 0 ? [] : [`sandbox:x:${uid}:${gid}::${HOME}:/bin/sh`]),
    ...(uid === NOBODY ? [] : [`nobody:x:${NOBODY}:${NOBODY}::/nonexistent:/usr/sbin/nologin`]),
  ];
  const others = [["tty", 5], ["nogroup", NOBODY]] as const;
  const groups = [
    "root:x:0:",
    ...(gid === 0 ? [] : [`sandbox:x:${gid}:`]),
    ...others.filter(([, id]) => id !== gid).map(([name, id]) => `${name}:x:${id}:`),
  ];
  const file = (name: string, lines: readonly string[]): SkeletonEntry => ({
    path: `/etc/${name}`,
    kind: "file",
    content: lines.map((line) => `${line}\n`).join(""),
  });
  return [
    file("passwd", users),
    file("group", groups),
    file("nsswitch.conf", ["passwd: files", "group: files", "hosts: files dns"]),
  ];
}

/** The entries, each after the directories above it, which are added. */
function withParents(entries: readonly SkeletonEntry[]): readonly SkeletonEntry[] {
  const all = new Map<string, SkeletonEntry>();
  for (const entry of entries) {
    const above: string[] = [];
    for (let path = dirname(entry.path); path !== "/"; path = dirname(path)) above.unshift(path);
    for (const path of above) if (!all.has(path)) all.set(path, { path, kind: "directory" });
    all.set(entry.path, entry);
  }
  return [...all.values()];
}
