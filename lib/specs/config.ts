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
  /** Version of the specification that it was written for: `1.3.0`. */
  readonly ociVersion: string;
  /** Required to start a container. */
  readonly process?: Process;
  /** Required on Linux. */
  readonly root?: Root;
  /** Needs a UTS namespace. */
  readonly hostname?: string;
  /** The NIS domain name; needs a UTS namespace. */
  readonly domainname?: string;
  /** In the order in which they are mounted. */
  readonly mounts?: readonly Mount[];
  /** Commands around the life of the container. */
  readonly hooks?: Hooks;
  /** Free texts by name; `state` and hooks show them. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Everything that only Linux has. */
  readonly linux?: Linux;
  /** Of another platform. */
  readonly solaris?: OpaqueObject;
  /** Of another platform. */
  readonly windows?: OpaqueObject;
  /** Of another platform. */
  readonly vm?: OpaqueObject;
  /** Of another platform. */
  readonly zos?: OpaqueObject;
  /** Of another platform. */
  readonly freebsd?: OpaqueObject;
}

/** The program that runs in the container, and what it is given. */
export interface Process {
  /** Gives it a pseudoterminal as its standard streams. */
  readonly terminal?: boolean;
  /** First size of the terminal. */
  readonly consoleSize?: ConsoleSize;
  /** Whom it runs as. */
  readonly user: User;
  /** The command and its arguments; the command is looked up in the PATH of `env` inside the container. */
  readonly args?: readonly string[];
  /** For Windows; nothing reads it here. */
  readonly commandLine?: string;
  /** `NAME=VALUE` each. */
  readonly env?: readonly string[];
  /** Absolute, as seen in the container. */
  readonly cwd: string;
  /** Absent: the sets stay as they are. Present: every set is applied, one that is absent is empty. */
  readonly capabilities?: Capabilities;
  /** Resource limits; what is not named stays as it is. */
  readonly rlimits?: readonly Rlimit[];
  /** prctl(2), PR_SET_NO_NEW_PRIVS. */
  readonly noNewPrivileges?: boolean;
  /** Name of an AppArmor profile that is loaded on the host. */
  readonly apparmorProfile?: string;
  /** -1000 to 1000. */
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

/** In characters. */
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
  /** Mask for new files; 0o022 where absent. */
  readonly umask?: number;
  /** Supplementary groups. */
  readonly additionalGids?: readonly number[];
  /** For Windows; nothing reads it here. */
  readonly username?: string;
}

/** The five capability sets, by names such as `CAP_KILL`. */
export interface Capabilities {
  /** No program that it executes can have others. */
  readonly bounding?: readonly string[];
  /** Those that the kernel asks for. */
  readonly effective?: readonly string[];
  /** Those that a file can bring back. */
  readonly inheritable?: readonly string[];
  /** Those that it can make effective. */
  readonly permitted?: readonly string[];
  /** Those that every program it executes gets. */
  readonly ambient?: readonly string[];
}

/** One resource limit, getrlimit(2). RLIM_INFINITY is 18446744073709551615n. */
export interface Rlimit {
  /** `RLIMIT_NOFILE`. */
  readonly type: string;
  /** What the soft limit can be raised to. */
  readonly hard: Integer64;
  /** What holds. */
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
  /** The next three are in nanoseconds, for SCHED_DEADLINE only. */
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
  /** Until it is in its cgroup. */
  readonly initial?: string;
  /** From then on. */
  readonly final?: string;
}

/** The container's root file system. */
export interface Root {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  /** Makes it read-only, once it is set up. */
  readonly readonly?: boolean;
}

/** One mount in the container. */
export interface Mount {
  /** As seen in the container. */
  readonly destination: string;
  /** A file system type of the kernel; `bind` and `none` for bind mounts. */
  readonly type?: string;
  /** A device, a name, or for bind mounts a path on the host, from the bundle on. */
  readonly source?: string;
  /** As in mount(8), with the `r…` forms for whole trees. */
  readonly options?: readonly string[];
  /** For an id-mapped mount. */
  readonly uidMappings?: readonly IdMapping[];
  /** For an id-mapped mount. */
  readonly gidMappings?: readonly IdMapping[];
}

/** The names of the hooks, in the order in which they run. */
export type HookName = keyof Hooks;

/** Commands that are run at points of the container's life. */
export interface Hooks {
  /** On the host, before the root is entered; deprecated in favour of the next three. */
  readonly prestart?: readonly Hook[];
  /** On the host, after the namespaces are made and before the root is entered. */
  readonly createRuntime?: readonly Hook[];
  /** In the container's namespaces, before the root is entered. */
  readonly createContainer?: readonly Hook[];
  /** In the container, before its program. */
  readonly startContainer?: readonly Hook[];
  /** On the host, after the program was started. */
  readonly poststart?: readonly Hook[];
  /** On the host, after the container is removed. */
  readonly poststop?: readonly Hook[];
}

