/**
 * Carries out the acts of plans/parent/control.ts on an existing container. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { setSchemata } from "../../cgroups/rdt/group.ts";
import { removeRdtGroup, resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { RuncError } from "../../errors.ts";
import type { OtherProcess } from "../../ffi/ending.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { pause, type Waits } from "../../ffi/waits.ts";
import type { IntelRdt, Resources } from "../../specs/config.ts";
import type { State, Status } from "../../specs/state.ts";
import { runHook } from "../launch/host_hooks.ts";
import { INIT_NAME } from "../launch/launch.ts";
import { type Performers, runActs, type World } from "../launch/run_acts.ts";
import type { Act, Flag, VerbOf } from "../plans/parent/act.ts";
import type { Runtime } from "../runtime.ts";
import { annotationsOf, bundleOf, idOf, initOf, rdtGroupOf, type RuncState, versionOf } from "../state/runc_state.ts";
import { missingContainer, type StateDirectory } from "../state/store.ts";
import { livesOn, processStat } from "../state/process_status.ts";
import { withResources } from "../state/to_runc_state.ts";
import { readExecFifo } from "./exec_fifo.ts";
import { awaitInitEnd, hasLiveInit, killCgroup, openInit, signalInit } from "./killing.ts";
import { type MergedLimits, mergeLimits } from "./update_container.ts";

/** How often to look whether CRIU, or another command, is still there, in milliseconds. */
const LOOK_MS = 10;

const SIGKILL = 9;
/** Time for a creation to end by itself, in milliseconds. */
const PATIENCE_MS = 2000;

/** A container's parts. */
export interface ContainerParts {
  readonly directory: StateDirectory;
  readonly cgroup: CgroupManager;
  readonly state: RuncState;
}

/** Whether a process is in this process's pid namespace. Not one that has ended. */
function isInOurPids(pid: number): boolean {
  try {
    return Deno.readLinkSync(`/proc/${pid}/ns/pid`) === Deno.readLinkSync("/proc/self/ns/pid");
  } catch {
    return false;
  }
}

/** As {@link signalInit}; an init that has ended is no error. */
function signalIfAlive(runtime: Runtime, state: RuncState, signal: number): void {
  try {
    signalInit(runtime, state, signal);
  } catch (error) {
    if (!(error instanceof RuncError) || error.code !== "container-state") throw error;
  }
}

/** The status as the kernel sees it. It is not stored. */
export function* readStatus(kernel: Kernel, { directory, cgroup, state }: ContainerParts): Waits<Status> {
  if (cgroup.exists() && (yield* cgroup.freezerState()) === "frozen") return "paused";
  if (!hasLiveInit(state)) return "stopped";
  return directory.hasFifo(kernel) ? "created" : "running";
}

