/**
 * Carries out the acts that create and exec share: the start of stage and init, the conversation with them, and what is
 * set for the process by its pid. Runs in: parent.
 *
 * @module
 */

import { rlimitNames } from "../../ffi/constants.ts";
import { Errno, errnoName, errnoText } from "../../ffi/errno.ts";
import { RuncError } from "../../errors.ts";
import { getRlimit, setRlimit } from "../../ffi/process/process.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { State } from "../../specs/state.ts";
import type { Act, Await, Flag, VerbOf } from "../plans/parent/act.ts";
import type { Runtime } from "../runtime.ts";
import { handToAgent } from "../seccomp/agent.ts";
import { handToAuditor } from "../seccomp/audit/auditor.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import { Conversation } from "./conversation.ts";
import { type HookOutput, Launch } from "./launch.ts";
import { homeOf } from "./passwd.ts";
import { type Explained, type Performers, performVerb, type Received, type World } from "./run_acts.ts";
import { type StageOptions, startStage } from "./stage.ts";

/** What a launch needs to know. */
export interface LaunchOptions {
  readonly acts: readonly Act[];
  /** Called when the stage is started: descriptors are opened by acts before it. */
  readonly stage: () => StageOptions;
  /** Called once the stage is started: the files that hooks in the container print to, which the launch closes. */
  readonly hookOutput?: () => HookOutput;
  /** linux.seccomp, compiled. */
  readonly seccomp?: SeccompFilter;
  /** The container's state, for a seccomp agent. `pid`: init's. */
  readonly hookState: (pid: number) => State;
  /** Called when the process's pid is known and the parent would only wait. */
  readonly onProcess?: (pid: number) => void;
  /** @see World.explain */
  readonly explain?: World["explain"];
}

/** The world of a launch. Its owner adds performers. */
export class LaunchWorld implements World {
  readonly #runtime: Runtime;
  readonly #options: LaunchOptions;
  #launch?: Launch;
  #conversation: Conversation<Received>;
  #performers: Performers;
  readonly flags: Set<Flag> = new Set();
  message?: Received;

  constructor(runtime: Runtime, options: LaunchOptions) {
    this.#runtime = runtime;
    this.#options = options;
    this.#conversation = new Conversation(options.acts);
    this.#performers = { ...this.#conversationVerbs(), ...this.#processVerbs() };
  }

  /** The conversation of these acts. */
  get conversation(): Conversation<Received> {
    return this.#conversation;
  }

  /** A further conversation with init, which is known. */
  talkAgain(acts: readonly Act[]): Conversation<Received> {
    return this.#conversation = new Conversation(acts, this.launch.initPid);
  }

  explain(error: unknown, failed: Act): Explained | undefined {
    return this.#options.explain?.(error, failed);
  }

  get log(): Runtime["log"] {
    return this.#runtime.log;
  }

  get trace(): Runtime["trace"] {
    return this.#runtime.trace;
  }

  /** @throws {RuncError} `internal` before the stage is started. */
  get launch(): Launch {
    if (this.#launch === undefined) throw new RuncError("internal", "the stage has not been started");
    return this.#launch;
  }

  *receive(awaits: Await): Waits<Received> {
    return yield* this.launch.receive(awaits);
  }

  /** Sends init a file and its copy, whose content it copies. Returns 0 or −errno. @throws {RuncError} */
  *fill(...files: Parameters<Launch["sendFile"]>): Waits<number> {
    this.launch.sendFile(...files);
    this.#conversation.expectCopied();
    for (;;) {
      using message = yield* this.launch.receive({ kind: "hooks" });
      for (const { does } of this.#conversation.feed(message) ?? []) {
        if (does.verb === "copied") return does.result;
        yield* performVerb(does, this) ?? [];
      }
    }
  }

  /** The verbs, with those that the owner has added. */
  get performers(): Performers {
    return this.#performers;
  }

  /** Adds verbs. */
  add(more: Performers): void {
    this.#performers = { ...this.#performers, ...more };
  }

  #conversationVerbs(): Performers {
    return {
      go: ({ home }) => this.launch.go(home === undefined ? undefined : homeOf(home, this.#conversation.passwd)),
      fail: ({ offset, cursor, value }) => {
        throw this.launch.failure(offset, cursor, value);
      },
      warnOfStep: ({ offset, cursor, value }) => this.launch.warn(offset, cursor, value),
      died: () => this.#died(),
      logHooks: () => this.launch.logHooks(),
      handListener: ({ fd }) => this.#handListener(fd!),
      warn: ({ text }) => void this.log("warning", text),
      debug: ({ text }) => void this.log("debug", text),
    };
  }

  *#died(): Waits<void> {
    throw yield* this.launch.died();
  }

  /** Passes init's seccomp listener to the profile's agent. */
  *#handListener(fd: number): Waits<void> {
    const { seccomp, hookState } = this.#options;
    const listener = { pid: this.launch.initPid, fd };
    const goOn = () => this.launch.go();
    const { auditor } = seccomp!.audit ?? {};
    if (auditor !== undefined) return handToAuditor(this.#runtime.kernel, auditor, listener, goOn);
    const state = hookState(listener.pid);
    yield* handToAgent(this.#runtime.kernel, seccomp!.profile, listener, state, goOn);
  }

  #processVerbs(): Performers {
    return {
      startStage: () => this.#startStage(),
      endProcesses: () => this.#launch?.abort(),
      adopt: ({ who, pid }) => this.launch.adopt(who, pid!),
      reapStage: () => this.launch.reapStage(),
      checkProgram: () => this.launch.checkProgram(this.#options.seccomp !== undefined),
      // A callback may return something: it is not work that waits.
      tellCaller: () => void this.#options.onProcess?.(this.launch.initPid),
      setRlimit: (does) => this.#setRlimit(does),
      restoreFileLimit: () => this.#restoreFileLimit(),
    };
  }

  *#startStage(): Waits<void> {
    const stage = yield* startStage(this.#runtime, this.#options.stage());
    this.#launch = new Launch(this.#runtime, stage, this.#options.hookOutput?.() ?? {});
    this.#conversation.stageIs(stage.pid);
  }

  /** Gives a process the caller's soft limit of open files, because Deno has raised ours, which the process inherited. */
  #restoreFileLimit(): void {
    const { kernel, softFileLimit } = this.#runtime;
    if (softFileLimit === undefined) return;
    const files = rlimitNames.indexOf("RLIMIT_NOFILE");
    const { initPid } = this.launch;
    const { hard } = getRlimit(kernel, initPid, files);
    setRlimit(kernel, initPid, files, { soft: BigInt(softFileLimit), hard });
  }

  #setRlimit({ index, type, soft, hard }: VerbOf<"setRlimit">): void {
    const { initPid } = this.launch;
    const number = rlimitNames.indexOf(type as typeof rlimitNames[number]);
    const result = setRlimit(this.#runtime.kernel, initPid, number, { soft, hard });
    if (result >= 0) return;
    throw new RuncError(
      "syscall-failed",
      `error setting rlimits for ready process: error setting rlimit type ${number}: ${errnoText(-result)}`,
      {
        field: `/process/rlimits/${index}`,
        call: `prlimit64(${initPid}, ${type}, {soft: ${soft}, hard: ${hard}})`,
        errno: -result,
        errnoName: errnoName(-result),
        hint: result === -Errno.EPERM ? "raising a hard limit requires CAP_SYS_RESOURCE" : undefined,
      },
    );
  }

  /** Closes the launch after a failure. */
  close(): void {
    this.#launch?.[Symbol.dispose]();
  }
}
