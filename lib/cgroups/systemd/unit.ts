/**
 * A container's unit in systemd: its name, its slice, and where that will put its cgroup. Pure.
 *
 * @see systemd.slice(5), systemd.scope(5)
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { SystemdPath } from "../path.ts";
import { annotationField, type UnitProperty } from "./annotations.ts";

/** The container's unit. */
export interface SystemdUnit {
  /** `runc-web.scope`; a slice where the config's name is one. */
  readonly name: string;
  /** What it is in: `system.slice`. */
  readonly slice: string;
  /** The field of config.json that says so. */
  readonly sliceFrom: string;
  /** The last part of cgroupsPath, for people who list units. */
  readonly container: string;
}

const SLICE = ".slice";
const PATH_FIELD = "/linux/cgroupsPath";
const SLICE_PROPERTY = "Slice";

/**
 * The unit for a `linux.cgroupsPath` taken apart. `rootless`: of the user's own systemd. `properties`: those of the annotations; `Slice` among
 * them counts more than the path.
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

/** Whether it is a slice, which holds other units and no processes. */
export function isSlice({ name }: SystemdUnit): boolean {
  return name.endsWith(SLICE);
}

/** What a unit's cgroup depends on beside the unit. */
export interface UnitHost {
  /** The cgroup of the systemd which runs it; `/` for the system's. */
  readonly managerCgroup: string;
  /** Asked for where it matters. */
  readonly systemdVersion: () => number;
}

/**
 * The cgroup that systemd is expected to put the unit into, below the hierarchy's top. What it has done it says only later.
 *
 * @throws {RuncError} `config-invalid` for a slice that cannot be.
 */
export function unitCgroup(unit: SystemdUnit, { managerCgroup, systemdVersion }: UnitHost): string {
  const names = [...sliceLevels(unit.slice, unit.sliceFrom), unit.name];
  const below = names.map((name) => `/${escapeCgroup(name, systemdVersion)}`).join("");
  return managerCgroup === "/" ? below : managerCgroup + below;
}

/** Controllers as systemd knows them, with those that it does by BPF. cgroup_controller_table, src/basic/cgroup-util.c @ v252 */
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

/** From here on the first dot of a name ends what may be a controller's, before it was the last. systemd, pull request 27356 */
const FIRST_DOT_VERSION = 254;

/** The directory of a unit: names that the kernel could have a file of get an underscore before them. cg_escape, src/basic/cgroup-util.c */
export function escapeCgroup(unit: string, systemdVersion: () => number): string {
  const isKernels = /^(?:[_.]|cgroup\.)/.test(unit) || isControllers(unit, systemdVersion);
  return isKernels ? `_${unit}` : unit;
}

function isControllers(unit: string, systemdVersion: () => number): boolean {
  const [first, last] = [unit.indexOf("."), unit.lastIndexOf(".")];
  if (!controllers.includes(unit.slice(0, first))) return false;
  return first === last || systemdVersion() >= FIRST_DOT_VERSION;
}

/** The object that a unit is on the bus. Everything but letters and digits is escaped. bus_label_escape, src/shared/bus-label.c */
export function unitObject(unit: string): string {
  const escaped = Array.from(new TextEncoder().encode(unit), (byte, index) => {
    const letter = String.fromCharCode(byte);
    const stays = index === 0 ? /[A-Za-z]/ : /[0-9A-Za-z]/;
    return stays.test(letter) ? letter : `_${byte.toString(16).padStart(2, "0")}`;
  });
  return `/org/freedesktop/systemd1/unit/${escaped.join("")}`;
}

/**
 * The slices down to a slice: dashes are levels, so `test-a-b.slice` is in `test-a.slice`, which is in `test.slice`; `-.slice` is the top.
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
      hint: 'a slice is a name that ends with ".slice", such as machine.slice; dashes part its levels',
    });
  }
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("-")}${SLICE}`);
}
