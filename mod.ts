/**
 * The library: OCI containers from a Deno program, with the same code as the `runc` command line.
 *
 * ```ts
 * import { createRuntime, defaultSpec, hasOnlyCgroup2, loadSpec, runOutput } from "@runc/runc";
 *
 * const runtime = createRuntime();
 * const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
 * const spec = loadSpec(runtime, {
 *   ...config,
 *   process: { ...config.process!, terminal: false, args: ["hostname"] },
 *   root: { path: "/bundles/web/rootfs", readonly: true },
 * }, "/bundles/web");
 * const { code, stdout } = await runOutput(runtime, { id: "hello", spec });
 * ```
 *
 * The steps of a container's life are {@link readConfig} → {@link loadSpec} → {@link compileSeccomp}, if it has a
 * profile → {@link Container.create} → {@link Container.start} → {@link Container.exec}, {@link Container.kill} →
 * {@link Container.delete}. {@link runOutput} takes all of them. {@link Container.checkpoint} saves the processes of a
 * container, and {@link Container.restore} makes a container from them. {@link planContainer} and {@link explain} describe
 * what creating a container would do, without doing it.
 *
 * Importing this module has no effect. Nothing in it exits, prints, or reads arguments or the environment: a function
 * can only touch what is in the {@link Runtime} that it is given. The library needs `--allow-all`, because it calls
 * libc. Every failure is a {@link RuncError}.
 *
 * @module
 */

// The runtime, the kernel, errors.
export { createRuntime } from "./lib/libcontainer/container/create_runtime.ts";
export { RecentFacts } from "./lib/libcontainer/recent_facts.ts";
export type { Log, Runtime } from "./lib/libcontainer/runtime.ts";
export { type Argument, type Call, Kernel } from "./lib/ffi/kernel.ts";
export type { Ending } from "./lib/ffi/ending.ts";
export { Fd } from "./lib/ffi/fd.ts";
export type { Interrupts } from "./lib/ffi/poll.ts";
export { Hold } from "./lib/ffi/poller.ts";
export { type Arch, type SyscallName, type SyscallRow, syscalls } from "./lib/ffi/syscalls.ts";
export { type ErrorCode, type ErrorDetails, RuncError } from "./lib/errors.ts";
export { type ErrnoName, errnos } from "./lib/ffi/errno.ts";

// config.json: defaults, reading, checking.
export { defaultSpec, rootlessSpec } from "./lib/specs/default_spec.ts";
export { parseConfig, type ParseOptions, parseProcess } from "./lib/specs/parse.ts";
export { loadSpec, readConfig, type Spec } from "./lib/libcontainer/container/bundle.ts";
export { hasOnlyCgroup2 } from "./lib/libcontainer/config/facts.ts";
export type {
  BindMount,
  CgroupMount,
  CommonMount,
  FileSystemMount,
  MountIds,
  ParsedMount,
  RemountMount,
} from "./lib/libcontainer/config/mounts.ts";
export type { MountOptions } from "./lib/libcontainer/config/mount_options.ts";
export {
  configError,
  configWarnings,
  type GroupFacts,
  type Problem,
  type ProcessFacts,
  type RootfsFacts,
  type Unreadable,
  validate,
  validateProcess,
  type ValidationFacts,
} from "./lib/libcontainer/config/validate.ts";

// The plan.
export { type ContainerPlan, planContainer, type PlanOptions } from "./lib/libcontainer/container/planning.ts";
export { KeptImages } from "./lib/libcontainer/launch/kept_images.ts";
export {
  type Actor as PlanActor,
  type ExplainedStep,
  explainSteps,
  explainWhole as explain,
  type WholePlan,
} from "./lib/libcontainer/plans/whole.ts";
export type {
  CgroupEntry,
  CgroupMountFact,
  HostFacts,
  LaunchRequest,
  RootLayers,
  StartFlags,
} from "./lib/libcontainer/config/launch_request.ts";
export type { RdtGroup } from "./lib/cgroups/rdt/group.ts";
export type { RdtPlace, RdtResource, RdtStats, RdtTransfers } from "./lib/cgroups/rdt/stats.ts";
export type { RdtSchemas } from "./lib/libcontainer/container/update_rdt.ts";
export type {
  Act,
  Await,
  Awaited,
  CgroupVerb,
  Condition,
  ConversationVerb,
  CriuMoment,
  CriuVerb,
  DescriptorVerb,
  Flag,
  OtherVerb,
  Place,
  Plain,
  ProcessVerb,
  Refusal,
  Served,
  SettingVerb,
  Speaker,
  StateVerb,
  Undo,
  Verb,
} from "./lib/libcontainer/plans/parent/act.ts";
export type { SpecDeviceRule } from "./lib/cgroups/devices/rules.ts";
export type { CgroupManager, SelfJoin } from "./lib/cgroups/manager.ts";
export type { Answer, CallsWait, CallWait, LockWait, ReadableWait, TurnWait, Wait, Waits } from "./lib/ffi/waits.ts";
export type { FreezerState } from "./lib/cgroups/freezer.ts";
export type { SubCgroups } from "./lib/cgroups/sub_cgroup.ts";
export type { SendSignal } from "./lib/cgroups/processes.ts";
export type { CgroupLayout, CgroupMode, Hierarchy } from "./lib/cgroups/layout.ts";
export type {
  AddOp,
  AndOp,
  At,
  Buffer,
  Bytes,
  CallOp,
  ConfigPath,
  Data,
  EndStepOp,
  FailOp,
  FdPath,
  FixedFd,
  ForkOp,
  IfOp,
  LoadOp,
  Op,
  Operand,
  Plan,
  RepeatOp,
  ShrOp,
  Slot,
  Step,
  StoreOp,
  Struct,
  SubOp,
  Text,
  WarnOp,
  Word,
} from "./lib/plan/op.ts";

