/**
 * Parsers for the files of /proc/PID that `inspect` reads. Pure.
 *
 * @see proc_pid_status(5), proc_pid_mountinfo(5), proc_pid_limits(5)
 * @module
 */

import { unescapeField } from "../../cgroups/layout.ts";
import { capabilityNames, rlimitNames } from "../../ffi/constants.ts";

/** The lines of /proc/PID/status by their names, without the blanks around the values. */
export function parseStatus(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const colon = line.indexOf(":");
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1).trim()]];
    }),
  );
}

/** The words of a value that is a list. */
export function wordsOf(value: string): readonly string[] {
  return value.split(/\s+/).filter((word) => word !== "");
}

/** The names of the bits in a capability set of /proc/PID/status; `CAP_41` for one that is not known here. */
export function parseCapabilities(hex: string): readonly string[] {
  const bits = BigInt(`0x${hex}`);
  return Array.from({ length: 64 }, (_, number) => number)
    .filter((number) => bits >> BigInt(number) & 1n)
    .map((number) => capabilityNames[number] ?? `CAP_${number}`);
}

/** A line of mountinfo. */
export interface MountInfo {
  readonly id: number;
  /** The part of the file system that is shown. */
  readonly root: string;
  /** As the process sees it. */
  readonly mountPoint: string;
  /** Of the mount: `ro`, `nosuid`, … */
  readonly options: readonly string[];
  /** `shared:1`, `master:2`, `unbindable`. */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Of the file system. */
  readonly superOptions: readonly string[];
}

/** Parses /proc/PID/mountinfo. */
export function parseMountinfo(text: string): readonly MountInfo[] {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const fields = line.split(" ");
    // "-" ends a variable number of optional fields.
    const end = fields.indexOf("-", 6);
    return {
      id: Number(fields[0]),
      root: unescapeField(fields[3] ?? ""),
      mountPoint: unescapeField(fields[4] ?? ""),
      options: (fields[5] ?? "").split(","),
      propagation: fields.slice(6, end),
      type: fields[end + 1] ?? "",
      source: unescapeField(fields[end + 2] ?? ""),
      superOptions: (fields[end + 3] ?? "").split(","),
    };
  });
}

/** The titles in /proc/PID/limits, in the order of {@link rlimitNames}. */
const limitTitles: readonly string[] = [
  "Max cpu time",
  "Max file size",
  "Max data size",
  "Max stack size",
  "Max core file size",
  "Max resident set",
  "Max processes",
  "Max open files",
  "Max locked memory",
  "Max address space",
  "Max file locks",
  "Max pending signals",
  "Max msgqueue size",
  "Max nice priority",
  "Max realtime priority",
  "Max realtime timeout",
];

/** The limits in /proc/PID/limits as `soft hard`, by names such as `RLIMIT_NOFILE`. */
export function parseLimits(text: string): Readonly<Record<string, string>> {
  const lines = text.split("\n");
  return Object.fromEntries(limitTitles.flatMap((title, index) => {
    const [soft, hard] = wordsOf(lines.find((line) => line.startsWith(`${title} `))?.slice(title.length) ?? "");
    return soft === undefined || hard === undefined ? [] : [[rlimitNames[index]!, `${soft} ${hard}`]];
  }));
}

/** A map of ids as one line: `0 100000 65536, 65536 1000 1`. */
export function parseIdMap(text: string): string {
  return text.split("\n").map((line) => wordsOf(line).join(" ")).filter((line) => line !== "").join(", ");
}
