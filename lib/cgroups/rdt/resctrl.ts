/**
 * The resctrl file system: where it is, and what a container's group there needs after its creation. Runs in: parent.
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

/** The empty directory that the kernel has where there is hardware for it; whoever wants it mounts it there, or elsewhere. */
const RESCTRL = "/sys/fs/resctrl";

/** Mount point of the resctrl file system; undefined where there is none. */
export function resctrlRoot(kernel: Kernel): string | undefined {
  if (!isThere(kernel, RESCTRL)) return undefined;
  if (isResctrl(kernel, RESCTRL)) return RESCTRL;
  return mountPointsOf(Deno.readTextFileSync("/proc/self/mountinfo")).find((path) => isResctrl(kernel, path));
}

/** mountinfo lists what is hidden by another mount, too. */
function isResctrl(kernel: Kernel, path: string): boolean {
  return isThere(kernel, path) && fsMagic(kernel, path) === FsMagic.RESCTRL;
}

/** Where a resctrl is mounted, or was before another mount hid it, by the text of mountinfo. @see proc_pid_mountinfo(5) */
export function mountPointsOf(mountinfo: string): readonly string[] {
  return mountinfo.split("\n").filter((line) => line.split(" - ")[1]?.startsWith("resctrl "))
    .map((line) => unescapeField(line.split(" ")[4] ?? "/"));
}

/** What the resctrl mounted at `root` can limit. */
export function resctrlFeatures(kernel: Kernel, root: string): { readonly cat: boolean; readonly mba: boolean } {
  return { cat: isThere(kernel, `${root}/info/L3`), mba: isThere(kernel, `${root}/info/MB`) };
}

/** Puts a process into the group of the directory `path`. @throws {RuncError} */
export function addToRdtGroup(path: string, pid: number): void {
  try {
    writeCgroupFile(path, "tasks", String(pid));
  } catch (error) {
    throw error instanceof RuncError ? error.within(`unable to add pid ${pid}`) : error;
  }
}

/**
 * Removes the group of a container that is gone: its own one, or from a class that others share its monitoring group alone.
 *
 * @throws {RuncError}
 */
export function removeRdtGroup(
  group: { readonly path: string; readonly monitoringPath?: string; readonly shared: boolean },
) {
  if (!group.shared) removeDirectory(group.path);
  else if (group.monitoringPath !== undefined) removeDirectory(group.monitoringPath);
}