/** One command, as for execve(2). */
export interface Hook {
  /** Absolute. */
  readonly path: string;
  /** With argv[0]. */
  readonly args?: readonly string[];
  /** Its whole environment; absent: the runtime's. */
  readonly env?: readonly string[];
  /** In seconds. */
  readonly timeout?: number;
}

/** What only Linux has. */
export interface Linux {
  /** User ids of a new user namespace. */
  readonly uidMappings?: readonly IdMapping[];
  /** Group ids of a new user namespace. */
  readonly gidMappings?: readonly IdMapping[];
  /** Values by name (`net.ipv4.ip_forward`), of namespaces that the container has. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** What its cgroup allows. */
  readonly resources?: Resources;
  /** Path of its cgroup below the mount; relative ones start at the runtime's own cgroup. */
  readonly cgroupsPath?: string;
  /** What it does not share with the host. */
  readonly namespaces?: readonly Namespace[];
  /** Nodes to make in /dev, beside the usual ones. */
  readonly devices?: readonly LinuxDevice[];
  /** By name on the host. */
  readonly netDevices?: Readonly<Record<string, NetDevice>>;
  /** Which system calls it may use. */
  readonly seccomp?: Seccomp;
  /** `rslave`, `shared`, ... */
  readonly rootfsPropagation?: string;
  /** Absolute paths in the container that show nothing. */
  readonly maskedPaths?: readonly string[];
  /** Absolute paths in the container that cannot be written to. */
  readonly readonlyPaths?: readonly string[];
  /** SELinux context of its mounts. */
  readonly mountLabel?: string;
  /** Cache and memory bandwidth. */
  readonly intelRdt?: IntelRdt;
  /** On which NUMA nodes its memory is. */
  readonly memoryPolicy?: MemoryPolicy;
  /** The execution domain. */
  readonly personality?: Personality;
  /** Clocks of a new time namespace. */
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
  /** First id inside. */
  readonly containerID: number;
  /** First id outside. */
  readonly hostID: number;
  /** How many. */
  readonly size: number;
}

/** By clock: `monotonic`, `boottime`. */
export type TimeOffsets = Readonly<Record<string, TimeOffset>>;

/** What a clock of the container is ahead of the host's. */
export interface TimeOffset {
  /** Seconds, also negative. */
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
  /** Permission bits; 0o666 where absent. */
  readonly fileMode?: number;
  /** Owner in the container; 0 where absent. */
  readonly uid?: number;
  /** Group in the container; 0 where absent. */
  readonly gid?: number;
}

/** A network interface that moves into the container. */
export interface NetDevice {
  /** In the container; as on the host where absent. */
  readonly name?: string;
}