/** The state that hooks and agents read. */
export function hookStateOf(state: RuncState, status: Status): State {
  const annotations = annotationsOf(state);
  return {
    ociVersion: versionOf(state),
    id: idOf(state),
    status,
    ...(status === "stopped" ? {} : { pid: initOf(state).pid }),
    bundle: bundleOf(state),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** One command on a container: what its acts find out. */
export class ContainerWorld implements World, Disposable {
  readonly #runtime: Runtime;
  readonly #directory: StateDirectory;
  readonly #cgroup: CgroupManager;
  readonly #tellCaller: () => void;
  readonly #kept = new DisposableStack();
  #state: RuncState;
  #lock?: Fd;
  #init?: OtherProcess;
  #limits?: MergedLimits;
  #restoreLimits?: () => Waits<void>;
  #oldSchemata?: IntelRdt;
  readonly flags: Set<Flag> = new Set();
  readonly performers: Performers;

  constructor(runtime: Runtime, { directory, cgroup, state }: ContainerParts, tellCaller: () => void = () => {}) {
    this.#runtime = runtime;
    this.#directory = directory;
    this.#cgroup = cgroup;
    this.#state = state;
    this.#tellCaller = tellCaller;
    this.performers = { ...this.#stateVerbs(), ...this.#processVerbs(), ...this.#cgroupVerbs(), ...this.#limitVerbs() };
  }

  get log(): Runtime["log"] {
    return this.#runtime.log;
  }

  get trace(): Runtime["trace"] {
    return this.#runtime.trace;
  }

  /** The state, as it was read last or has been changed. */
  get state(): RuncState {
    return this.#state;
  }

  /** Carries out acts. @throws {RuncError} */
  *run(acts: readonly Act[]): Waits<void> {
    yield* runActs(acts, this);
  }

  #stateVerbs(): Performers {
    const { kernel } = this.#runtime;
    const directory = this.#directory;
    return {
      lockState: (does) => this.#lockState(does),
      unlockState: () => this.#lock?.close(),
      readStatus: (does) => this.#readStatus(does),
      saveState: () => directory.save(kernel, this.#state),
      removeStateDirectory: () => directory.remove(kernel),
      readExecFifo: () => readExecFifo(kernel, directory, initOf(this.#state).pid),
      runHook: (does, span) => this.#runHook(does, span),
      // A callback may return something: it is not work that waits.
      tellCaller: () => void this.#tellCaller(),
      debug: ({ text }) => void this.log("debug", text),
      warn: ({ text }) => void this.log("warning", text),
    };
  }

  *#lockState({ force }: VerbOf<"lockState">): Waits<void> {
    const { kernel } = this.#runtime;
    if (force) yield* this.#endHangingCreation();
    const lock = yield* this.#directory.lock(kernel);
    if (lock !== undefined) this.#lock = this.#kept.use(lock);
    const state = this.#directory.load(kernel);
    // A new container can have the same name. Its init is another process.
    const [init, known] = [initOf(state), initOf(this.#state)];
    if (init.pid !== known.pid || init.startTime !== known.startTime) throw missingContainer();
    // Another update can have changed the state.
    this.#state = state;
  }

  /**
   * A creation has the lock until its end, and may wait for a seccomp agent or a file system that does not answer. If
   * init is killed, it ends.
   */
  *#endHangingCreation(): Waits<void> {
    const { kernel } = this.#runtime;
    const { pid } = initOf(this.#state);
    const deadline = monotonicMs(kernel) + PATIENCE_MS;
    while (processStat(pid)?.name === INIT_NAME) {
      const lock = this.#directory.tryLock(kernel);
      if (lock !== "busy") return void lock?.close();
      if (monotonicMs(kernel) >= deadline) return signalIfAlive(this.#runtime, this.#state, SIGKILL);
      yield* pause(LOOK_MS);
    }
  }

  *#readStatus({ allowed, refusal }: VerbOf<"readStatus">): Waits<void> {
    const parts = { directory: this.#directory, cgroup: this.#cgroup, state: this.#state };
    const status = yield* readStatus(this.#runtime.kernel, parts);
    this.flags.add(status);
    if (allowed === undefined || allowed.includes(status)) return;
    const { message = "", messages = {}, hint, hints = {} } = refusal ?? {};
    const text = messages[status] ?? message.replace("{}", status);
    throw new RuncError("container-state", text, { hint: hints[status] ?? hint });
  }

  *#runHook(does: VerbOf<"runHook">, span: Parameters<typeof runHook>[3]): Waits<void> {
    try {
      yield* runHook(this.#runtime, does, hookStateOf(this.#state, does.status as Status), span);
    } catch (error) {
      if (!does.goOn) throw error;
      this.log("warning", (error as Error).message);
    }
  }

  #processVerbs(): Performers {
    return {
      openInit: () => {
        const init = openInit(this.#runtime, this.#state);
        if (init !== undefined) this.#init = this.#kept.use(init);
      },
      signalInit: ({ signal, optional }) => (optional ? signalIfAlive : signalInit)(this.#runtime, this.#state, signal),
      requireLiveInit: () => this.#requireLiveInit(),
      awaitInitEnd: () => this.#init === undefined ? undefined : awaitInitEnd(this.#runtime, this.#target, this.#init),
      killCgroup: (does) => this.#killCgroup(does),
      awaitCriuGone: ({ limitMs }) => this.#awaitCriuGone(limitMs),
    };
  }

  /** @throws {RuncError} `container-state` */
  #requireLiveInit(cause?: unknown): void {
    const { pid, startTime } = initOf(this.#state);
    if (!livesOn(pid, startTime)) throw new RuncError("container-state", "container not running", { cause });
  }

  /** A cgroup in which the processes end meanwhile may be refused. */
  *#freeze(): Waits<void> {
    try {
      yield* this.#cgroup.freeze();
    } catch (error) {
      if (error instanceof RuncError && error.code === "cgroup-failed") this.#requireLiveInit(error);
      throw error;
    }
  }

  get #target(): { state: RuncState; cgroup: CgroupManager } {
    return { state: this.#state, cgroup: this.#cgroup };
  }

  *#killCgroup({ ifThere }: VerbOf<"killCgroup">): Waits<void> {
    if (ifThere && !this.#cgroup.exists()) return;
    if (yield* killCgroup(this.#runtime, this.#target)) this.flags.add("cgroup killed");
  }

  /** CRIU changes its mount namespace meanwhile, but not its pid namespace. */
  *#awaitCriuGone(limitMs: number): Waits<void> {
    const { kernel } = this.#runtime;
    const deadline = monotonicMs(kernel) + limitMs;
    const isThere = () => this.#cgroup.exists() && this.#cgroup.processes().some(isInOurPids);
    while (monotonicMs(kernel) < deadline && isThere()) yield* pause(LOOK_MS);
  }

  #cgroupVerbs(): Performers {
    return {
      freeze: () => this.#freeze(),
      thaw: () => this.#cgroup.thaw(),
      thawToKill: () => this.#cgroup.thawToKill(),
      removeCgroups: () => this.#cgroup.destroy(),
      removeRdtGroup: () => {
        const group = rdtGroupOf(this.#state);
        if (group !== undefined) removeRdtGroup(group);
      },
    };
  }

  #limitVerbs(): Performers {
    return {
      mergeLimits: ({ resources, rdt }) => this.#mergeLimits(resources, rdt),
      rememberLimits: () => {
        const { limits, stored } = this.#limits!;
        this.#restoreLimits = this.#cgroup.remember(limits, stored);
      },
      restoreLimits: () => this.#settingBack("cgroup", () => this.#restoreLimits!()),
      setLimits: () => this.#cgroup.set(this.#limits!.limits),
      rememberSchemata: () => void (this.#oldSchemata = this.#limits!.storedRdt),
      setSchemata: () => this.#setSchemata(this.#limits!.rdt!),
      restoreSchemata: () => this.#settingBack("intelrdt", () => this.#setSchemata(this.#oldSchemata!)),
    };
  }

  #mergeLimits(resources: Resources, rdt: Partial<IntelRdt>): void {
    const merged = mergeLimits(this.#runtime, this.#state, { resources, rdt });
    this.#limits = merged;
    if (merged.rdt !== undefined && merged.storedRdt !== undefined) this.flags.add("has schemas");
    this.#state = withResources(this.#state, merged.limits, merged.rdt);
  }

  #setSchemata(rdt: IntelRdt): void {
    const root = resctrlRoot(this.#runtime.kernel);
    const path = rdtGroupOf(this.#state)?.path;
    if (root !== undefined && path !== undefined) setSchemata({ root, path }, rdt);
  }

  /** The error that led here is thrown; this one is only logged, in runc's words. */
  *#settingBack(what: "cgroup" | "intelrdt", action: () => void | Waits<void>): Waits<void> {
    try {
      const waits = action();
      if (waits !== undefined) yield* waits;
    } catch (error) {
      this.log(
        "warning",
        `Setting back ${what} configs failed due to error: ${
          (error as Error).message
        }, your state.json and actual configs might be inconsistent.`,
      );
    }
  }

  [Symbol.dispose](): void {
    this.#kept.dispose();
  }
}
