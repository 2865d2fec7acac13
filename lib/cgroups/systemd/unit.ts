/**
 * A container's unit in systemd: its name, its slice, and the expected path of its cgroup. Pure.
 *
 * @see systemd.slice(5), systemd.scope(5)
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { SystemdPath } from "../path.ts";
import { annotationField, type UnitProperty } from "./annotations.ts";

/** The container's unit. */
export interface SystemdUnit {
  /** `runc-web.scope`, or a slice if the name in the config is one. */
  readonly name: string;
  /** The slice that contains it: `system.slice`. */
  readonly slice: string;
  /** The field of config.json that sets the slice. */
  readonly sliceFrom: string;
  /** The last part of cgroupsPath, for the unit's description. */
  readonly container: string;
}

const SLICE = ".slice";
const PATH_FIELD = "/linux/cgroupsPath";
const SLICE_PROPERTY = "Slice";

/**
 * The unit for a parsed `linux.cgroupsPath`. `rootless`: a unit of the user's own systemd. `properties`: those from the
 * annotations. Their `Slice` overrides the path's.
 */
export function systemdUnit(
  { slice, prefix, name }: SystemdPath,
  rootless: boolean,
  properties: readonly UnitProperty[] = [],
): SystemdUnit {
  const asked = properties.findLast(([key, { signature }]) => key === SLICE_PROPERTY && signature === "s")?.[1].value;
  return {
    name: name.endsWith(SLICE) ? name : `${prefix}-${name}.scope`,
    slice: asked === undefined ? slice || (rootless ? "user.slice" : "system.slice") : String(asked),
    sliceFrom: asked === undefined ? PATH_FIELD : annotationField(SLICE_PROPERTY),
    container: name,
  };
}

/** Whether the unit is a slice. A slice contains other units and no processes. */
export function isSlice({ name }: SystemdUnit): boolean {
  return name.endsWith(SLICE);
}

/** What a unit's cgroup depends on besides the unit. */
export interface UnitHost {
  /** The cgroup of the systemd instance; `/` for the system's. */
  readonly managerCgroup: string;
  /** Any number if {@link dependsOnVersion} is false. */
  readonly systemdVersion: number;
}

/**
 * The cgroup, relative to the hierarchy's root, where systemd is expected to put the unit. systemd reports the actual
 * one only later.
 *
 * @throws {RuncError} `config-invalid` for an invalid slice.
 */
export function unitCgroup(unit: SystemdUnit, { managerCgroup, systemdVersion }: UnitHost): string {
  const below = levelsOf(unit).map((name) => `/${escapeCgroup(name, systemdVersion)}`).join("");
  return managerCgroup === "/" ? below : managerCgroup + below;
}

/** Whether systemd's version decides how {@link unitCgroup} escapes a name. @throws {RuncError} as there. */
export function dependsOnVersion(unit: SystemdUnit): boolean {
  return levelsOf(unit).some((name) => escapeCgroup(name, 0) !== escapeCgroup(name, Infinity));
}

function levelsOf(unit: SystemdUnit): readonly string[] {
  return [...sliceLevels(unit.slice, unit.sliceFrom), unit.name];
}

/**
 * systemd's controller names, including those that it implements with BPF. cgroup_controller_table,
 * src/basic/cgroup-util.c @ v252
 */
const controllers: readonly string[] = [
  "cpu",
  "cpuacct",
  "cpuset",
  "io",
  "blkio",
  "memory",
  "devices",
  "pids",
  "bpf-firewall",
  "bpf-devices",
  "bpf-foreign",
  "bpf-socket-bind",
  "bpf-restrict-network-interfaces",
];

/**
 * Since this version, the first dot of a name ends a possible controller name; before, the last dot did. systemd, pull
 * request 27356
 */
const FIRST_DOT_VERSION = 254;

/**
 * The directory name of a unit. systemd puts an underscore before names that could be a kernel file. cg_escape,
 * src/basic/cgroup-util.c
 */
export function escapeCgroup(unit: string, systemdVersion: number): string {
  const isKernels = /^(?:[_.]|cgroup\.)/.test(unit) || isControllers(unit, systemdVersion);
  return isKernels ? `_${unit}` : unit;
}

function isControllers(unit: string, systemdVersion: number): boolean {
  const [first, last] = [unit.indexOf("."), unit.lastIndexOf(".")];
  if (!controllers.includes(unit.slice(0, first))) return false;
  return first === last || systemdVersion >= FIRST_DOT_VERSION;
}

/**
 * The object path of a unit on the bus. Everything but letters and digits is escaped. bus_label_escape,
 * src/shared/bus-label.c
 */
export function unitObject(unit: string): string {
  const escaped = Array.from(new TextEncoder().encode(unit), (byte, index) => {
    const letter = String.fromCharCode(byte);
    const stays = index === 0 ? /[A-Za-z]/ : /[0-9A-Za-z]/;
    return stays.test(letter) ? letter : `_${byte.toString(16).padStart(2, "0")}`;
  });
  return `/org/freedesktop/systemd1/unit/${escaped.join("")}`;
}

/**
 * The slices from the top down to `slice`. Dashes separate levels: `test-a-b.slice` is in `test-a.slice`, which is in
 * `test.slice`. `-.slice` is the root.
 *
 * `from`: the field that names it.
 *
 * @throws {RuncError} `config-invalid`.
 */
export function sliceLevels(slice: string, from: string = PATH_FIELD): readonly string[] {
  const name = slice.endsWith(SLICE) ? slice.slice(0, -SLICE.length) : "";
  if (name === "-") return [];
  const parts = name.split("-");
  if (name.includes("/") || parts.includes("")) {
    throw new RuncError("config-invalid", `invalid slice name: ${slice}`, {
      field: from,
      hint: 'a slice name ends with ".slice", such as machine.slice; dashes separate levels',
    });
  }
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("-")}${SLICE}`);
}
