/**
 * linux.sysctl. Runs in: init.
 *
 * The host's procfs serves: which namespace a file below /proc/sys speaks of depends on who opens it, not on the mount.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { Config } from "../../specs/config.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { writeProc } from "./host_writes.ts";

/** The path below /proc/sys of a key. Whichever of `.` and `/` comes first separates its parts; the other one stands for a dot in a part. sysctl(8) */
export function sysctlPath(key: string): string {
  const first = key.search(/[./]/);
  if (first >= 0 && key[first] === "/") return key;
  return [...key].map((letter) => letter === "." ? "/" : letter === "/" ? "." : letter).join("");
}

/** One step a key. @throws {RuncError} for a key that would leave its directory. */
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

/** `net/../kernel/x` begins with `net` and is not: no part of a path below /proc/sys is empty or made of dots only. */
function refuseClimbing(key: string): void {
  const parts = sysctlPath(key).split("/");
  if (!parts.some((part) => part === "" || part === "." || part === "..")) return;
  throw new RuncError("config-invalid", `sysctl ${JSON.stringify(key)} is not a name below /proc/sys`, {
    field: `/linux/sysctl/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`,
  });
}