/** What the container's cgroup allows. */
export interface Resources {
  /** Which devices may be used. */
  readonly devices?: readonly DeviceRule[];
  /** Memory. */
  readonly memory?: MemoryResources;
  /** CPU time and placement. */
  readonly cpu?: CpuResources;
  /** Number of tasks. */
  readonly pids?: PidsResources;
  /** Block devices. */
  readonly blockIO?: BlockIoResources;
  /** Huge pages. */
  readonly hugepageLimits?: readonly HugepageLimit[];
  /** Marks and priorities of packets. */
  readonly network?: NetworkResources;
  /** By device. */
  readonly rdma?: Readonly<Record<string, RdmaResources>>;
  /** Contents by file name, cgroup v2 only. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** One rule of the device controller; later ones win. */
export interface DeviceRule {
  /** Allows, or forbids. */
  readonly allow: boolean;
  /** `a` (where absent), `b` or `c`. */
  readonly type?: string;
  /** Absent: any. */
  readonly major?: number;
  /** Absent: any. */
  readonly minor?: number;
  /** Of the letters `rwm`. */
  readonly access?: string;
}

/** In bytes; -1 is no limit. */
export interface MemoryResources {
  /** Beyond it the container is out of memory. */
  readonly limit?: Integer64;
  /** What is left to it when the host gets short. */
  readonly reservation?: Integer64;
  /** Memory and swap together. */
  readonly swap?: Integer64;
  /** Kernel memory; cgroup v1 only, and no longer in Linux. */
  readonly kernel?: Integer64;
  /** Buffers of TCP; cgroup v1 only. */
  readonly kernelTCP?: Integer64;
  /** 0 to 100; cgroup v1 only. */
  readonly swappiness?: Integer64;
  /** Out of memory it waits instead of dying; cgroup v1 only. */
  readonly disableOOMKiller?: boolean;
  /** Counts the cgroups below; cgroup v1 only. */
  readonly useHierarchy?: boolean;
  /** Refuses a limit below what is in use. */
  readonly checkBeforeUpdate?: boolean;
}

/** Times in microseconds. */
export interface CpuResources {
  /** Weight against the neighbours, 1024 by default. */
  readonly shares?: Integer64;
  /** Time in each period; -1 is no limit. */
  readonly quota?: Integer64;
  /** What a period may borrow. */
  readonly burst?: Integer64;
  /** Length of a period. */
  readonly period?: Integer64;
  /** Time of real-time tasks in each period. */
  readonly realtimeRuntime?: Integer64;
  /** Length of their period. */
  readonly realtimePeriod?: Integer64;
  /** A list such as `0-3,7`. */
  readonly cpus?: string;
  /** NUMA nodes, as such a list. */
  readonly mems?: string;
  /** 1: runs only when nobody else does (SCHED_IDLE). */
  readonly idle?: Integer64;
}

/** At most `limit` tasks. */
export interface PidsResources {
  /** -1 is no limit. */
  readonly limit?: Integer64;
}

/** The blkio or io controller. */
export interface BlockIoResources {
  /** Against the neighbours, 10 to 1000. */
  readonly weight?: number;
  /** The same against the cgroups below; cgroup v1 only. */
  readonly leafWeight?: number;
  /** Weights by device. */
  readonly weightDevice?: readonly WeightDevice[];
  /** Bytes a second read. */
  readonly throttleReadBpsDevice?: readonly ThrottleDevice[];
  /** Bytes a second written. */
  readonly throttleWriteBpsDevice?: readonly ThrottleDevice[];
  /** Reads a second. */
  readonly throttleReadIOPSDevice?: readonly ThrottleDevice[];
  /** Writes a second. */
  readonly throttleWriteIOPSDevice?: readonly ThrottleDevice[];
}

/** A weight of one block device. */
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

/** A rate (bytes or operations a second) of one block device. */
export interface ThrottleDevice {
  /** Major number. */
  readonly major: number;
  /** Minor number. */
  readonly minor: number;
  /** Per second. */
  readonly rate: Integer64;
}

/** A limit in bytes for one size of huge pages. */
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
  /** By interface, net_prio. */
  readonly priorities?: readonly InterfacePriority[];
}

/** The priority of traffic on one interface. */
export interface InterfacePriority {
  /** Of the interface, in the container. */
  readonly name: string;
  /** Of its packets. */
  readonly priority: number;
}

/** Limits of one RDMA device. */
export interface RdmaResources {
  /** Number of handles. */
  readonly hcaHandles?: number;
  /** Number of objects. */
  readonly hcaObjects?: number;
}

/** A seccomp filter as libseccomp takes it. */
export interface Seccomp {
  /** `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  /** The errno of the default action. */
  readonly defaultErrnoRet?: number;
  /** `SCMP_ARCH_X86_64`. */
  readonly architectures?: readonly string[];
  /** `SECCOMP_FILTER_FLAG_LOG`. */
  readonly flags?: readonly string[];
  /** AF_UNIX socket of the agent that decides about SCMP_ACT_NOTIFY. */
  readonly listenerPath?: string;
  /** Text for that agent. */
  readonly listenerMetadata?: string;
  /** Actions of their own. */
  readonly syscalls?: readonly SeccompSyscall[];
}

/** What is done about some system calls. */
export interface SeccompSyscall {
  /** System calls by name; unknown ones are left out. */
  readonly names: readonly string[];
  /** As `defaultAction`. */
  readonly action: string;
  /** The errno of the action. */
  readonly errnoRet?: number;
  /** Conditions, all of which must hold. */
  readonly args?: readonly SeccompArg[];
}

/** A condition on one argument of a system call. */
export interface SeccompArg {
  /** 0 to 5. */
  readonly index: number;
  /** To compare with. */
  readonly value: Integer64;
  /** For SCMP_CMP_MASKED_EQ: what the masked argument must be. */
  readonly valueTwo?: Integer64;
  /** `SCMP_CMP_EQ`. */
  readonly op: string;
}

/** Intel Resource Director Technology. */
export interface IntelRdt {
  /** Name of the class of service; the container's id where absent. */
  readonly closID?: string;
  /** Lines for its schemata file. */
  readonly schemata?: readonly string[];
  /** A line for the L3 cache. */
  readonly l3CacheSchema?: string;
  /** A line for the memory bandwidth. */
  readonly memBwSchema?: string;
  /** Counts what it uses, in a monitoring group of its own. */
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
  /** None is defined. */
  readonly flags?: readonly string[];
}
