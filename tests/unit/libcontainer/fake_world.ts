/**
 * A world that carries out the parent's acts on a {@link FakeHost}, with a stage and an init that send what is awaited.
 * It fails where a test wants it to.
 *
 * @module
 */

import { RuncError } from "../../../lib/errors.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import { readable, runWaits, runWaitsAsync, type Waits } from "../../../lib/ffi/waits.ts";
import { Conversation } from "../../../lib/libcontainer/launch/conversation.ts";
import {
  type Performers,
  performVerb,
  type Received,
  runActs,
  type World,
} from "../../../lib/libcontainer/launch/run_acts.ts";
import type { Act, Await, CriuMoment, Flag, Served, Verb, VerbOf } from "../../../lib/libcontainer/plans/parent/act.ts";
import type { Log } from "../../../lib/libcontainer/runtime.ts";
import type { Status } from "../../../lib/specs/state.ts";
import { failed, FakeHost, fakeKernel, pids } from "./fake_host.ts";
import { type FakeMessage, fakeMessage } from "./fake_message.ts";

/** A failure. An errno; or the peer does something else; or a signal ends the wait. */
export type Trouble = keyof typeof Errno | "interrupted" | "dies" | "lies";

/** Where to fail: at what is done as the n-th, from 0. `partly`: a part of it is done. */
export interface Fault {
  readonly at: number;
  readonly trouble: Trouble;
  readonly partly?: boolean;
}

/** What a test says of its world. */
export interface FakeOptions {
  readonly acts: readonly Act[];
  readonly host?: FakeHost;
  readonly faults?: readonly Fault[];
  /** The container has its own pid namespace. */
  readonly ownsPids?: boolean;
  /** Init is known from an earlier conversation. */
  readonly init?: number;
  /** Sends messages instead of the usual stage and init. */
  readonly peer?: (awaits: Await, world: FakeWorld) => FakeMessage;
  /** What the kernel says of the container. */
  readonly status?: Status;
  readonly flags?: readonly Flag[];
  /** CRIU does not kill what it saves. */
  readonly leavesRunning?: boolean;
}

/** What was done: a verb, or a wait for a message. */
export type Done = Pick<Act, "does">["does"];

/** @see World */
export class FakeWorld implements World {
  readonly #options: FakeOptions;
  readonly host: FakeHost;
  readonly conversation: Conversation<Received>;
  readonly performers: Performers;
  readonly flags: Set<Flag>;
  message?: Received;
  /** All that was done and tried, in order. */
  readonly done: Done[] = [];
  readonly warnings: string[] = [];
  readonly messages: FakeMessage[] = [];
  /** Pids that are known to be our children. */
  readonly #adopted = new Set<number>();
  readonly #served = new Set<string>();
  /** Descriptors of this command; it closes them at its end. */
  readonly #open = new Set<string>();

