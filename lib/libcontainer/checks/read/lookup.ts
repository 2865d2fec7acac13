/**
 * Finds files as the container will see them: in its root file system with its bind mounts, symlinks followed inside.
 * Pure; the view reads the host.
 *
 * Nothing is protected by the result: a runtime resolves the paths again, safely, when it uses them.
 *
 * @module
 */

import type { FileKind } from "../facts.ts";

/** What lstat(2) and readlink(2) say about a path of the host; undefined if there is nothing. */
export type Entry = { readonly kind: FileKind } | { readonly link: string };

/** A mount that hides what the root file system has at its destination. */
export interface ViewedMount {
  /** Absolute and clean, in the container. */
  readonly destination: string;
  /** The path on the host that it shows; absent for a new file system. */
  readonly source?: string;
}

/** The files that a container sees. */
export interface View {
  /** Absolute path of the root file system on the host. */
  readonly rootfs: string;
  /** In the order in which they are made. */
  readonly mounts: readonly ViewedMount[];
  readonly look: (hostPath: string) => Entry | undefined;
}

/** The result of {@link find}. */
export type Found =
  | { readonly state: "found"; readonly kind: FileKind; readonly hostPath: string }
  | { readonly state: "missing" }
  /** The path leads into a file system that only exists in the container. */
  | { readonly state: "unknown" };

/** As many as the kernel follows: MAXSYMLINKS, include/linux/namei.h */
const LINK_LIMIT = 40;

/** Follows `path`, absolute in the container. */
export function find(view: View, path: string): Found {
  let current = "";
  let links = 0;
  let found: Found = { state: "found", kind: "directory", hostPath: view.rootfs };
  const rest = partsOf(path);
  while (rest.length > 0) {
    if (found.state !== "found" || found.kind !== "directory") return { state: "missing" };
    const part = rest.shift()!;
    if (part === "..") {
      current = current.replace(/\/[^/]*$/, "");
      continue;
    }
    const next = `${current}/${part}`;
    const hostPath = hostPathOf(view, next);
    if (hostPath === undefined) return { state: "unknown" };
    const entry = view.look(hostPath) ?? (isMade(view, next) ? { kind: "directory" as const } : undefined);
    if (entry === undefined) return { state: "missing" };
    if ("link" in entry) {
      if (++links > LINK_LIMIT) return { state: "missing" };
      if (entry.link.startsWith("/")) current = "";
      rest.unshift(...partsOf(entry.link));
      continue;
    }
    current = next;
    found = { state: "found", kind: entry.kind, hostPath };
  }
  return found;
}

const partsOf = (path: string) => path.split("/").filter((part) => part !== "" && part !== ".");

/** The path on the host; undefined if it is in a new file system. */
function hostPathOf({ rootfs, mounts }: View, path: string): string | undefined {
  const mount = mounts.findLast(({ destination }) =>
    destination === "/" || path === destination || path.startsWith(`${destination}/`)
  );
  if (mount === undefined) return rootfs + path;
  const below = mount.destination === "/" ? path : path.slice(mount.destination.length);
  return mount.source === undefined ? undefined : `${mount.source === "/" ? "" : mount.source}${below}`;
}

/** Whether the runtime makes `path`, because a mount is at it or below it. */
function isMade({ mounts }: View, path: string): boolean {
  return mounts.some(({ destination }) => destination.startsWith(`${path}/`));
}
