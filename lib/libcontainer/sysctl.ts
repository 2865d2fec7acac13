/**
 * linux.sysctl. Runs in: init.
 *
 * The host's procfs serves: which namespace a file below /proc/sys speaks of depends on who opens it, not on the mount.
 *
 * @module
 */

import { step } from "../plan/build.ts";
import type { Step } from "../plan/op.ts";
import type { Config } from "../specs/config.ts";
import type { Arch } from "../ffi/syscalls.ts";
import { writeProc } from "./host_writes.ts";

/** The path below /proc/sys of a key. With `/` as its separator a key may hold dots in a part. sysctl(8) */
export function sysctlPath(key: string): string {
  const first = key.search(/[./]/);
  return first >= 0 && key[first] === "/" ? key : key.replaceAll(".", "/");
}

/** One step a key. */
export function sysctlSteps(config: Config, arch: Arch): readonly Step[] {
  return Object.entries(config.linux?.sysctl ?? {}).map(([key, value]) =>
    step(
      `set ${key} to ${value}`,
      `/linux/sysctl/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`,
      writeProc(`sys/${sysctlPath(key)}`, value, arch, { meaning: { "*": `error setting sysctl ${key}` } }),
    )
  );
}
