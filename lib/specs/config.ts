/**
 * The types of config.json: the Linux part of OCI runtime-spec 1.3.
 *
 * A field is optional here if it is optional in the specification. Required fields are always set: like runc, the
 * parser fills in zero values (`0`, `""`, `false`), and the validator refuses those that make no sense. Objects of
 * other platforms are known by name only.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md
 * @module
 */

/** A 64-bit integer: a number if that is exact (up to 2^53 - 1), otherwise a bigint. */
export type Integer64 = number | bigint;

/** A JSON object whose content is not read. */
export type OpaqueObject = Readonly<Record<string, unknown>>;

/** The whole of config.json. */
export interface Config {
  /** Version of the specification that the config follows: `1.3.0`. */
  readonly ociVersion: string;
  /** Required to start a container. */
  readonly process?: Process;
  /** Required on Linux. */
  readonly root?: Root;
  /** Needs a UTS namespace. */
  readonly hostname?: string;
  /** The NIS domain name; needs a UTS namespace. */
  readonly domainname?: string;
  /** Mounted in this order. */
  readonly mounts?: readonly Mount[];
  /** Commands to run at points of the container's lifecycle. */
  readonly hooks?: Hooks;
  /** Arbitrary texts by name. `state` prints them and hooks receive them. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Linux-specific settings. */
  readonly linux?: Linux;
  /** For another platform. */
  readonly solaris?: OpaqueObject;
  /** For another platform. */
  readonly windows?: OpaqueObject;
  /** For another platform. */
  readonly vm?: OpaqueObject;
  /** For another platform. */
  readonly zos?: OpaqueObject;
  /** For another platform. */
  readonly freebsd?: OpaqueObject;
}

/** The program that runs in the container, and its settings. */
export interface Process {
  /** Whether its standard streams are a pseudoterminal. */
  readonly terminal?: boolean;
  /** Initial size of the terminal. */
  readonly consoleSize?: ConsoleSize;
  /** The user to run as. */
  readonly user: User;
  /** The command and its arguments. The command is looked up in the PATH of `env`, inside the container. */
  readonly args?: readonly string[];
  /** For Windows; not read here. */
  readonly commandLine?: string;
  /** `NAME=VALUE` entries. */
  readonly env?: readonly string[];
  /** Working directory: absolute, as seen in the container. */
  readonly cwd: string;
  /** If absent, the sets do not change. If present, all sets are applied, and a missing one is empty. */
  readonly capabilities?: Capabilities;
  /** Resource limits. Others do not change. */
  readonly rlimits?: readonly Rlimit[];
  /** prctl(2), PR_SET_NO_NEW_PRIVS. */
  readonly noNewPrivileges?: boolean;
  /** Name of an AppArmor profile that is loaded on the host. */
  readonly apparmorProfile?: string;
  /** -1000 to 1000; proc_pid_oom_score_adj(5). */
  readonly oomScoreAdj?: number;
  /** CPU scheduling. */
  readonly scheduler?: Scheduler;
  /** An SELinux context. */
  readonly selinuxLabel?: string;
  /** I/O scheduling. */
  readonly ioPriority?: IoPriority;
  /** The CPUs to run on. */
  readonly execCPUAffinity?: CpuAffinity;
}

/** Size in characters. */
export interface ConsoleSize {
  /** Rows. */
  readonly height: number;
  /** Columns. */
  readonly width: number;
}

/** Ids as seen in the container. */
export interface User {
  /** User id. */
  readonly uid: number;
  /** Group id. */
  readonly gid: number;
  /** Mask for new files; 0o022 if absent. */
  readonly umask?: number;
  /** Supplementary groups. */
  readonly additionalGids?: readonly number[];
  /** For Windows; not read here. */
  readonly username?: string;
}

/** The five capability sets, by names such as `CAP_KILL`. capabilities(7) */
export interface Capabilities {
  /** Limits what programs that it executes can gain. */
  readonly bounding?: readonly string[];
  /** The kernel checks these. */
  readonly effective?: readonly string[];
  /** An executed file can grant these again. */
  readonly inheritable?: readonly string[];
  /** Limits what can become effective. */
  readonly permitted?: readonly string[];
  /** Programs that it executes keep these. */
  readonly ambient?: readonly string[];
}

/** One resource limit, getrlimit(2). RLIM_INFINITY is 18446744073709551615n. */
export interface Rlimit {
  /** `RLIMIT_NOFILE`. */
  readonly type: string;
  /** The ceiling for the soft limit. */
  readonly hard: Integer64;
  /** The limit that the kernel enforces. */
  readonly soft: Integer64;
}

