/**
 * linux.sysctl. Runs in: init.
 *
 * It uses the host's procfs: the namespace of a file below /proc/sys is that of the process which opens it, not of the
 * mount.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { Config } from "../../specs/config.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { writeProc } from "./host_writes.ts";

/**
 * The path of a key below /proc/sys. The first `.` or `/` is the separator; the other character stands for a dot in a
 * component. sysctl(8)
 */
export function sysctlPath(key: string): string {
  const first = key.search(/[./]/);
  if (first >= 0 && key[first] === "/") return key;
  return [...key].map((letter) => letter === "." ? "/" : letter === "/" ? "." : letter).join("");
}

/** One step for each key. @throws {RuncError} for a key that would leave its directory. */
export function sysctlSteps(config: Config, arch: Arch): readonly Step[] {
  return Object.entries(config.linux?.sysctl ?? {}).map(([key, value]) => {
    refuseClimbing(key);
    return step(
      `set ${key} to ${value}`,
      `/linux/sysctl/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`,
      writeProc(`sys/${sysctlPath(key)}`, value, arch, { meaning: { "*": `error setting sysctl ${key}` } }),
    );
  });
}

/** Rejects keys such as `net/../kernel/x`: no component of a path below /proc/sys is empty or has only dots. */
function refuseClimbing(key: string): void {
  const parts = sysctlPath(key).split("/");
  if (!parts.some((part) => part === "" || part === "." || part === "..")) return;
  throw new RuncError("config-invalid", `sysctl ${JSON.stringify(key)} is not a name below /proc/sys`, {
    field: `/linux/sysctl/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`,
  });
}
