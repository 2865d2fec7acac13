/**
 * Finds the resctrl file system and works on a container's group after its creation. Runs in: parent.
 *
 * @see Documentation/arch/x86/resctrl.rst
 * @module
 */

import { RuncError } from "../../errors.ts";
import { FsMagic } from "../../ffi/constants.ts";
import { fsMagic, isThere } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { removeDirectory, writeCgroupFile } from "../file.ts";
import { unescapeField } from "../layout.ts";

/**
 * The usual mount point. The kernel creates this empty directory if the hardware supports resctrl; administrators may
 * mount it elsewhere.
 */
const RESCTRL = "/sys/fs/resctrl";

/** Mount point of the resctrl file system, or undefined if it is not mounted. */
export function resctrlRoot(kernel: Kernel): string | undefined {
  if (!isThere(kernel, RESCTRL)) return undefined;
  if (isResctrl(kernel, RESCTRL)) return RESCTRL;
  return mountPointsOf(Deno.readTextFileSync("/proc/self/mountinfo")).find((path) => isResctrl(kernel, path));
}

/** Whether `path` really is resctrl: mountinfo also lists mounts that are hidden by another mount. */
function isResctrl(kernel: Kernel, path: string): boolean {
  return isThere(kernel, path) && fsMagic(kernel, path) === FsMagic.RESCTRL;
}

/** The mount points of resctrl in the text of mountinfo, including hidden ones. @see proc_pid_mountinfo(5) */
export function mountPointsOf(mountinfo: string): readonly string[] {
  return mountinfo.split("\n").filter((line) => line.split(" - ")[1]?.startsWith("resctrl "))
    .map((line) => unescapeField(line.split(" ")[4] ?? "/"));
}

/** The features of the resctrl file system at `root`. */
export function resctrlFeatures(kernel: Kernel, root: string): { readonly cat: boolean; readonly mba: boolean } {
  return { cat: isThere(kernel, `${root}/info/L3`), mba: isThere(kernel, `${root}/info/MB`) };
}

/** Moves a process into the group at directory `path`. @throws {RuncError} */
export function addToRdtGroup(path: string, pid: number): void {
  try {
    writeCgroupFile(path, "tasks", String(pid));
  } catch (error) {
    throw error instanceof RuncError ? error.within(`unable to add pid ${pid}`) : error;
  }
}

/**
 * Removes the group of a removed container: its own class or, if the class is shared with others, only its monitoring
 * group.
 *
 * @throws {RuncError}
 */
export function removeRdtGroup(
  group: { readonly path: string; readonly monitoringPath?: string; readonly shared: boolean },
) {
  if (!group.shared) removeDirectory(group.path);
  else if (group.monitoringPath !== undefined) removeDirectory(group.monitoringPath);
}