/** sched_setattr(2). */
export interface Scheduler {
  /** `SCHED_OTHER`. */
  readonly policy: string;
  /** -20 to 19, for SCHED_OTHER and SCHED_BATCH. */
  readonly nice?: number;
  /** 1 to 99, for SCHED_FIFO and SCHED_RR. */
  readonly priority?: number;
  /** `SCHED_FLAG_RESET_ON_FORK`. */
  readonly flags?: readonly string[];
  /** In nanoseconds; like the next two for SCHED_DEADLINE only. */
  readonly runtime?: Integer64;
  /** In nanoseconds. */
  readonly deadline?: Integer64;
  /** In nanoseconds. */
  readonly period?: Integer64;
}

/** ioprio_set(2). */
export interface IoPriority {
  /** `IOPRIO_CLASS_BE`. */
  readonly class: string;
  /** 0 to 7. */
  readonly priority: number;
}

/** CPU lists such as `0-3,7`, for processes that `exec` starts. */
export interface CpuAffinity {
  /** Before the process is in its cgroup. */
  readonly initial?: string;
  /** Once the process is in its cgroup. */
  readonly final?: string;
}

/** The container's root file system. */
export interface Root {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  /** Makes it read-only after setup. */
  readonly readonly?: boolean;
}

/** One mount in the container. */
export interface Mount {
  /** As seen in the container. */
  readonly destination: string;
  /** A file system type of the kernel; `bind` or `none` for bind mounts. */
  readonly type?: string;
  /** A device, a name, or for bind mounts a path on the host, which may be relative to the bundle. */
  readonly source?: string;
  /** As in mount(8), plus recursive forms that begin with `r`. */
  readonly options?: readonly string[];
  /** For an id-mapped mount. */
  readonly uidMappings?: readonly IdMapping[];
  /** For an id-mapped mount. */
  readonly gidMappings?: readonly IdMapping[];
}

/** The names of the hooks, in the order in which they run. */
export const hookNames = [
  // On the host, before the root is entered; deprecated in favour of the next three.
  "prestart",
  // On the host, after the namespaces are made and before the root is entered.
  "createRuntime",
  // In the container's namespaces, before the root is entered.
  "createContainer",
  // In the container, before its program starts.
  "startContainer",
  // On the host, after the program has started.
  "poststart",
  // On the host, after the container is removed.
  "poststop",
] as const;

/** The name of a hook. */
export type HookName = (typeof hookNames)[number];

/** Commands to run at points of the container's lifecycle: see {@link hookNames}. */
export type Hooks = { readonly [Name in HookName]?: readonly Hook[] };

/** One command, in the terms of execve(2). */
export interface Hook {
  /** Absolute. */
  readonly path: string;
  /** Including argv[0]. */
  readonly args?: readonly string[];
  /** Its whole environment; the runtime's if absent. */
  readonly env?: readonly string[];
  /** In seconds. */
  readonly timeout?: number;
}

/** Linux-specific settings. */
export interface Linux {
  /** User ids of a new user namespace. */
  readonly uidMappings?: readonly IdMapping[];
  /** Group ids of a new user namespace. */
  readonly gidMappings?: readonly IdMapping[];
  /** Values by name (`net.ipv4.ip_forward`); only those of the container's namespaces. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** Limits of its cgroup. */
  readonly resources?: Resources;
  /** Path of its cgroup below the mount point; a relative one starts at the runtime's own cgroup. */
  readonly cgroupsPath?: string;
  /** The namespaces that it does not share with the host. */
  readonly namespaces?: readonly Namespace[];
  /** Device nodes to create in addition to the default ones. */
  readonly devices?: readonly LinuxDevice[];
  /** Network interfaces to move into the container, by name on the host. */
  readonly netDevices?: Readonly<Record<string, NetDevice>>;
  /** System call filter. */
  readonly seccomp?: Seccomp;
  /** `rslave`, `shared`, ... */
  readonly rootfsPropagation?: string;
  /** Absolute paths in the container to hide. */
  readonly maskedPaths?: readonly string[];
  /** Absolute paths in the container to make read-only. */
  readonly readonlyPaths?: readonly string[];
  /** SELinux context of its mounts. */
  readonly mountLabel?: string;
  /** Cache and memory bandwidth. */
  readonly intelRdt?: IntelRdt;
  /** The NUMA nodes for its memory. */
  readonly memoryPolicy?: MemoryPolicy;
  /** The execution domain. */
  readonly personality?: Personality;
  /** Clocks of a new time namespace. */
  readonly timeOffsets?: TimeOffsets;
}

/** The types of namespaces. */
export const namespaceTypes = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"] as const;

/** The type of a namespace. */
export type NamespaceType = (typeof namespaceTypes)[number];

