/**
 * Intel RDT: a group of the resctrl file system, which limits cache and memory bandwidth as a cgroup limits the rest. Runs in: parent.
 *
 * @see Documentation/arch/x86/resctrl.rst
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { IntelRdt } from "../../specs/config.ts";
import { isThere } from "../driver.ts";
import { makeCgroup, readIfThere, removeDirectory, writeCgroupFile } from "../file.ts";
import { addToRdtGroup } from "./resctrl.ts";

/** A container's group: its class of service, and with `enableMonitoring` a monitoring group in it. */
export class RdtGroup {
  readonly #root: string;
  readonly #config: IntelRdt;
  /** The directory of the class of service. */
  readonly path: string;
  /** The directory of the container's monitoring group. */
  readonly monitoringPath?: string;
  /** Directories that {@link make} made, topmost first. */
  readonly #made: string[] = [];

  /** `root`: where resctrl is mounted. `id`: the container's. */
  constructor(root: string, id: string, config: IntelRdt) {
    this.#root = root;
    this.#config = config;
    // Without slashes, but for "/" itself, the root group: it has been validated.
    const name = config.closID || id;
    this.path = name === "/" ? root : `${root}/${name}`;
    if (config.enableMonitoring) this.monitoringPath = `${this.path}/mon_groups/${id}`;
  }

  /** Makes what is missing. @throws {RuncError} where a class without a schema is not there: somebody else has to define it. */
  make(): void {
    const lines = schemataOf(this.#config);
    if (this.#config.closID && lines.length === 0 && !isThere(this.path)) {
      throw new RuncError(
        "cgroup-failed",
        "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty): " +
          `stat ${this.path}: no such file or directory`,
        { field: "/linux/intelRdt/closID" },
      );
    }
    this.#explained(() => makeCgroup(this.path, this.#made));
    // Directory mon_groups is the kernel's.
    if (this.monitoringPath !== undefined) this.#explained(() => makeCgroup(this.monitoringPath!, this.#made));
  }

  /** Puts a process into the group; its children are born there. */
  join(pid: number): void {
    for (const path of this.monitoringPath === undefined ? [this.path] : [this.path, this.monitoringPath]) {
      this.#explained(() => addToRdtGroup(path, pid));
    }
  }

  /** Sets what the class may use. */
  limit(): void {
    setSchemata({ root: this.#root, path: this.path }, this.#config);
  }

  /** Removes what {@link make} made. */
  undo(): void {
    for (const directory of this.#made.reverse()) removeDirectory(directory);
  }

  #explained(work: () => void): void {
    explained(this.#root, work);
  }
}

/**
 * Sets what the class of service in directory `path` may use, all in one write. `root`: where resctrl is mounted.
 *
 * @throws {RuncError} with the kernel's reason.
 */
export function setSchemata({ root, path }: { readonly root: string; readonly path: string }, config: IntelRdt): void {
  const lines = schemataOf(config);
  if (lines.length === 0) return;
  explained(root, () => writeCgroupFile(path, "schemata", lines.map((line) => `${line}\n`).join("")));
}

function schemataOf({ l3CacheSchema = "", memBwSchema = "", schemata = [] }: IntelRdt): readonly string[] {
  return [l3CacheSchema, memBwSchema, ...schemata].filter((line) => line !== "");
}

/** The kernel says in a file of its own what it did not like. */
function explained(root: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    const status = readIfThere(`${root}/info`, "last_cmd_status")?.trim();
    const said = status === undefined ? "" : `, last_cmd_status: ${status}`;
    throw new RuncError(error.code, `intelrdt: ${error.message}${said}`, {
      ...error,
      field: "/linux/intelRdt",
      cause: error,
    });
  }
}
