/**
 * The config.json of a sandbox, from its options and the host's facts. Pure.
 *
 * @module
 */

import { capabilityNames } from "../../ffi/constants.ts";
import { RuncError } from "../../errors.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import type { Capabilities, Config, IdMapping, Linux, Mount, NamespaceType, Resources } from "../../specs/config.ts";
import { OCI_VERSION } from "../../specs/state.ts";
import type { HostEntry } from "./host_layout.ts";
import { HOME, hostRoot, type SkeletonEntry } from "./host_root.ts";
import { freshMount, systemMounts, userMount } from "./mounts.ts";
import { defaults, type IsolationOptions, type SandboxUser } from "./options.ts";
import { seccompProfile } from "./seccomp_profile.ts";
import { badOption, checkVariable, parseSize } from "./units.ts";

/** A range of ids that the host has for its user, as in /etc/subuid. */
export interface IdRange {
  readonly first: number;
  readonly count: number;
}

/** The caller, if it is not root. */
export interface RootlessFacts {
  readonly uid: number;
  readonly gid: number;
  /** Absent if there are none, or newuidmap is missing. */
  readonly subuids?: IdRange;
  readonly subgids?: IdRange;
}

/** What a config depends on beside the options. */
export interface SandboxFacts {
  readonly arch: Arch;
  /** Absent for root. */
  readonly rootless?: RootlessFacts;
  /** Controllers that can be limited: `memory`, `cpu`, `pids`. */
  readonly controllers: ReadonlySet<string>;
  /** The caller's hard limit of open files: RLIMIT_NOFILE. */
  readonly openFiles: number;
  /** What the sources of the option `mounts` are; a directory if absent. */
  readonly sources?: ReadonlyMap<string, "directory" | "file">;
}

/** Where the files come from. */
export type RootRequest =
  /** The host's own; `layout` is of `readHostLayout`. */
  | { readonly kind: "host"; readonly layout: readonly HostEntry[] }
  /** `user`, `env` and `cwd`: what an image's config says. */
  | {
    readonly kind: "directory";
    readonly user?: SandboxUser;
    readonly env?: readonly string[];
    readonly cwd?: string;
  };

/** A config, and what has to be there for it. */
export interface SandboxConfig {
  readonly config: Config;
  /** What root.path has to contain; empty unless the root is the host's. */
  readonly skeleton: readonly SkeletonEntry[];
  /** Limits that were asked for and that the host cannot set: names of options. */
  readonly unlimited: readonly ("memory" | "cpus" | "pids")[];
}

/** What a sandbox is to be. */
export interface SandboxRequest {
  readonly options: IsolationOptions;
  readonly facts: SandboxFacts;
  readonly root: RootRequest;
  /** root.path: absolute. */
  readonly rootPath: string;
  /** linux.cgroupsPath. */
  readonly cgroupsPath?: string;
  /** The first process. */
  readonly args: readonly string[];
}

