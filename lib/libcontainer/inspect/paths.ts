/**
 * Compares masked and read-only paths. Pure.
 *
 * @module
 */

import type { RuncState } from "../state/runc_state.ts";
import { type InspectFinding, judge } from "./finding.ts";
import { isAbsent, type KernelView, type ProcessView } from "./kernel_view.ts";
import { shownFlags } from "./mount_flags.ts";
import { mountAt } from "./mounts.ts";

/** A finding for each path of linux.maskedPaths and linux.readonlyPaths. */
export function pathFindings(state: RuncState, view: KernelView): readonly InspectFinding[] {
  const { mask_paths, readonly_paths } = state.config;
  const finding = (list: "maskedPaths" | "readonlyPaths", wanted: string, kernelOf: typeof maskOf) =>
  (
    path: string,
    index: number,
  ) => {
    const kernel = view.process && shownAt(view.process, path, kernelOf);
    const isSame = kernel === wanted || kernel === ABSENT;
    return judge({ topic: "paths", name: path, field: `/linux/${list}/${index}`, config: wanted, kernel }, isSame);
  };
  return [
    ...(mask_paths ?? []).map(finding("maskedPaths", "masked", maskOf)),
    ...(readonly_paths ?? []).map(finding("readonlyPaths", "read-only", accessOf)),
  ];
}

const ABSENT = "does not exist";

function shownAt(process: ProcessView, path: string, kernelOf: typeof maskOf): string | undefined {
  const file = process.files[path];
  if (file === undefined || process.mounts === undefined) return undefined;
  if (!("error" in file)) return kernelOf(process, path);
  return isAbsent(file) ? ABSENT : undefined;
}

/** A masked file shows /dev/null, a masked directory an empty read-only tmpfs. */
function maskOf(process: ProcessView, path: string): string {
  const mount = mountAt(process, path);
  const isNull = mount?.root.endsWith("/null") ?? false;
  const isEmpty = mount?.type === "tmpfs" && mount.root === "/" && shownFlags(mount).includes("ro");
  return isNull || isEmpty ? "masked" : "visible";
}

/** Read-only by a mount at the path, or because all around it is. */
function accessOf({ files, mounts = [] }: ProcessView, path: string): string {
  const file = files[path];
  if (file === undefined || "error" in file) return ABSENT;
  const mount = mounts.find(({ id }) => id === file.mountId);
  return mount !== undefined && shownFlags(mount).includes("ro") ? "read-only" : "writable";
}