  constructor(options: FakeOptions) {
    this.#options = options;
    this.host = options.host ?? new FakeHost();
    this.conversation = new Conversation<Received>(options.acts, options.init);
    this.flags = new Set(options.flags);
    if (options.init !== undefined) this.#adopted.add(options.init);
    const verbs = { ...this.#hostVerbs(), ...this.#processVerbs(), ...this.#talkVerbs(), ...this.#cgroupVerbs() };
    this.performers = this.#noted({ ...verbs, ...this.#limitVerbs(), ...this.#criuVerbs() });
  }

  readonly log: Log = (level, text) => {
    if (level === "warning") this.warnings.push(text);
  };

  /** Runs the acts, and closes what the command has open. Returns the error. */
  run(): unknown {
    try {
      runWaits({ kernel: fakeKernel() }, runActs(this.#options.acts, this, this.conversation));
    } catch (error) {
      return error;
    } finally {
      this.#close();
    }
  }

  /** {@link run}, asynchronously. */
  async runAsync(): Promise<unknown> {
    try {
      await runWaitsAsync({ kernel: fakeKernel() }, runActs(this.#options.acts, this, this.conversation));
    } catch (error) {
      return error;
    } finally {
      this.#close();
    }
  }

  #close(): void {
    for (const each of this.#open) this.host.descriptors.delete(each);
    if (this.#open.has("lock")) this.host.isLocked = false;
  }

  #opens(name: string): void {
    this.#open.add(name);
    this.host.descriptors.add(name);
  }

  /** Notes what is done, and fails. `partly`: after the verb. */
  #noted(performers: Performers): Performers {
    const noted = Object.entries(performers).map(([name, perform]) => {
      const work = perform as (does: Verb) => void | Waits<void>;
      return [name, (does: Verb) => {
        const fault = this.#next(does);
        if (fault === undefined) return work(does);
        if (fault.partly) work(does);
        // What CRIU has frozen and made stays as it is.
        if (fault.trouble === "dies") this.host.end(pids.criu, this.#pids);
        throw this.#error(does.verb, fault.trouble);
      }];
    });
    return Object.fromEntries(noted);
  }

  #next(does: Done): Fault | undefined {
    const at = this.done.push(does) - 1;
    return this.#options.faults?.find((fault) => fault.at === at);
  }

  #error(call: string, trouble: Trouble): RuncError {
    if (trouble === "interrupted") return new RuncError("interrupted", "interrupted", { signal: 15 });
    if (trouble === "dies") return new RuncError("checkpoint-failed", `${call}: unexpected EOF`);
    if (trouble === "lies") return new RuncError("protocol", call);
    return failed(call, Errno[trouble as keyof typeof Errno]);
  }

  *receive(awaits: Await): Waits<Received> {
    yield* readable([5]);
    const peer = this.#options.peer ?? usualPeer;
    const fault = this.#next(awaits);
    const message = this.#changed(fault?.trouble, () => peer(awaits, this));
    message.host = this.host;
    this.host.received += message.descriptors;
    this.messages.push(message);
    return message;
  }

  #changed(trouble: Trouble | undefined, usual: () => FakeMessage): FakeMessage {
    if (trouble === "dies") return fakeMessage("end", 0);
    const message = usual();
    // The message stays unread.
    if (trouble === "interrupted") throw this.#error("poll", "interrupted");
    return trouble === "lies" ? fakeMessage("created", message.sender, { kind: 99, descriptors: 2 }) : message;
  }

  /** Whether a request was made before. */
  isServed(kind: string): boolean {
    const has = this.#served.has(kind);
    this.#served.add(kind);
    return has;
  }

  #hostVerbs(): Performers {
    const { host } = this;
    return {
      makeStateDirectory: ({ path }) => host.make(path, "directory"),
      removeStateDirectory: ({ path }) => {
        if ([...host.paths].some(([each, what]) => each.startsWith(path) && what === "rootfs")) {
          throw new Error("this would remove the rootfs");
        }
        host.remove(path);
      },
      noteCreation: ({ path }) => host.make(path, "note"),
      makeDirectory: ({ path }) => host.make(path, "directory"),
      makeExecFifo: ({ path }) => {
        host.make(path, "fifo");
        this.#opens("fifo");
      },
      readExecFifo: ({ path }) => host.remove(path),
      saveState: ({ path }) => {
        host.paths.set(path, `state with ${host.limits} limits`);
        host.remove(path.replace("state.json", "creating.json"));
      },
      lockState: () => {
        if (host.isLocked) throw new Error("the lock is held: this would wait forever");
        host.isLocked = true;
        this.#opens("lock");
      },
      unlockState: () => void (host.isLocked = false),
      openNamespace: ({ fd }) => this.#opens(fd),
      pairSockets: ({ fds }) => fds.forEach((fd) => this.#opens(fd)),
      makeHookFiles: ({ hooks }) => hooks.forEach((name) => this.#opens(`hook ${name}`)),
      runHook: (does) => this.#runHook(does),
      readStatus: (does) => this.#readStatus(does),
      warn: () => {},
      debug: () => {},
      tellCaller: () => {},
      writeIdMaps: () => {},
      writeHookStates: () => {},
      describe: () => void this.#known(pids.init),
      moveNetworkDevice: ({ name }) => void host.devices.set(name, pids.init),
      setRlimit: ({ type }) => void this.#known(pids.init).limits.add(type),
      restoreFileLimit: () => void this.#known(pids.init).limits.add("RLIMIT_NOFILE"),
    };
  }

  #runHook({ hook }: VerbOf<"runHook">): void {
    this.host.hooks.push(hook.path);
    if (this.host.isLocked) {
      throw new Error(`the hook ${hook.path} may call the runtime, which would wait for the lock`);
    }
  }

  #readStatus({ allowed }: VerbOf<"readStatus">): void {
    const { status = "running" } = this.#options;
    this.flags.add(status);
    if (allowed !== undefined && !allowed.includes(status)) throw new RuncError("container-state", status);
  }

  #processVerbs(): Performers {
    const { host } = this;
    return {
      startStage: () => {
        host.start(pids.stage, true);
        this.#adopted.add(pids.stage);
        this.#opens("socket");
        this.conversation.stageIs(pids.stage);
      },
      endProcesses: () => this.#endProcesses(),
      adopt: ({ pid }) => {
        if (!host.processes.get(pid!)?.isOurs) throw new RuncError("protocol", `stage sent ${pid}`);
        this.#adopted.add(pid!);
        this.#opens(`pidfd of ${pid}`);
      },
      reapStage: () => [pids.stage, pids.helper].forEach((pid) => host.end(pid, this.#pids)),
      checkProgram: () => void this.#known(pids.init),
      requireInit: ({ pid }) => void this.#known(pid),
      refuseTracers: ({ pid }) => void this.#known(pid),
      openInit: () => this.#opens("init"),
      signalInit: ({ signal, optional }) => {
        if (!host.processes.has(pids.init) && !optional) throw new RuncError("container-state", "not running");
        host.signalled.push(`pidfd ${pids.init}`);
        if (signal === 9) host.end(pids.init, this.#pids);
      },
      requireLiveInit: () => void this.#known(pids.init),
      awaitInitEnd: () => {
        if (host.processes.has(pids.init)) throw new RuncError("container-state", "container init still running");
      },
    };
  }

  get #pids(): { ownsPids: boolean } {
    return { ownsPids: this.#options.ownsPids ?? true };
  }

  #known(pid: number) {
    const process = this.host.processes.get(pid);
    if (process === undefined) throw failed(`/proc/${pid}/stat`, Errno.ENOENT);
    return process;
  }

  /** As lib/libcontainer/launch/launch.ts: what was adopted, by its pidfd. Init's pid may be in an unread message. */
  #endProcesses(): void {
    for (const [pid, { isOurs }] of this.host.processes) {
      if (!isOurs) continue;
      if (!this.#adopted.has(pid) && !this.done.some(({ verb }) => verb === "startStage")) continue;
      this.host.signalled.push(`pidfd ${pid}`);
      this.host.end(pid, this.#pids);
    }
  }

  #talkVerbs(): Performers {
    return {
      go: () => this.#enterCgroups(),
      fail: () => {
        throw new RuncError("step-failed", "a step failed");
      },
      warnOfStep: () => this.log("debug", "a warning"),
      died: () => {
        throw new RuncError("step-failed", "ended before it was ready");
      },
      logHooks: () => {},
      handListener: ({ fd }) => {
        if (fd === undefined) throw new Error("the listener is not known");
      },
      makeTarget: () => {},
      copyUp: () => this.#copyUp(),
    };
  }

  /** The stage enters the cgroups when it may go on. */
  #enterCgroups(): void {
    const stage = this.host.processes.get(pids.stage);
    for (const path of this.host.cgroups) stage?.cgroups.add(path);
  }

  *#copyUp(): Waits<void> {
    this.conversation.expectCopied();
    for (;;) {
      using message = yield* this.receive({ verb: "await", kind: "hooks", by: "init", serves: ["copied" as Served] });
      for (const { does } of this.conversation.feed(message) ?? []) {
        if (does.verb === "copied") return;
        yield* performVerb(does, this) ?? [];
      }
    }
  }

