/**
 * Reads the host facts that a plan depends on, each once. Runs in: parent.
 *
 * @module
 */

import { type CgroupLayout, readCgroupLayout, unescapeField, v1Mounts } from "../../cgroups/layout.ts";
import { capabilityNames } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { isThere } from "../../ffi/files.ts";
import { alloc, Kernel } from "../../ffi/kernel.ts";
import { refusedCalls } from "../../ffi/process/refused_calls.ts";
import { type Config, type NamespaceType, namespaceTypes, type Process } from "../../specs/config.ts";
import { type HostFacts, mayHaveToStack } from "./launch_request.ts";
import { type HasRecent, recentFact } from "../recent_facts.ts";
import { hostRoot, isHostIdMap } from "./id_mappings.ts";
import { namespaceKinds } from "./namespaces.ts";

/** What the reader must know already. */
export interface FactsInput extends HasRecent {
  readonly kernel: Kernel;
  readonly layout: CgroupLayout;
  /** The container's cgroups by controller. */
  readonly cgroupPaths: Readonly<Record<string, string>>;
  readonly rootlessCgroups: boolean;
  readonly noPivot: boolean;
  readonly rootfs: string;
  /** A process of the container whose user namespace is to be joined. */
  readonly joinedPid?: number;
  /** The user namespace to join denies setgroups(2). */
  readonly deniesSetgroups?: boolean;
  /** The config's mappings, for the host ids of the container's root. */
  readonly config: Pick<Config, "linux">;
  /** The process to start. */
  readonly process: Process;
}

function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

/** Whether this is a user namespace other than the host's. */
export function inUserNamespace(): boolean {
  return !isHostIdMap(readText("/proc/self/uid_map") ?? "");
}

/** Mount points of whole procfs and sysfs mounts outside of `rootfs`. Format: proc(5), /proc/pid/mountinfo */
function fullProcMounts(rootfs: string): readonly string[] {
  const lines = (readText("/proc/self/mountinfo") ?? "").split("\n");
  return lines.flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root, mountPoint = ""] = before.split(" ");
    const type = after.split(" ")[0];
    const path = unescapeField(mountPoint);
    const inside = path === rootfs || path.startsWith(`${rootfs}/`);
    return root === "/" && (type === "proc" || type === "sysfs") && !inside ? [path] : [];
  });
}

/**
 * Whether setgroups(2) is permanently denied in the user namespace of `pid` and in all created below it.
 * user_namespaces(7)
 */
export function deniesSetgroups(pid: number | "self"): boolean {
  return readText(`/proc/${pid}/setgroups`)?.trim() === "deny";
}

/**
 * Whether the process sets its additional groups in its user namespace. Without root, a process that requests none keeps
 * the current ones, like in runc. Validation has already rejected groups that cannot be set.
 */
function setsGroups(input: FactsInput): boolean {
  const { joinedPid, process: { user } } = input;
  if (Deno.uid() !== 0 && (user.additionalGids ?? []).length === 0) return false;
  if (joinedPid !== undefined) return !deniesSetgroups(joinedPid);
  return !recentFact(input, "setgroups(2) is denied", () => deniesSetgroups("self"));
}

/** Whether an AppArmor profile confines us. Without AppArmor the file is missing or belongs to another module. */
function isConfined(): boolean {
  const label = readText("/proc/thread-self/attr/apparmor/current")?.trim() ?? "unconfined";
  return label !== "unconfined";
}

/** Linux has at most 8,192 processors. CONFIG_NR_CPUS, arch/x86/Kconfig */
const USUAL_SET = 128, LARGEST_SET = 1024;

/** The kernel rejects a set that is smaller than its own. sched_getaffinity(2), EINVAL */
function processorSetBytes(kernel: Kernel): number {
  const result = kernel.call("sched_getaffinity", 0, USUAL_SET, alloc(USUAL_SET));
  return result === -Errno.EINVAL ? LARGEST_SET : USUAL_SET;
}

/** _LINUX_CAPABILITY_VERSION_3, include/uapi/linux/capability.h */
export const CAPABILITY_VERSION = 0x20080522;

/** Whether CAP_SYS_PTRACE is in our effective set. @see capget(2) */
function hasPtrace(kernel: Kernel): boolean {
  const header = alloc(8);
  new DataView(header.buffer).setUint32(0, CAPABILITY_VERSION, true);
  const sets = alloc(24);
  if (kernel.call("capget", header, sets) < 0) return false;
  return ((new DataView(sets.buffer).getUint32(0, true) >> capabilityNames.indexOf("CAP_SYS_PTRACE")) & 1) === 1;
}

/** What depends on the machine and this process alone. */
function readMachine(kernel: Kernel) {
  return {
    lastCapability: Number(readText("/proc/sys/kernel/cap_last_cap") ?? capabilityNames.length - 1),
    kcore: isThere(kernel, "/proc/kcore"),
    inUserNamespace: inUserNamespace(),
    refused: refusedCalls(kernel),
    processorSetBytes: processorSetBytes(kernel),
    mayTrace: Deno.uid() === 0 && hasPtrace(kernel),
  };
}

/** Reads only the facts that the plan needs. */
export function readFacts(input: FactsInput): HostFacts {
  const { kernel, layout, cgroupPaths, config } = input;
  return {
    arch: kernel.arch,
    ...recentFact(input, "machine", () => readMachine(kernel)),
    isConfined: mayHaveToStack(input.process) && isConfined(),
    euid: Deno.uid() ?? 0,
    rootlessCgroups: input.rootlessCgroups,
    setgroupsAllowed: !input.deniesSetgroups && setsGroups(input),
    cgroupMode: layout.mode,
    cgroupMounts: v1Mounts(layout, cgroupPaths).map(({ name, source, data }) => ({ name, source, controllers: data })),
    cgroup2Path: cgroupPaths[""],
    fullProcMounts: input.noPivot ? fullProcMounts(input.rootfs) : [],
    rootUid: hostRoot(config.linux?.uidMappings),
    rootGid: hostRoot(config.linux?.gidMappings),
  };
}

/** The types of namespaces that the kernel supports. */
export function kernelNamespaces(): readonly NamespaceType[] {
  const files = new Set([...Deno.readDirSync("/proc/self/ns")].map(({ name }) => name));
  return namespaceTypes.filter((type) => files.has(namespaceKinds[type].file));
}

/** Whether SELinux is enabled: its file system is mounted, because loading a policy mounts it. selinux(8) */
export function hasSelinux(kernel: Kernel): boolean {
  return isThere(kernel, "/sys/fs/selinux/enforce");
}

/** Whether this host has only cgroup2, for {@link defaultSpec}. */
export function hasOnlyCgroup2(): boolean {
  const kernel = new Kernel();
  try {
    return readCgroupLayout(kernel).mode === "v2";
  } finally {
    kernel.close();
  }
}
