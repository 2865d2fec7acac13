/**
 * The cgroups below a container's that `exec --cgroup` names.
 *
 * @module
 */

import { resolve } from "@std/path";
import { RuncError } from "../errors.ts";
import { Errno, errnoText } from "../ffi/errno.ts";
import { isThere } from "./driver.ts";

/** Paths below the container's cgroup by controller; "" alone stands for every hierarchy. Empty: the container's own. */
export type SubCgroups = Readonly<Record<string, string>>;

/**
 * `paths`, a container's cgroups by controller, with `sub` below them. Pure.
 *
 * A controller that is not named follows one that shares its directory: a process has one cgroup in a hierarchy.
 *
 * @throws {RuncError} `usage` for a controller that the container does not have, and for a path that leads out of its cgroup.
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
 * Does nothing where all of `paths` are there: said before `pid` goes in by itself, when there is somebody to tell.
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
    hint: "exec --cgroup enters cgroups that exist, it makes none",
  });
}

function below(base: string, path: string): string {
  const target = resolve(`${base}/${path}`);
  if (target !== base && !target.startsWith(`${base}/`)) {
    throw new RuncError("usage", `bad sub cgroup path: ${path}`);
  }
  return target;
}