/** Makes the config. @throws {RuncError} `usage`, which names the option. */
export function sandboxConfig(request: SandboxRequest): SandboxConfig {
  const { options, facts, root, rootPath, args } = request;
  const user = userOf(options, facts, root);
  checkIds(user, facts);
  const capabilities = capabilitiesOf(options.capabilities ?? []);
  const diskBytes = parseSize("disk", options.disk ?? defaults.disk);
  const { resources, unlimited } = resourcesOf(options, facts);
  const files = filesOf(request, user, diskBytes);
  // Only a privileged caller may give more than it has.
  const openFiles = Math.min(OPEN_FILES, facts.openFiles);
  const config: Config = {
    ociVersion: OCI_VERSION,
    process: {
      terminal: false,
      user,
      args,
      env: environment(options, root, user),
      cwd: options.cwd ?? (root.kind === "host" ? homeOf(user) : root.cwd ?? "/"),
      capabilities: setsOf(capabilities, user),
      rlimits: [
        { type: "RLIMIT_CORE", hard: 0, soft: 0 },
        { type: "RLIMIT_NOFILE", hard: openFiles, soft: Math.min(1024, openFiles) },
      ],
      noNewPrivileges: true,
    },
    root: { path: rootPath, readonly: options.readonly ?? true },
    hostname: options.hostname ?? defaults.hostname,
    mounts: files.mounts,
    linux: {
      ...idMappings(facts.rootless),
      namespaces: namespacesOf(options, facts).map((type) => ({ type })),
      resources,
      cgroupsPath: request.cgroupsPath,
      seccomp: seccompOf(options, facts, capabilities),
      maskedPaths,
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
  return { config, skeleton: files.skeleton, unlimited };
}

/** Files of /proc that tell about the host or change it. */
const maskedPaths = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
];

/** Enough for servers and compilers. */
const OPEN_FILES = 65536;

/** The highest id: -1 means "no change" to the kernel. */
const isId = (id: number) => Number.isInteger(id) && id >= 0 && id < 0xffffffff;

/** nobody: no account for people has it. */
const NOBODY = 65534;

function userOf({ user }: IsolationOptions, { rootless }: SandboxFacts, root: RootRequest): SandboxUser {
  if (user === "root") return { uid: 0, gid: 0 };
  if (user !== undefined) {
    const ids = [user.uid, user.gid, ...(user.additionalGids ?? [])];
    if (!ids.every(isId)) throw badOption("user", user, 'a user with a uid and a gid, or "root"');
    return user;
  }
  if (root.kind === "directory" && root.user !== undefined) return root.user;
  if (rootless === undefined) return { uid: NOBODY, gid: NOBODY };
  // The range begins at 1, and 0 is the caller, who is all that there is without ranges.
  const highest = (range: IdRange | undefined) => Math.min(range?.count ?? 0, NOBODY);
  return { uid: highest(rootless.subuids), gid: highest(rootless.subgids) };
}

/** Without root, ids beyond the ranges do not exist. */
function checkIds({ uid, gid, additionalGids = [] }: SandboxUser, { rootless }: SandboxFacts): void {
  if (rootless === undefined) return;
  const { subuids, subgids } = rootless;
  const missing = uid > (subuids?.count ?? 0) || [gid, ...additionalGids].some((id) => id > (subgids?.count ?? 0));
  if (!missing) return;
  throw new RuncError(
    "host-lacks",
    `the user ${[uid, gid, ...additionalGids].join(":")} of the sandbox has no id here`,
    {
      hint: 'set user: "root", or give the caller ranges in /etc/subuid and /etc/subgid, and install uidmap',
    },
  );
}

/** 0 is the caller, and what follows are its ranges. */
function idMappings(rootless: RootlessFacts | undefined): Pick<Linux, "uidMappings" | "gidMappings"> {
  if (rootless === undefined) return {};
  const map = (own: number, range: IdRange | undefined): readonly IdMapping[] => [
    { containerID: 0, hostID: own, size: 1 },
    ...(range === undefined ? [] : [{ containerID: 1, hostID: range.first, size: range.count }]),
  ];
  return { uidMappings: map(rootless.uid, rootless.subuids), gidMappings: map(rootless.gid, rootless.subgids) };
}

function namespacesOf({ network = "none" }: IsolationOptions, { rootless }: SandboxFacts): readonly NamespaceType[] {
  if (network !== "none" && network !== "host") throw badOption("network", network, '"none" or "host"');
  return [
    "pid",
    "ipc",
    "uts",
    "mount",
    "cgroup",
    ...(network === "none" ? ["network"] as const : []),
    ...(rootless === undefined ? [] : ["user"] as const),
  ];
}

function capabilitiesOf(names: readonly string[]): readonly string[] {
  const known: readonly string[] = capabilityNames;
  return names.map((name) => {
    const full = name.startsWith("CAP_") ? name : `CAP_${name}`;
    if (!known.includes(full)) throw badOption("capabilities", name, "a capability");
    return full;
  });
}

/** A user who is not root keeps capabilities over execve only as ambient ones. capabilities(7) */
function setsOf(capabilities: readonly string[], user: SandboxUser): Capabilities {
  const kept = user.uid === 0 ? [] : capabilities;
  const sets = { bounding: capabilities, effective: capabilities, permitted: capabilities };
  return { ...sets, inheritable: kept, ambient: kept };
}

const homeOf = ({ uid }: SandboxUser) => uid === 0 ? "/root" : HOME;

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function environment({ env = {} }: IsolationOptions, root: RootRequest, user: SandboxUser): readonly string[] {
  for (const [name, value] of Object.entries(env)) {
    checkVariable(name, value);
  }
  const own = root.kind === "host" ? { PATH, HOME: homeOf(user), LANG: "C.UTF-8" } : { PATH };
  const image = root.kind === "directory" ? root.env ?? [] : [];
  const inherited = image.map((variable): [string, string] => {
    const at = variable.indexOf("=");
    return at === -1 ? [variable, ""] : [variable.slice(0, at), variable.slice(at + 1)];
  });
  return Object.entries({ ...own, ...Object.fromEntries(inherited), ...env }).map(([name, value]) =>
    `${name}=${value}`
  );
}

/** PID_MAX_LIMIT, include/linux/threads.h */
const MOST_PIDS = 4_194_304;

/** The kernel's period, and the shortest quota: kernel/sched/core.c */
const PERIOD_US = 100_000, MINIMUM_QUOTA_US = 1000;

function resourcesOf(
  { memory, cpus, pids }: IsolationOptions,
  { controllers }: SandboxFacts,
): { resources: Resources; unlimited: SandboxConfig["unlimited"] } {
  const bytes = parseSize("memory", memory ?? defaults.memory);
  const tasks = pids ?? defaults.pids;
  if (!Number.isSafeInteger(tasks) || tasks < 1 || tasks > MOST_PIDS) {
    throw badOption("pids", pids, `a number of processes from 1 to ${MOST_PIDS}`);
  }
  if (cpus !== undefined && !(cpus * PERIOD_US >= MINIMUM_QUOTA_US && cpus <= 65536)) {
    throw badOption("cpus", cpus, "a number of processors, 0.01 or more");
  }
  const can = (controller: string) => controllers.has(controller);
  const quota = cpus === undefined ? undefined : { quota: Math.round(cpus * PERIOD_US), period: PERIOD_US };
  return {
    resources: {
      // Devices: the runtime allows /dev/null and the like.
      devices: [{ allow: false, access: "rwm" }],
      ...(can("memory") ? { memory: { limit: bytes, swap: bytes } } : {}),
      ...(can("pids") ? { pids: { limit: tasks } } : {}),
      ...(can("cpu") && quota !== undefined ? { cpu: quota } : {}),
    },
    unlimited: [
      ...(can("memory") ? [] : ["memory" as const]),
      ...(can("pids") ? [] : ["pids" as const]),
      ...(can("cpu") || cpus === undefined ? [] : ["cpus" as const]),
    ],
  };
}

function seccompOf({ seccomp }: IsolationOptions, { arch }: SandboxFacts, capabilities: readonly string[]) {
  if (seccomp === false) return undefined;
  return seccomp ?? seccompProfile(arch, capabilities);
}

/** Mounts in the order in which they cover each other, and the skeleton. */
function filesOf(
  { options, facts, root }: SandboxRequest,
  user: SandboxUser,
  diskBytes: number,
): { mounts: readonly Mount[]; skeleton: readonly SkeletonEntry[] } {
  const hasTtyGroup = facts.rootless === undefined || (facts.rootless.subgids?.count ?? 0) >= 5;
  const system = systemMounts({ hasTtyGroup });
  const more = (options.mounts ?? []).map(userMount);
  if (root.kind === "directory") {
    const fresh = ["/tmp", "/run"].map((path) => freshMount({ path, user, bytes: diskBytes }));
    return { mounts: [...system, ...(options.readonly === false ? [] : fresh), ...more], skeleton: [] };
  }
  if (options.readonly === false) {
    throw badOption("readonly", false, "possible with the host's root: mount a directory with `mounts` instead");
  }
  const { network = "none" } = options;
  const places = (options.mounts ?? []).map(({ source, target }) => {
    return { path: target, kind: facts.sources?.get(source) ?? "directory" };
  });
  const { skeleton, mounts } = hostRoot({ layout: root.layout, user, network, diskBytes, places });
  return { mounts: [...mounts, ...system, ...more], skeleton };
}