/** A namespace to create (without a path) or to join (with a path). */
export interface Namespace {
  /** A {@link NamespaceType} once validated. */
  readonly type: NamespaceType;
  /** Path of a namespace file such as /proc/1/ns/net. */
  readonly path?: string;
}

/** Maps `size` ids from `containerID` inside to the ids from `hostID` outside. */
export interface IdMapping {
  /** First id inside. */
  readonly containerID: number;
  /** First id outside. */
  readonly hostID: number;
  /** Number of ids. */
  readonly size: number;
}

/** By clock: `monotonic`, `boottime`. */
export type TimeOffsets = Readonly<Record<string, TimeOffset>>;

/** Offset of a clock in the container from the host's. */
export interface TimeOffset {
  /** Seconds; may be negative. */
  readonly secs?: number;
  /** Nanoseconds, 0 to 999999999. */
  readonly nanosecs?: number;
}

/** A device node, mknod(2). */
export interface LinuxDevice {
  /** As seen in the container. */
  readonly path: string;
  /** `c`, `u`, `b` or `p`. */
  readonly type: string;
  /** Major number. */
  readonly major: number;
  /** Minor number. */
  readonly minor: number;
  /** Permission bits; 0o666 if absent. */
  readonly fileMode?: number;
  /** Owner in the container; 0 if absent. */
  readonly uid?: number;
  /** Group in the container; 0 if absent. */
  readonly gid?: number;
}

/** A network interface that moves into the container. */
export interface NetDevice {
  /** Name in the container; the same as on the host if absent. */
  readonly name?: string;
}

