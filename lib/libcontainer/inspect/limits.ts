/**
 * Compares the limits that were written to the cgroup with those in force. Pure.
 *
 * @module
 */

import { limitsV1, limitsV2 } from "../../cgroups/limits/limits.ts";
import { limitFields, type LimitWrite } from "../../cgroups/limits/limit.ts";
import { parseIdList } from "../../cgroups/stats/files.ts";
import type { Resources } from "../../specs/config.ts";
import { limitsOf } from "../state/limits_state.ts";
import type { RuncState } from "../state/runc_state.ts";
import { compare, type Comparison, type InspectFinding, judge, notes } from "./finding.ts";
import type { CgroupView, KernelView } from "./kernel_view.ts";

/** A file of a cgroup. */
export interface LimitFile {
  readonly controller: string;
  readonly file: string;
}

/** Whether the container's cgroups are on cgroup v2 alone. */
export function isV2(paths: Readonly<Record<string, string>>): boolean {
  const controllers = Object.keys(paths);
  return controllers.length > 0 && controllers.every((controller) => controller === "");
}

/** What people ask for even if the config does not limit it. */
const usualV1: readonly LimitFile[] = [
  { controller: "memory", file: "memory.limit_in_bytes" },
  { controller: "cpu", file: "cpu.shares" },
  { controller: "cpu", file: "cpu.cfs_quota_us" },
  { controller: "cpu", file: "cpu.cfs_period_us" },
  { controller: "cpuset", file: "cpuset.cpus" },
  { controller: "pids", file: "pids.max" },
];
const usualV2: readonly LimitFile[] = [
  { controller: "memory", file: "memory.max" },
  { controller: "memory", file: "memory.swap.max" },
  { controller: "cpu", file: "cpu.weight" },
  { controller: "cpu", file: "cpu.max" },
  { controller: "cpuset", file: "cpuset.cpus.effective" },
  { controller: "pids", file: "pids.max" },
];

/** The writes that set the container's limits, as they are in state.json. */
export function limitWrites(state: RuncState, paths: Readonly<Record<string, string>>): readonly LimitWrite[] {
  const limits = withoutZeroes(state, limitsOf(state));
  // The facts decide only the order, and whether an unlimited memory limit is written to the swap limit, too.
  if (!isV2(paths)) return limitsV1(limits, { currentLimit: 0n, swapAccounting: false });
  const unified = Object.entries(limits.unified ?? {}).flatMap(([file, value]) =>
    value.split("\n").filter((line) => line !== "").map((line) => ({
      controller: file.split(".")[0] as LimitWrite["controller"],
      file,
      value: line,
    }))
  );
  return [...limitsV2(limits), ...unified];
}

/** runc 1.1 writes 0 for a limit of pids that is not set, as for all limits. For 1.5, which leaves those out, it is one. */
function withoutZeroes({ config }: RuncState, limits: Resources): Resources {
  const isOld = config.cgroups?.memory === 0;
  return isOld && limits.pids?.limit === 0 ? { ...limits, pids: {} } : limits;
}

/** The files to read for {@link limitFindings}. */
export function limitFilesToRead(state: RuncState, paths: Readonly<Record<string, string>>): readonly LimitFile[] {
  const written = limitWrites(state, paths).flatMap(({ controller, file, otherwise }) => [
    { controller, file },
    ...(otherwise === undefined ? [] : [{ controller, file: otherwise.file }]),
  ]);
  return [...written, ...(isV2(paths) ? usualV2 : usualV1)];
}

/** Files whose values limit all cgroups below, too: the smallest one on the way up is in force. */
export const hierarchicalFiles: readonly string[] = [
  "memory.limit_in_bytes",
  "memory.max",
  "memory.swap.max",
  "pids.max",
];

/** A finding for each limit that was written, then one for each usual limit that was not. */
export function limitFindings(state: RuncState, { cgroups }: KernelView): readonly InspectFinding[] {
  const { paths } = cgroups;
  const writes = limitWrites(state, paths);
  const written = writes.map((write) => limitFinding(write, cgroups));
  const names = new Set(written.map(({ name }) => name));
  const usual = (isV2(paths) ? usualV2 : usualV1).filter(({ file }) => !names.has(file)).flatMap((place) => {
    const content = cgroups.files[keyOf(place)];
    if (content === undefined) return [];
    return [
      compare({
        topic: "limits",
        name: place.file,
        kernel: content.trim(),
        note: ceilingNote(place, content, cgroups),
      }),
    ];
  });
  return [...written, ...usual];
}

