/**
 * A container's unit in systemd: its name, its slice, and where that puts its cgroup. Pure.
 *
 * @see systemd.slice(5), systemd.scope(5)
 * @module
 */

import { RuncError } from "../errors.ts";
import type { SystemdPath } from "./path.ts";

/** The container's unit. */
export interface SystemdUnit {
  /** `runc-web.scope`; a slice where the config's name is one. */
  readonly name: string;
  /** What it is in: `system.slice`. */
  readonly slice: string;
  /** The last part of cgroupsPath, for people who list units. */
  readonly container: string;
}

const SLICE = ".slice";

/** The unit for a `linux.cgroupsPath` taken apart. `rootless`: of the user's own systemd. */
export function systemdUnit({ slice, prefix, name }: SystemdPath, rootless: boolean): SystemdUnit {
  return {
    name: name.endsWith(SLICE) ? name : `${prefix}-${name}.scope`,
    slice: slice || (rootless ? "user.slice" : "system.slice"),
    container: name,
  };
}

/** Whether it is a slice, which holds other units and no processes. */
export function isSlice({ name }: SystemdUnit): boolean {
  return name.endsWith(SLICE);
}

/**
 * The unit's cgroup below the hierarchy's top. `managerCgroup`: that of the systemd which runs it; `/` for the system's.
 *
 * @throws {RuncError} `config-invalid` for a slice that cannot be.
 */
export function unitCgroup(unit: SystemdUnit, managerCgroup: string): string {
  return [managerCgroup, expandSlice(unit.slice), `/${unit.name}`].map((part) => part === "/" ? "" : part).join("");
}

/**
 * The cgroup of a slice: dashes are levels, so `test-a-b.slice` is `/test.slice/test-a.slice/test-a-b.slice`, and `-.slice` is `/`.
 *
 * @throws {RuncError} `config-invalid`.
 */
export function expandSlice(slice: string): string {
  const name = slice.endsWith(SLICE) ? slice.slice(0, -SLICE.length) : "";
  if (name === "-") return "/";
  const parts = name.split("-");
  if (name.includes("/") || parts.includes("")) {
    throw new RuncError("config-invalid", `invalid slice name: ${slice}`, {
      field: "/linux/cgroupsPath",
      hint: 'a slice is a name that ends with ".slice", such as machine.slice; dashes part its levels',
    });
  }
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("-")}${SLICE}`).join("");
}
