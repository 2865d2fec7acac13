/**
 * The types of config.json: OCI runtime-spec 1.3, as far as it concerns Linux.
 *
 * Optional is what the specification calls optional. What it requires is always there: the parser puts in zero values as
 * runc does (`0`, `""`, `false`), and the validator refuses those that mean nothing. The objects of other platforms are
 * known by name only.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md
 * @module
 */

/** A 64-bit integer: a number where that is exact (up to 2^53 - 1), a bigint beyond. */
export type Integer64 = number | bigint;

/** A JSON object whose content is not looked at. */
export type OpaqueObject = Readonly<Record<string, unknown>>;

/** The whole of config.json. */
export interface Config {
  readonly ociVersion: string;
  readonly process?: Process;
  readonly root?: Root;
  readonly hostname?: string;
  readonly domainname?: string;
  /** In the order in which they are mounted. */
  readonly mounts?: readonly Mount[];
  readonly hooks?: Hooks;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: Linux;
  readonly solaris?: OpaqueObject;
  readonly windows?: OpaqueObject;
  readonly vm?: OpaqueObject;
  readonly zos?: OpaqueObject;
  readonly freebsd?: OpaqueObject;
}

/** The program that runs in the container, and what it is given. */
export interface Process {
  readonly terminal?: boolean;
  readonly consoleSize?: ConsoleSize;
  readonly user: User;
  readonly args?: readonly string[];
  /** For Windows; nothing reads it here. */
  readonly commandLine?: string;
  /** `NAME=VALUE` each. */
  readonly env?: readonly string[];
  /** Absolute, as seen in the container. */
  readonly cwd: string;
  /** Absent: the sets stay as they are. Present: every set is applied, one that is absent is empty. */
  readonly capabilities?: Capabilities;
  readonly rlimits?: readonly Rlimit[];
  readonly noNewPrivileges?: boolean;
  readonly apparmorProfile?: string;
  /** -1000 to 1000. */
  readonly oomScoreAdj?: number;
  readonly scheduler?: Scheduler;
  readonly selinuxLabel?: string;
  readonly ioPriority?: IoPriority;
  readonly execCPUAffinity?: CpuAffinity;
}

/** In characters. */
export interface ConsoleSize {
  readonly height: number;
  readonly width: number;
}

/** Ids as seen in the container. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
  /** For Windows; nothing reads it here. */
  readonly username?: string;
}

/** The five capability sets, by names such as `CAP_KILL`. */
export interface Capabilities {
  readonly bounding?: readonly string[];
  readonly effective?: readonly string[];
  readonly inheritable?: readonly string[];
  readonly permitted?: readonly string[];
  readonly ambient?: readonly string[];
}

/** One resource limit, getrlimit(2). RLIM_INFINITY is 18446744073709551615n. */
export interface Rlimit {
  /** `RLIMIT_NOFILE`. */
  readonly type: string;
  readonly hard: Integer64;
  readonly soft: Integer64;
}

/** sched_setattr(2). */
export interface Scheduler {
  /** `SCHED_OTHER`. */
  readonly policy: string;
  readonly nice?: number;
  readonly priority?: number;
  /** `SCHED_FLAG_RESET_ON_FORK`. */
  readonly flags?: readonly string[];
  /** The next three are in nanoseconds, for SCHED_DEADLINE only. */
  readonly runtime?: Integer64;
  readonly deadline?: Integer64;
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
  readonly initial?: string;
  readonly final?: string;
}

/** The container's root file system. */
export interface Root {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  readonly readonly?: boolean;
}

/** One mount in the container. */
export interface Mount {
  /** As seen in the container. */
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
}

/** The names of the hooks, in the order in which they run. */
export type HookName = keyof Hooks;

/** Commands that are run at points of the container's life. */
export interface Hooks {
  readonly prestart?: readonly Hook[];
  readonly createRuntime?: readonly Hook[];
  readonly createContainer?: readonly Hook[];
  readonly startContainer?: readonly Hook[];
  readonly poststart?: readonly Hook[];
  readonly poststop?: readonly Hook[];
}

/** One command, as for execve(2). */
export interface Hook {
  readonly path: string;
  /** With argv[0]. */
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** In seconds. */
  readonly timeout?: number;
}

/** What only Linux has. */
export interface Linux {
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly resources?: Resources;
  readonly cgroupsPath?: string;
  readonly namespaces?: readonly Namespace[];
  readonly devices?: readonly LinuxDevice[];
  /** By name on the host. */
  readonly netDevices?: Readonly<Record<string, NetDevice>>;
  readonly seccomp?: Seccomp;
  /** `rslave`, `shared`, ... */
  readonly rootfsPropagation?: string;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly mountLabel?: string;
  readonly intelRdt?: IntelRdt;
  readonly memoryPolicy?: MemoryPolicy;
  readonly personality?: Personality;
  readonly timeOffsets?: TimeOffsets;
}

/** The kinds of namespaces. */
export type NamespaceType = "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup" | "time";

