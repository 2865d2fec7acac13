/**
 * The cgroups below the container's own, as named by `exec --cgroup`.
 *
 * @module
 */

import { resolve } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import { Errno, errnoText } from "../ffi/errno.ts";
import { isThere } from "./driver.ts";

/**
 * Paths below the container's cgroup, by controller. The only key "" applies to every hierarchy. Empty: the container's
 * own cgroup.
 */
export type SubCgroups = Readonly<Record<string, string>>;

/**
 * Appends `sub` to `paths`, a container's cgroups by controller. Pure.
 *
 * A controller that is not named follows one that shares its directory: a process has one cgroup per hierarchy.
 *
 * @throws {RuncError} `usage` for a controller that the container does not have, and for a path that leads out of its
 * cgroup.
 */
export function subCgroupPaths(paths: Readonly<Record<string, string>>, sub: SubCgroups): Record<string, string> {
  const { "": everywhere } = sub;
  const named = everywhere === undefined
    ? sub
    : Object.fromEntries(Object.keys(paths).map((controller) => [controller, everywhere]));
  const moved = new Map<string, string>();
  for (const [controller, path] of Object.entries(named)) {
    const base = paths[controller];
    if (base === undefined) throw new RuncError("usage", `unknown controller ${controller} in SubCgroupPaths`);
    const target = below(base, path);
    const other = moved.get(base) ?? target;
    if (other !== target) {
      throw new RuncError(
        "usage",
        `controller ${controller} shares its hierarchy with another: ${target} and ${other}`,
      );
    }
    moved.set(base, target);
  }
  return Object.fromEntries(
    Object.entries(paths).map(([controller, base]) => [controller, moved.get(base) ?? base]),
  );
}

/**
 * Checks that all of `paths` exist, before `pid` moves itself in and cannot report an error any more.
 *
 * @throws {RuncError} `cgroup-failed`, ENOENT.
 */
export function requireCgroups(paths: Readonly<Record<string, string>>, pid: number): void {
  const missing = Object.values(paths).find((path) => !isThere(path));
  if (missing === undefined) return;
  const reason = `open ${missing}/cgroup.procs: ${errnoText(Errno.ENOENT)}`;
  throw new RuncError("cgroup-failed", `error adding pid ${pid} to cgroups: ${reason}`, {
    errno: Errno.ENOENT,
    errnoName: "ENOENT",
    hint: "create the cgroup first: exec --cgroup only joins existing cgroups",
  });
}

function below(base: string, path: string): string {
  const target = resolve(`${base}/${path}`);
  if (target !== base && !target.startsWith(`${base}/`)) {
    throw new RuncError("usage", `bad sub cgroup path: ${path}`);
  }
  return target;
}
