/**
 * Facts of the host that do not depend on a config. Runs in: parent.
 *
 * @module
 */

import { type CgroupLayout, directoryOf, type Hierarchy } from "../../../cgroups/layout.ts";
import { dirname, resolve } from "../../../std/path.ts";
import { rlimitNames } from "../../../ffi/constants.ts";
import { isThere } from "../../../ffi/files.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import { Libseccomp, UNKNOWN_SYSCALL } from "../../../ffi/libraries/libseccomp.ts";
import { getRlimit } from "../../../ffi/process/process.ts";
import { supportsSeccompFlags } from "../../../ffi/process/seccomp.ts";
import { syscallNumber } from "../../../ffi/syscalls.ts";
import type { CheckFacts } from "../facts.ts";
import { fileFacts, namesIn, programIn, readText } from "./host_files.ts";
import { capabilitiesOf, subordinateRanges, userName } from "./parse_host.ts";

/** Directories of programs for a caller without PATH. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The caller's ids, capabilities and hard limits. */
export function callerFacts(kernel: Kernel): CheckFacts["caller"] {
  const limits = rlimitNames.map((name, number) => [name, getRlimit(kernel, 0, number).hard] as const);
  return {
    uid: Deno.uid() ?? 0,
    gid: Deno.gid() ?? 0,
    capabilities: capabilitiesOf(readText("/proc/self/status") ?? "", "CapPrm"),
    hardLimits: Object.fromEntries(limits),
  };
}

/**
 * The controllers that a new cgroup of this caller can have: on v2 without root, those of the cgroup that the
 * container's would be in.
 */
export function controllersOf({ hierarchies }: CgroupLayout, isRoot: boolean): readonly string[] {
  return hierarchies.flatMap((hierarchy) => {
    if (hierarchy.controllers.length > 0) return hierarchy.controllers.filter((name) => !name.startsWith("name="));
    const directory = isRoot ? hierarchy.mountPoint : parentOf(hierarchy);
    return readText(`${directory}/cgroup.controllers`)?.trim().split(" ").filter((name) => name !== "") ?? [];
  });
}

/** On v2 the container's cgroup is beside the caller's, which has processes. */
export function parentOf(hierarchy: Hierarchy): string {
  return directoryOf(hierarchy, dirname(resolve("/", hierarchy.ownPath)));
}

/** Whether the host limits swap. The root cgroup of v2 has no file that says so. */
export function accountsSwap(kernel: Kernel, layout: CgroupLayout): boolean {
  const memory = layout.hierarchies.find(({ controllers }) => controllers.includes("memory"));
  if (memory !== undefined) return isThere(kernel, `${memory.mountPoint}/memory.memsw.limit_in_bytes`);
  const [unified] = layout.hierarchies;
  if (unified === undefined || unified.ownPath === "/") return true;
  const own = directoryOf(unified, unified.ownPath);
  // Without the controller in this cgroup, nothing is known either.
  return !isThere(kernel, `${own}/memory.max`) || isThere(kernel, `${own}/memory.swap.max`);
}

/** AppArmor, and the names of its loaded profiles. Lines: `docker-default (enforce)`. */
export function appArmorFacts(): CheckFacts["appArmor"] {
  const isEnabled = readText("/sys/module/apparmor/parameters/enabled")?.trim() === "Y";
  const text = readText("/sys/kernel/security/apparmor/profiles");
  return { isEnabled, profiles: text?.split("\n").map((line) => line.replace(/ \([^)]*\)$/, "")) };
}

/** libseccomp and the kernel's seccomp. */
export function seccompFacts(kernel: Kernel): CheckFacts["seccomp"] & { readonly version?: string } {
  let library: Libseccomp | undefined;
  try {
    library = new Libseccomp(kernel);
  } catch {
    // It is not installed.
  }
  return {
    hasLibrary: library !== undefined,
    version: library?.version,
    knowsCall: (name) =>
      library === undefined || name.includes("\0") || library.resolve(name, library.nativeArch) !== UNKNOWN_SYSCALL,
    actions: readText("/proc/sys/kernel/seccomp/actions_avail")?.trim().split(" "),
    waitsKillable: supportsSeccompFlags(kernel, ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
  };
}

/** The ids that the caller may map, and the programs that are missing for it. */
export function subordinateFacts(kernel: Kernel, path: string): CheckFacts["subordinate"] {
  const uid = Deno.uid() ?? 0;
  const user = { uid, name: userName(readText("/etc/passwd") ?? "", uid) };
  const rangesIn = (file: string) => {
    const text = readText(file);
    if (text !== undefined) return subordinateRanges(text, user);
    return fileFacts(file) === undefined ? [] : undefined;
  };
  return {
    uid: rangesIn("/etc/subuid"),
    gid: rangesIn("/etc/subgid"),
    missingTools: ["newuidmap", "newgidmap"].filter((name) => programIn(kernel, path, name) === undefined),
  };
}

/** LANDLOCK_CREATE_RULESET_VERSION, include/uapi/linux/landlock.h */
const RULESET_VERSION = 1;

/** The version of Landlock; 0 if it is missing or off. @see landlock_create_ruleset(2) */
export function landlockVersion(kernel: Kernel): number {
  const number = syscallNumber("landlock_create_ruleset", kernel.arch);
  return Math.max(0, kernel.call("syscall", number, null, 0, RULESET_VERSION));
}

/** Whether binfmt_misc runs programs of other kinds. */
export function hasEmulators(): boolean {
  return namesIn("/proc/sys/fs/binfmt_misc").some((name) => name !== "register" && name !== "status");
}