/** A namespace that the container gets (no path) or joins (path). */
export interface Namespace {
  /** A {@link NamespaceType} once validated. */
  readonly type: NamespaceType;
  /** Of a namespace file such as /proc/1/ns/net. */
  readonly path?: string;
}

/** `size` ids from `containerID` on are `hostID` and on outside. */
export interface IdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** By clock: `monotonic`, `boottime`. */
export type TimeOffsets = Readonly<Record<string, TimeOffset>>;

/** What a clock of the container is ahead of the host's. */
export interface TimeOffset {
  readonly secs?: number;
  readonly nanosecs?: number;
}

/** A device node, mknod(2). */
export interface LinuxDevice {
  /** As seen in the container. */
  readonly path: string;
  /** `c`, `u`, `b` or `p`. */
  readonly type: string;
  readonly major: number;
  readonly minor: number;
  /** Permission bits; 0o666 where absent. */
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** A network interface that moves into the container. */
export interface NetDevice {
  /** In the container; as on the host where absent. */
  readonly name?: string;
}

/** What the container's cgroup allows. */
export interface Resources {
  readonly devices?: readonly DeviceRule[];
  readonly memory?: MemoryResources;
  readonly cpu?: CpuResources;
  readonly pids?: PidsResources;
  readonly blockIO?: BlockIoResources;
  readonly hugepageLimits?: readonly HugepageLimit[];
  readonly network?: NetworkResources;
  /** By device. */
  readonly rdma?: Readonly<Record<string, RdmaResources>>;
  /** Contents by file name, cgroup v2 only. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** One rule of the device controller; later ones win. */
export interface DeviceRule {
  readonly allow: boolean;
  /** `a` (where absent), `b` or `c`. */
  readonly type?: string;
  /** Absent: any. */
  readonly major?: number;
  readonly minor?: number;
  /** Of the letters `rwm`. */
  readonly access?: string;
}

/** In bytes; -1 is no limit. */
export interface MemoryResources {
  readonly limit?: Integer64;
  readonly reservation?: Integer64;
  /** Memory and swap together. */
  readonly swap?: Integer64;
  readonly kernel?: Integer64;
  readonly kernelTCP?: Integer64;
  readonly swappiness?: Integer64;
  readonly disableOOMKiller?: boolean;
  readonly useHierarchy?: boolean;
  readonly checkBeforeUpdate?: boolean;
}

/** Times in microseconds. */
export interface CpuResources {
  readonly shares?: Integer64;
  readonly quota?: Integer64;
  readonly burst?: Integer64;
  readonly period?: Integer64;
  readonly realtimeRuntime?: Integer64;
  readonly realtimePeriod?: Integer64;
  readonly cpus?: string;
  readonly mems?: string;
  readonly idle?: Integer64;
}

/** At most `limit` tasks. */
export interface PidsResources {
  readonly limit?: Integer64;
}

/** The blkio or io controller. */
export interface BlockIoResources {
  readonly weight?: number;
  readonly leafWeight?: number;
  readonly weightDevice?: readonly WeightDevice[];
  readonly throttleReadBpsDevice?: readonly ThrottleDevice[];
  readonly throttleWriteBpsDevice?: readonly ThrottleDevice[];
  readonly throttleReadIOPSDevice?: readonly ThrottleDevice[];
  readonly throttleWriteIOPSDevice?: readonly ThrottleDevice[];
}

/** A weight of one block device. */
export interface WeightDevice {
  readonly major: number;
  readonly minor: number;
  readonly weight?: number;
  readonly leafWeight?: number;
}

/** A rate (bytes or operations a second) of one block device. */
export interface ThrottleDevice {
  readonly major: number;
  readonly minor: number;
  readonly rate: Integer64;
}

/** A limit in bytes for one size of huge pages. */
export interface HugepageLimit {
  /** `2MB`. */
  readonly pageSize: string;
  readonly limit: Integer64;
}

/** net_cls and net_prio, cgroup v1 only. */
export interface NetworkResources {
  readonly classID?: number;
  readonly priorities?: readonly InterfacePriority[];
}

/** The priority of traffic on one interface. */
export interface InterfacePriority {
  readonly name: string;
  readonly priority: number;
}

/** Limits of one RDMA device. */
export interface RdmaResources {
  readonly hcaHandles?: number;
  readonly hcaObjects?: number;
}

/** A seccomp filter as libseccomp takes it. */
export interface Seccomp {
  /** `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  /** `SCMP_ARCH_X86_64`. */
  readonly architectures?: readonly string[];
  /** `SECCOMP_FILTER_FLAG_LOG`. */
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly SeccompSyscall[];
}

/** What is done about some system calls. */
export interface SeccompSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArg[];
}

/** A condition on one argument of a system call. */
export interface SeccompArg {
  readonly index: number;
  readonly value: Integer64;
  readonly valueTwo?: Integer64;
  /** `SCMP_CMP_EQ`. */
  readonly op: string;
}

/** Intel Resource Director Technology. */
export interface IntelRdt {
  readonly closID?: string;
  readonly schemata?: readonly string[];
  readonly l3CacheSchema?: string;
  readonly memBwSchema?: string;
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
  readonly flags?: readonly string[];
}
