/**
 * Reads the facts that a config is checked against. Most are read at their first use. Runs in: parent.
 *
 * @module
 */

import { dirname } from "../../../std/path.ts";
import { cgroupPaths } from "../../../cgroups/path.ts";
import { processesIn } from "../../../cgroups/processes.ts";
import { openFlag } from "../../../ffi/constants.ts";
import { Errno, errnoText } from "../../../ffi/errno.ts";
import { Fd } from "../../../ffi/fd.ts";
import { isThere, isWritable } from "../../../ffi/files.ts";
import { cString, type Kernel } from "../../../ffi/kernel.ts";
import { type Config, namespaceTypes } from "../../../specs/config.ts";
import { rootOwner } from "../../config/id_mappings.ts";
import type { ParsedMount } from "../../config/mounts.ts";
import { makesNamespace, namespaceKinds } from "../../config/namespaces.ts";
import type { CheckFacts } from "../facts.ts";
import { idmapErrno, unshareErrno } from "./child_probe.ts";
import {
  accountsSwap,
  appArmorFacts,
  callerFacts,
  controllersOf,
  DEFAULT_PATH,
  hasEmulators,
  landlockVersion,
  seccompFacts,
  subordinateFacts,
} from "./host_facts.ts";
import { once } from "../../../once.ts";
import { fileFacts, namesIn, readText } from "./host_files.ts";
import {
  fileSystemsOf,
  hugepageSize,
  interfacesOf,
  isOfInterface,
  mountLines,
  numbersOf,
  showsAllOfProc,
  sysctlPath,
} from "./parse_host.ts";
import { readValidationFacts, type ValidationInput } from "./validation_facts.ts";
import { findProgram, targetOf, viewOf } from "./view.ts";

/** What the reader must know already. */
export interface FactsInput extends ValidationInput {
  /** Absolute. */
  readonly bundle: string;
  /** The caller's environment. */
  readonly environment: (name: string) => string | undefined;
}

/** Include/uapi/linux/nsfs.h */
const NS_GET_NSTYPE = 0xb703;

function namespaceAt(kernel: Kernel, path: string): ReturnType<CheckFacts["namespaceAt"]> {
  // The parser has complained about it already.
  if (path.includes("\0")) return { error: errnoText(Errno.EINVAL) };
  const flags = openFlag(kernel.arch);
  const number = kernel.retry("open", cString(path), flags.O_CLOEXEC | flags.O_NONBLOCK | flags.O_NOCTTY);
  if (number < 0) return { error: errnoText(-number) };
  using file = new Fd(kernel, number, path);
  const flag = kernel.call("ioctl", file.number, NS_GET_NSTYPE, 0);
  return namespaceTypes.find((type) => namespaceKinds[type].flag === flag) ?? "other";
}

/** The directories that would have to be writable for the container's cgroups. */
function closedCgroups(kernel: Kernel, paths: readonly string[]): readonly string[] {
  const nearest = (path: string): string => path === "/" || isThere(kernel, path) ? path : nearest(dirname(path));
  return [...new Set(paths.map(nearest))].filter((path) => !isWritable(kernel, path));
}

function cgroupFacts(config: Config, { kernel, layout, systemdCgroup }: FactsInput): CheckFacts["cgroup"] {
  const swap = accountsSwap(kernel, layout);
  const cgroupsPath = config.linux?.cgroupsPath ?? "";
  if (systemdCgroup) return { processes: 0, closed: [], swap };
  try {
    const paths = Object.values(cgroupPaths(layout, { id: "container", cgroupsPath }));
    const counts = cgroupsPath === "" ? [] : paths.map((path) => isThere(kernel, path) ? processesIn(path).length : 0);
    return { processes: Math.max(0, ...counts), closed: closedCgroups(kernel, paths), swap };
  } catch {
    // There are no cgroups at all, which the attempt to make a plan reports.
    return { processes: 0, closed: [], swap };
  }
}

/** Directories from / to `path`. */
function waysTo(path: string): readonly string[] {
  return path === "/" ? ["/"] : [...waysTo(dirname(path)), path];
}

/** The first directory that the container's root may not search. Only the permission bits count here, not ACLs. */
function closedDirectory(config: Config, rootfs: string): string | undefined {
  const { uid, gid } = rootOwner(config);
  if (!makesNamespace(config, "user") || uid === 0) return undefined;
  return waysTo(rootfs).find((path) => {
    const facts = fileFacts(path);
    if (facts === undefined || facts.kind !== "directory") return false;
    const bit = facts.uid === uid ? 0o100 : facts.gid === gid ? 0o010 : 0o001;
    return (facts.mode & bit) === 0;
  });
}

/** The options of the mount that a path is on. */
function mountOptions(path: string): readonly string[] {
  const mounts = mountLines(readText("/proc/self/mountinfo") ?? "").filter(({ mountPoint }) =>
    mountPoint === "/" || path === mountPoint || path.startsWith(`${mountPoint}/`)
  );
  const longest = Math.max(...mounts.map(({ mountPoint }) => mountPoint.length));
  // The last of several mounts at one place is the visible one.
  return mounts.findLast(({ mountPoint }) => mountPoint.length === longest)?.options ?? [];
}