  #cgroupVerbs(): Performers {
    const { host } = this;
    const join = () => this.#enterCgroups();
    return {
      makeCgroups: ({ paths }) => paths.forEach((path) => host.cgroups.add(path)),
      joinCgroups: ({ who }) => who === "CRIU" ? this.#moveCriu() : join(),
      requireCgroups: () => {},
      setDevices: () => {},
      setLimits: () => void (host.limits = "new"),
      removeCgroups: ({ paths }) => paths.forEach((path) => host.removeCgroup(path)),
      killLeft: () => this.#killLeft(),
      killCgroup: () => {
        for (const pid of [pids.init, pids.left]) host.end(pid, this.#pids);
        this.flags.add("cgroup killed");
      },
      freeze: () => void (host.isFrozen = true),
      thaw: () => void (host.isFrozen = false),
      thawToKill: () => void (host.isFrozen = false),
      makeRdtGroup: ({ root }) => void host.rdtGroups.add(`${root}/box`),
      joinRdtGroup: () => {},
      limitRdtGroup: () => {},
      undoRdtGroup: () => host.rdtGroups.clear(),
      removeRdtGroup: ({ path }) => void host.rdtGroups.delete(path),
    };
  }

  #killLeft(): void {
    for (const [pid, { cgroups }] of this.host.processes) {
      if ([...cgroups].some((path) => this.host.cgroups.has(path))) this.host.end(pid, this.#pids);
    }
  }