/** The place of a file's content in {@link CgroupView.files}. */
export function keyOf({ controller, file }: LimitFile): string {
  return `${controller}/${file}`;
}

function limitFinding(write: LimitWrite, cgroups: CgroupView): InspectFinding {
  const { controller } = write;
  const instead = write.otherwise !== undefined && cgroups.files[keyOf(write)] === undefined;
  const { file, value } = instead ? write.otherwise! : write;
  const content = cgroups.files[`${controller}/${file}`];
  const common: Comparison = { topic: "limits", name: file, field: fieldOf(controller, file), config: value };
  if (content === undefined) return compare({ ...common, note: whyMissing(controller, cgroups.paths) });
  const kernel = shownValue(file, value, content);
  const isSame = isInForce(file, value, kernel);
  const note = notes(isSame && roundingNote(value, kernel), ceilingNote({ controller, file }, content, cgroups));
  return judge({ ...common, kernel: kernel === "" ? "no entry" : kernel, note }, isSame);
}

function whyMissing(controller: string, paths: Readonly<Record<string, string>>): string {
  const hasCgroup = paths[isV2(paths) ? "" : controller] !== undefined;
  return hasCgroup ? "the kernel has no such file for this cgroup" : `the container has no cgroup of ${controller}`;
}

/** The controller of a file in `unified` may be one that has no limits elsewhere. */
function fieldOf(controller: LimitWrite["controller"], file: string): string {
  return limitFields[controller] ?? `/linux/resources/unified/${file}`;
}

/** The key of an entry, in files with several: a device's number, or a name. */
function entryKey(file: string, value: string): string | undefined {
  if (!/^(blkio\.|io\.|rdma\.|net_prio\.ifpriomap)/.test(file)) return undefined;
  const space = value.indexOf(" ");
  return space < 0 ? undefined : value.slice(0, space + 1);
}

/** The part of a file that belongs to a written value. */
function shownValue(file: string, value: string, content: string): string {
  if (file === "memory.oom_control") return /^oom_kill_disable (\d)/m.exec(content)?.[1] ?? "";
  const key = entryKey(file, value);
  const lines = content.split("\n");
  if (key !== undefined) return lines.find((line) => line.startsWith(key))?.trim() ?? "";
  // Files of weights have the general one as `default`, before those of devices.
  return /weight$/.test(file) ? lines[0]!.replace(/^default /, "").trim() : content.trim();
}

function isInForce(file: string, wanted: string, shown: string): boolean {
  if (wanted === shown) return true;
  if (file.startsWith("cpuset.")) return sameList(wanted, shown);
  const key = entryKey(file, wanted);
  if (key !== undefined) {
    const words = shown.split(" ");
    // A rate of 0 removes the entry.
    return shown === "" ? wanted === `${key}0` : wanted.split(" ").every((word) => words.includes(word));
  }
  if (!/^(memory|hugetlb)\./.test(file)) return false;
  const [one, other] = [bytesIn(wanted), bytesIn(shown)];
  if (one === undefined || other === undefined) return false;
  // The kernel keeps whole pages, of at most 64 KiB. On v1, its largest number means no limit.
  return one < 0n ? other >= 1n << 62n : other <= one && one - other < 1n << 16n;
}

function sameList(one: string, other: string): boolean {
  const members = (list: string) => parseIdList(list).toSorted((a, b) => a - b).join();
  return members(one) === members(other);
}

function bytesIn(text: string): bigint | undefined {
  return /^-?\d+$/.test(text) ? BigInt(text) : undefined;
}

function roundingNote(wanted: string, shown: string): string | undefined {
  const [one, other] = [bytesIn(wanted), bytesIn(shown)];
  return one !== undefined && other !== undefined && one > other ? "rounded down to whole pages" : undefined;
}

/** A lower limit of a cgroup above. */
function ceilingNote(place: LimitFile, content: string, { ceilings }: CgroupView): string | undefined {
  const ceiling = ceilings[keyOf(place)];
  if (ceiling === undefined || !isLower(ceiling.value, content.trim())) return undefined;
  return `${ceiling.directory} allows only ${ceiling.value}`;
}

/** Whether the first limit is lower than the second. `max` is none. */
export function isLower(one: string, other: string): boolean {
  const value = bytesIn(one);
  if (value === undefined) return false;
  const than = bytesIn(other);
  return than === undefined ? other === "max" : value < than;
}