/** Limits of the container's cgroup. */
export interface Resources {
  /** Device access rules. */
  readonly devices?: readonly DeviceRule[];
  /** Memory. */
  readonly memory?: MemoryResources;
  /** CPU time and placement. */
  readonly cpu?: CpuResources;
  /** Number of tasks. */
  readonly pids?: PidsResources;
  /** Block device I/O. */
  readonly blockIO?: BlockIoResources;
  /** Huge pages. */
  readonly hugepageLimits?: readonly HugepageLimit[];
  /** Classes and priorities of packets. */
  readonly network?: NetworkResources;
  /** RDMA limits by device. */
  readonly rdma?: Readonly<Record<string, RdmaResources>>;
  /** Values for cgroup files by file name; cgroup v2 only. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** A device access rule. The last matching rule decides. */
export interface DeviceRule {
  /** Whether the rule allows or denies access. */
  readonly allow: boolean;
  /** `a` (if absent), `b` or `c`. */
  readonly type?: string;
  /** Any if absent. */
  readonly major?: number;
  /** Any if absent. */
  readonly minor?: number;
  /** Letters out of `rwm`. */
  readonly access?: string;
}

/** In bytes; -1 means no limit. */
export interface MemoryResources {
  /** Hard limit. Above it the OOM killer runs. */
  readonly limit?: Integer64;
  /** Memory protected when the host runs short. */
  readonly reservation?: Integer64;
  /** Limit for memory plus swap. */
  readonly swap?: Integer64;
  /** Kernel memory; cgroup v1 only, and removed from current kernels. */
  readonly kernel?: Integer64;
  /** TCP buffers; cgroup v1 only. */
  readonly kernelTCP?: Integer64;
  /** 0 to 100; cgroup v1 only. */
  readonly swappiness?: Integer64;
  /** Processes wait for memory instead of being killed; cgroup v1 only. */
  readonly disableOOMKiller?: boolean;
  /** Includes the usage of child cgroups; cgroup v1 only. */
  readonly useHierarchy?: boolean;
  /** Refuses a limit below the current usage. */
  readonly checkBeforeUpdate?: boolean;
}

/** Times in microseconds. */
export interface CpuResources {
  /** Weight relative to sibling cgroups, 1024 by default. */
  readonly shares?: Integer64;
  /** CPU time per period; -1 means no limit. */
  readonly quota?: Integer64;
  /** Unused time that a period may take over from earlier ones. */
  readonly burst?: Integer64;
  /** Length of a period. */
  readonly period?: Integer64;
  /** CPU time of real-time tasks per real-time period. */
  readonly realtimeRuntime?: Integer64;
  /** Length of a real-time period. */
  readonly realtimePeriod?: Integer64;
  /** A list such as `0-3,7`. */
  readonly cpus?: string;
  /** NUMA nodes, as a list such as `0-3,7`. */
  readonly mems?: string;
  /** 1: runs only when no other task wants the CPU (SCHED_IDLE). */
  readonly idle?: Integer64;
}

/** Limit for the number of tasks. */
export interface PidsResources {
  /** -1 means no limit. */
  readonly limit?: Integer64;
}

/** The blkio or io controller. */
export interface BlockIoResources {
  /** Weight relative to sibling cgroups, 10 to 1000. */
  readonly weight?: number;
  /** Weight relative to child cgroups; cgroup v1 only. */
  readonly leafWeight?: number;
  /** Weights by device. */
  readonly weightDevice?: readonly WeightDevice[];
  /** Bytes read per second. */
  readonly throttleReadBpsDevice?: readonly ThrottleDevice[];
  /** Bytes written per second. */
  readonly throttleWriteBpsDevice?: readonly ThrottleDevice[];
  /** Reads per second. */
  readonly throttleReadIOPSDevice?: readonly ThrottleDevice[];
  /** Writes per second. */
  readonly throttleWriteIOPSDevice?: readonly ThrottleDevice[];
}

/** The weight for one block device. */
export interface WeightDevice {
  /** Major number. */
  readonly major: number;
  /** Minor number. */
  readonly minor: number;
  /** 10 to 1000. */
  readonly weight?: number;
  /** 10 to 1000. */
  readonly leafWeight?: number;
}

/** A rate limit (bytes or operations per second) for one block device. */
export interface ThrottleDevice {
  /** Major number. */
  readonly major: number;
  /** Minor number. */
  readonly minor: number;
  /** Per second. */
  readonly rate: Integer64;
}

/** A limit for one size of huge pages. */
export interface HugepageLimit {
  /** `2MB`. */
  readonly pageSize: string;
  /** In bytes. */
  readonly limit: Integer64;
}

/** net_cls and net_prio, cgroup v1 only. */
export interface NetworkResources {
  /** Class of its packets, net_cls. */
  readonly classID?: number;
  /** Priorities by interface, net_prio. */
  readonly priorities?: readonly InterfacePriority[];
}

/** The priority of traffic on one interface. */
export interface InterfacePriority {
  /** Name of the interface in the container. */
  readonly name: string;
  /** Priority of its packets. */
  readonly priority: number;
}

/** Limits of one RDMA device. */
export interface RdmaResources {
  /** Number of handles. */
  readonly hcaHandles?: number;
  /** Number of objects. */
  readonly hcaObjects?: number;
}

/** A seccomp filter in libseccomp's terms. */
export interface Seccomp {
  /** `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  /** The errno of the default action. */
  readonly defaultErrnoRet?: number;
  /** `SCMP_ARCH_X86_64`. */
  readonly architectures?: readonly string[];
  /** `SECCOMP_FILTER_FLAG_LOG`. */
  readonly flags?: readonly string[];
  /** AF_UNIX socket of the agent that handles SCMP_ACT_NOTIFY. */
  readonly listenerPath?: string;
  /** Text for that agent. */
  readonly listenerMetadata?: string;
  /** Rules for particular system calls. */
  readonly syscalls?: readonly SeccompSyscall[];
}

/** The action for some system calls. */
export interface SeccompSyscall {
  /** Names of system calls. Unknown ones are ignored. */
  readonly names: readonly string[];
  /** `SCMP_ACT_ALLOW`. */
  readonly action: string;
  /** The errno of the action. */
  readonly errnoRet?: number;
  /** Conditions. All of them must hold. */
  readonly args?: readonly SeccompArg[];
}

/** A condition on one argument of a system call. */
export interface SeccompArg {
  /** 0 to 5. */
  readonly index: number;
  /** The value to compare with. */
  readonly value: Integer64;
  /** For SCMP_CMP_MASKED_EQ: the value that the masked argument must have. */
  readonly valueTwo?: Integer64;
  /** `SCMP_CMP_EQ`. */
  readonly op: string;
}

/** Intel Resource Director Technology. */
export interface IntelRdt {
  /** Name of the class of service; the container's id if absent. */
  readonly closID?: string;
  /** Lines for its schemata file. */
  readonly schemata?: readonly string[];
  /** A line for the L3 cache. */
  readonly l3CacheSchema?: string;
  /** A line for the memory bandwidth. */
  readonly memBwSchema?: string;
  /** Measures its usage in a monitoring group of its own. */
  readonly enableMonitoring?: boolean;
  /** runtime-spec 1.1 and 1.2. */
  readonly enableCMT?: boolean;
  /** runtime-spec 1.1 and 1.2. */
  readonly enableMBM?: boolean;
}

/** set_mempolicy(2). */
export interface MemoryPolicy {
  /** `MPOL_INTERLEAVE`. */
  readonly mode: string;
  /** A list such as `0-3,7`. */
  readonly nodes: string;
  /** `MPOL_F_STATIC_NODES`. */
  readonly flags?: readonly string[];
}

/** personality(2). */
export interface Personality {
  /** `LINUX` or `LINUX32`. */
  readonly domain: string;
  /** No flag is defined yet. */
  readonly flags?: readonly string[];
}