// Containers.
export { compileSeccomp } from "./lib/libcontainer/seccomp/seccomp.ts";
export type { SeccompAudit, SeccompFilter } from "./lib/libcontainer/seccomp/filter.ts";
export type { SeccompCondition, SeccompProfile, SeccompRule } from "./lib/libcontainer/seccomp/profile.ts";
export type { ContainerState } from "./lib/libcontainer/state/state_text.ts";
export type { Exit } from "./lib/libcontainer/state/exit_record.ts";
export {
  type Abortable,
  Container,
  ContainerProcess,
  type CreateOptions,
} from "./lib/libcontainer/container/container.ts";
export type { CheckpointOptions, CriuOptions, CriuRestoreOptions } from "./lib/libcontainer/config/criu_options.ts";
export type { RestoreOptions } from "./lib/libcontainer/container/criu/restoration.ts";
export type { ProcessOptions } from "./lib/libcontainer/container/container_process.ts";
export type { ExecOptions } from "./lib/libcontainer/container/exec/planning.ts";
export type { Removal } from "./lib/libcontainer/plans/monitor/plan.ts";
export { rootOwner } from "./lib/libcontainer/config/id_mappings.ts";
export {
  execOutput,
  type ExecOutputOptions,
  type OutputOptions,
  type ProcessOutput,
  runOutput,
  type RunOutputOptions,
} from "./lib/libcontainer/container/output.ts";
export { type ExitStatus, shellStatus } from "./lib/ffi/process/process.ts";

// Sandboxes: containers for programs that nobody has checked.
export type { AcquireOptions, Pooled, PoolParts, SandboxPool, SandboxPoolOptions } from "./lib/sandbox/run/pool.ts";
export { Sandbox } from "./lib/sandbox/run/sandbox.ts";
export type {
  ImageRoot,
  SandboxOptions,
  SandboxOutputKind,
  SandboxRoot,
  SandboxSpawnOptions,
} from "./lib/sandbox/run/options.ts";
export type { IsolationOptions, SandboxMount, SandboxUser } from "./lib/sandbox/config/options.ts";
export type { Duration, Size } from "./lib/sandbox/config/units.ts";
export type { SandboxOutput, SandboxProcess, SandboxStatus } from "./lib/sandbox/process/sandbox_process.ts";
export type { ShellCommand } from "./lib/sandbox/shell/command.ts";
export type {
  SandboxDownloadOptions,
  SandboxFs,
  SandboxReadOptions,
  SandboxTempOptions,
  SandboxWalkOptions,
  SandboxWriteOptions,
} from "./lib/sandbox/files/sandbox_fs.ts";
export type { SandboxEnv } from "./lib/sandbox/run/sandbox_env.ts";
export type { SandboxDirEntry, SandboxFileInfo, SandboxWalkEntry } from "./lib/sandbox/files/scripts.ts";

// Checks.
export { type BundleReport, checkBundle } from "./lib/libcontainer/checks/check_bundle.ts";
export type { Finding, Severity, Subject } from "./lib/libcontainer/checks/rule.ts";

// Tracing.
export { Timeline, type TimelineOptions } from "./lib/libcontainer/trace/timeline.ts";
export type { Actor, LaunchTrace, RuntimeTrace, TracedLaunch } from "./lib/libcontainer/runtime_trace.ts";
export { type Span, type Trace, type TracedProcess } from "./lib/trace/recorder.ts";
export { type Attributes, type OpenSpan, type RunningSpan, type SpanDetails, type Tracer } from "./lib/trace/tracer.ts";
export { chromeTrace } from "./lib/trace/chrome.ts";
export { otlpTrace } from "./lib/trace/otlp.ts";

// Resource usage.
export { containerStats } from "./lib/libcontainer/container/stats.ts";
export type {
  BlockIoEntry,
  BlockIoStats,
  CgroupStats,
  CpusetFlag,
  CpusetStats,
  CpuStats,
  HugetlbStats,
  MemoryStats,
  MemoryUsage,
  MiscStats,
  PidsStats,
  Pressure,
  PressureTimes,
  RdmaEntry,
  RdmaStats,
} from "./lib/cgroups/stats/types.ts";
export { type OomWatch, watchOom } from "./lib/libcontainer/container/oom_watch.ts";

// What the kernel shows of a container, beside its config.
export { inspectContainer, type Inspection } from "./lib/libcontainer/inspect/inspect.ts";
export { type InspectFinding, type Topic, topics, type Verdict } from "./lib/libcontainer/inspect/finding.ts";

// The specification's types.
export { OCI_VERSION, type State, type Status } from "./lib/specs/state.ts";
export type * from "./lib/specs/config.ts";