function programsOf(config: Config, mounts: readonly ParsedMount[], { kernel, rootfs }: FactsInput) {
  const { args = [], env = [], cwd = "/" } = config.process ?? {};
  const view = once(() => viewOf(rootfs, mounts));
  const look = (command: string) => findProgram(kernel, view(), { command, env, cwd });
  const isUsable = once(() => fileFacts(rootfs)?.kind === "directory");
  return {
    program: once(() => args[0] && isUsable() ? look(args[0]) : undefined),
    startHooks: once(() => isUsable() ? (config.hooks?.startContainer ?? []).map(({ path }) => look(path)) : []),
  };
}

/** Facts about the files that the config names. */
function fileFactsOf(config: Config, mounts: readonly ParsedMount[], input: FactsInput) {
  const { kernel, rootfs, bundle } = input;
  const { program, startHooks } = programsOf(config, mounts, input);
  return {
    fileAt: fileFacts,
    get program() {
      return program();
    },
    get startHooks() {
      return startHooks();
    },
    targetOf: (index: number) => targetOf(rootfs, mounts, index),
    namespaceAt: (path: string) => namespaceAt(kernel, path),
    get isNoexec() {
      return mountOptions(rootfs).includes("noexec");
    },
    get closedDirectory() {
      return closedDirectory(config, rootfs);
    },
    get openToOthers() {
      return [bundle, `${bundle}/config.json`, rootfs].filter((path) => ((fileFacts(path)?.mode ?? 0) & 0o002) !== 0);
    },
    refusesIdmap: (path: string) => idmapErrno(kernel, path) === Errno.EINVAL,
  };
}

/** Facts about the host's devices and numbers. */
const deviceFacts = {
  get cpus() {
    return numbersOf(readText("/sys/devices/system/cpu/online"));
  },
  get memoryNodes() {
    const nodes = numbersOf(readText("/sys/devices/system/node/online"));
    return nodes.length === 0 ? [0] : nodes;
  },
  get hugepageSizes() {
    return namesIn("/sys/kernel/mm/hugepages").flatMap((name) => hugepageSize(name) ?? []);
  },
  hasBlockDevice: (number: string) => fileFacts(`/sys/dev/block/${number}`) !== undefined,
  get networkInterfaces() {
    return interfacesOf(readText("/proc/net/dev") ?? "");
  },
  get rdmaDevices() {
    return namesIn("/sys/class/infiniband");
  },
  hasSysctl: (name: string) => isOfInterface(name) || fileFacts(sysctlPath(name)) !== undefined,
  get fileSystems() {
    return fileSystemsOf(readText("/proc/filesystems") ?? "");
  },
  get largestOpenFiles() {
    return BigInt(readText("/proc/sys/fs/nr_open")?.trim() ?? 2 ** 20);
  },
  get showsAllOfProc() {
    return showsAllOfProc(mountLines(readText("/proc/self/mountinfo") ?? ""));
  },
  get hasEmulators() {
    return hasEmulators();
  },
  get lastCapability() {
    return Number(readText("/proc/sys/kernel/cap_last_cap") ?? 40);
  },
};

/** Reads the facts about `config`. `mounts`: its parsed mounts. */
export function readCheckFacts(config: Config, mounts: readonly ParsedMount[], input: FactsInput): CheckFacts {
  const { kernel, layout } = input;
  const caller = once(() => callerFacts(kernel));
  const appArmor = once(appArmorFacts);
  const seccomp = once(() => seccompFacts(kernel));
  const cgroup = once(() => cgroupFacts(config, input));
  const facts = {
    arch: kernel.arch,
    get caller() {
      return caller();
    },
    get controllers() {
      return controllersOf(layout, Deno.uid() === 0);
    },
    get cgroup() {
      return cgroup();
    },
    get appArmor() {
      return appArmor();
    },
    get seccomp() {
      return seccomp();
    },
    get subordinate() {
      return subordinateFacts(kernel, input.environment("PATH") ?? DEFAULT_PATH);
    },
    get userNamespaceErrno() {
      return unshareErrno(kernel, namespaceKinds.user.flag) ?? 0;
    },
    get hasLandlock() {
      return landlockVersion(kernel) > 0;
    },
  };
  return joined(readValidationFacts(config, input), fileFactsOf(config, mounts, input), deviceFacts, facts);
}

/** One object with the properties of all, whose getters stay getters. */
function joined<A extends object, B extends object, C extends object, D extends object>(
  a: A,
  b: B,
  c: C,
  d: D,
): A & B & C & D {
  const result = {};
  for (const part of [a, b, c, d]) Object.defineProperties(result, Object.getOwnPropertyDescriptors(part));
  return result as A & B & C & D;
}
