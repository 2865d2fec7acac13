/**
 * Intel RDT: a group in the resctrl file system, which limits cache and memory bandwidth. Runs in: parent.
 *
 * @see Documentation/arch/x86/resctrl.rst
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { IntelRdt } from "../../specs/config.ts";
import { isThere } from "../driver.ts";
import { makeDirectory, readIfThere, removeDirectory, writeCgroupFile } from "../file.ts";
import { addToRdtGroup } from "./resctrl.ts";

/** A container's group: its class of service and, with `enableMonitoring`, a monitoring group in it. */
export class RdtGroup {
  readonly #root: string;
  readonly #config: IntelRdt;
  /** The class of service's directory. */
  readonly path: string;
  /** The directory of the container's monitoring group. */
  readonly monitoringPath?: string;
  /** Directories that {@link make} created, topmost first. */
  readonly #made: string[] = [];

  /** `root`: where resctrl is mounted. `id`: the container's. */
  constructor(root: string, id: string, config: IntelRdt) {
    this.#root = root;
    this.#config = config;
    // Validation allows no slash, except "/" itself, which is the root group.
    const name = config.closID || id;
    this.path = name === "/" ? root : `${root}/${name}`;
    if (config.enableMonitoring) this.monitoringPath = `${this.path}/mon_groups/${id}`;
  }

  /**
   * Creates the missing directories, or none. @throws {RuncError} if a class without a schema does not exist: it must be
   * defined elsewhere.
   */
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
    try {
      this.#explained(() => makeDirectory(this.path, this.#made));
      // The kernel creates the directory mon_groups.
      if (this.monitoringPath !== undefined) this.#explained(() => makeDirectory(this.monitoringPath!, this.#made));
    } catch (error) {
      this.undo();
      throw error;
    }
  }

  /** Moves a process into the group. Its future children start there too. */
  join(pid: number): void {
    for (const path of this.monitoringPath === undefined ? [this.path] : [this.path, this.monitoringPath]) {
      this.#explained(() => addToRdtGroup(path, pid));
    }
  }

  /** Sets the limits of the class. */
  limit(): void {
    setSchemata({ root: this.#root, path: this.path }, this.#config);
  }

  /** Removes what {@link make} created. */
  undo(): void {
    for (const directory of this.#made.reverse()) removeDirectory(directory);
  }

  #explained(work: () => void): void {
    explained(this.#root, work);
  }
}

/**
 * Sets the limits of the class of service in directory `path`, in one write. `root`: where resctrl is mounted.
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

/** Adds the reason to an error. The kernel writes it to a file. */
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
