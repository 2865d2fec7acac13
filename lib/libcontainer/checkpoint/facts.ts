/**
 * Reads what CRIU's requests depend on beside the options and the state. Runs in: parent.
 *
 * @module
 */

import { readCgroupLayout, v1Mounts } from "../../cgroups/layout.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { isThere } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { cgroupPathsOf, initOf, rootfsOf, type RuncState } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import { type CgroupBind, hasCgroup2Only, type MountFacts } from "./external.ts";

/** MAXSYMLINKS, include/linux/namei.h */
const LINK_LIMIT = 40;

/**
 * `path` below the directory `root` with its symlinks followed, as a path from `root`. An absolute link starts at
 * `root`, and `..` stops there. Names that do not exist stay as they are.
 *
 * This is text, not a protection: something else can be there afterwards. CRIU compares it with the paths of mounts.
 */
export function resolveInRoot(root: string, path: string): string {
  const ahead = path.split("/");
  let done: string[] = [];
  let links = 0;
  for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      done.pop();
      continue;
    }
    const link = links < LINK_LIMIT ? linkAt([root, ...done, name].join("/")) : undefined;
    if (link === undefined) {
      done.push(name);
      continue;
    }
    links++;
    if (link.startsWith("/")) done = [];
    ahead.unshift(...link.split("/"));
  }
  return `/${done.join("/")}`;
}

function linkAt(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch {
    // Not a link, or it does not exist.
    return undefined;
  }
}

/** For {@link MountFacts}. */
export function readMountFacts(kernel: Kernel, state: RuncState, { notify }: StateDirectory): MountFacts {
  return {
    notifyDirectory: isThere(kernel, notify) ? notify : undefined,
    cgroupBinds: hasCgroup2Only(state) ? [] : readCgroupBinds(kernel, state),
    resolve: (path) => resolveInRoot(rootfsOf(state), path),
  };
}

function readCgroupBinds(kernel: Kernel, state: RuncState): readonly CgroupBind[] {
  return v1Mounts(readCgroupLayout(kernel), cgroupPathsOf(state)).map(({ name, source }) => ({ name, source }));
}

/** The masked paths that are files in the running container. Directories have a tmpfs, which CRIU saves. */
export function readMaskedFiles(state: RuncState): readonly string[] {
  const root = `/proc/${initOf(state).pid}/root`;
  return (state.config.mask_paths ?? []).flatMap((path) => {
    const place = resolveInRoot(root, path);
    return isFile(`${root}${place}`) ? [place] : [];
  });
}

/** Whether something other than a directory is at `path`. */
function isFile(path: string): boolean {
  try {
    return !Deno.lstatSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Whether this process is root. */
export function isRoot(): boolean {
  return Deno.uid() === 0;
}

/** The inode of a namespace's file. @throws {RuncError} with the path and the errno. */
export function inodeOf(path: string): number {
  return withFileErrors(() => Deno.statSync(path)).ino!;
}