  #moveCriu(): void {
    for (const path of this.host.cgroups) this.#known(pids.criu).cgroups.add(path);
  }

  /** CRIU is at a moment, and waits for an answer. */
  #moment?: CriuMoment;
  #saves = false;

  #criuVerbs(): Performers {
    const { host } = this;
    return {
      findCriu: () => {},
      startCriu: () => {
        host.start(pids.criu, true);
        this.#opens("criu");
      },
      endCriu: () => host.end(pids.criu, this.#pids),
      checkCriu: () => void this.#known(pids.criu),
      checkStatusFd: () => {},
      openImages: ({ images, makes }) => {
        if (makes) host.paths.set(images, "directory");
        this.#opens("images");
      },
      writeImageFacts: ({ path }) => void host.paths.set(`${path}/descriptors.json`, "streams"),
      requestCriu: ({ type }) => {
        this.#saves = type !== "RESTORE";
        if (this.#saves) host.isFrozen = true;
      },
      awaitCriu: (does) => this.#awaitCriu(does),
      answerCriu: () => {
        if (this.#moment === undefined) throw new Error("CRIU does not wait for an answer");
        this.#moment = undefined;
      },
      refuseCriu: () => void (this.#moment = undefined),
      awaitCriuEnd: () => host.end(pids.criu, this.#pids),
      awaitCriuGone: () => {},
      tellReady: () => {},
      adoptRestored: () => {
        if (!this.#known(pids.init).isOurs) throw new RuncError("protocol", "no child of ours");
        this.#opens("pidfd of the restored process");
      },
      endRestored: () => host.end(pids.init, this.#pids),
      mountRootfs: ({ path }) => host.make(path, "rootfs"),
      unmountRootfs: ({ path }) => void host.paths.delete(path),
      makeMountPoints: () => {},
      setLoopbackUp: () => void this.#known(pids.init),
    };
  }

  #awaitCriu({ moment }: VerbOf<"awaitCriu">): void {
    if (this.#moment !== undefined) throw new Error(`CRIU waits for an answer at ${this.#moment}`);
    const { cgroups } = this.#known(pids.criu);
    if (moment !== "answer") this.#moment = moment;
    if (moment === "setup-namespaces") this.host.start(pids.init, true, cgroups);
    if (moment === "post-restore") this.host.start(pids.left, false, cgroups);
    if (moment !== "answer" || !this.#saves) return;
    this.host.isFrozen = this.#options.status === "paused";
    if (this.#options.leavesRunning) return;
    for (const pid of [pids.init, pids.left]) this.host.end(pid, this.#pids);
  }

  #limitVerbs(): Performers {
    const { host } = this;
    let [limits, schemata] = ["", ""];
    return {
      mergeLimits: () => void this.flags.add("has schemas"),
      rememberLimits: () => void (limits = host.limits),
      restoreLimits: () => void (host.limits = limits),
      rememberSchemata: () => void (schemata = host.schemata),
      setSchemata: () => void (host.schemata = "new"),
      restoreSchemata: () => void (host.schemata = schemata),
    };
  }
}

/** Sends what is awaited, after everything that may come before. */
export function usualPeer(awaits: Await, world: FakeWorld): FakeMessage {
  const { host } = world;
  for (const served of awaits.serves ?? []) {
    if (world.isServed(served)) continue;
    return fakeMessage(served, pids.init);
  }
  const { kind, by } = awaits;
  const cgroups = host.processes.get(pids.stage)?.cgroups;
  if (kind === "helper") host.start(pids.helper, true, cgroups);
  if (kind === "child") {
    host.start(pids.init, true, cgroups);
    host.processes.get(pids.stage)!.isZombie = true;
  }
  // A hook in the container has left a process.
  const isNew = world.done.some(({ verb }) => verb === "makeCgroups");
  if (kind === "ready" && isNew) host.start(pids.left, false, host.processes.get(pids.init)!.cgroups);
  if (kind === "end") return fakeMessage(kind, 0);
  const value = kind === "child" ? pids.init : kind === "helper" ? pids.helper : 0;
  return fakeMessage(kind, pids[by], { value: BigInt(value) });
}
