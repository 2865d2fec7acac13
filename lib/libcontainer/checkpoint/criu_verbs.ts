/**
 * Carries out the acts of plans/parent/criu.ts that are CRIU's: starts it, asks it, waits for it, and ends it. Runs in:
 * parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { CriuOptions } from "../config/criu_options.ts";
import type { Explained, Performers } from "../launch/run_acts.ts";
import type { VerbOf } from "../plans/parent/act.ts";
import type { Runtime } from "../runtime.ts";
import { Criu, type CriuDescriptors, type Serve } from "./criu.ts";
import { findCriu } from "./criu_program.ts";
import { requireRights } from "./criu_rights.ts";
import { askVersion, CriuSince, requireFeature, requireVersion } from "./criu_version.ts";
import { explainFailure, makeDirectory, makeImages, openDirectory } from "./directories.ts";
import { requireExternalNamespaces } from "./external.ts";
import type { CriuNotify, CriuReq } from "./rpc.ts";

/** What the request depends on beside the container. */
export interface CriuSite {
  /** @see versionNumber */
  readonly version: number;
  readonly criuPid: number;
  /** Descriptors of this program. */
  readonly imagesDirFd: number;
  readonly workDirFd?: number;
}

/** What CRIU is to do, and for whom. */
export interface CriuJob {
  /** For messages. */
  readonly process: "checkpointing process" | "the restoration process";
  readonly options: Pick<CriuOptions, "imagePath" | "workPath">;
  /** The name of CRIU's log. */
  readonly logName: string;
  /** CRIU's standard streams. */
  readonly stdio?: CriuDescriptors["stdio"];
  /** A descriptor by its name in the plan. */
  readonly descriptor?: (name: string) => Fd;
  readonly request: (site: CriuSite) => CriuReq;
  /** Takes the master of the container's terminal. */
  readonly takeTerminal?: (master: Fd | undefined) => void;
}

/** The verbs, and the CRIU that they are about. */
export class CriuVerbs implements Disposable {
  readonly #runtime: Runtime;
  readonly #job: CriuJob;
  readonly #kept = new DisposableStack();
  #criu?: Criu;
  #path = "";
  #version = 0;
  #images?: Fd;
  #work?: Fd;
  #notify: CriuNotify = {};
  readonly performers: Performers;

  constructor(runtime: Runtime, job: CriuJob) {
    this.#runtime = runtime;
    this.#job = job;
    this.performers = {
      findCriu: (does) => this.#find(does),
      startCriu: (does) => this.#start(does),
      endCriu: () => this.#criu?.kill(),
      checkCriu: (does) => this.#check(does),
      openImages: (does) => this.#open(does),
      requestCriu: (does) => this.#request(does),
      awaitCriu: (does) => this.#await(does),
      answerCriu: () => this.criu.answer(),
      refuseCriu: () => this.#criu?.refuse(),
      awaitCriuEnd: (does) => this.criu.end(does),
    };
  }

  /** @throws {RuncError} `internal` before it is started. */
  get criu(): Criu {
    if (this.#criu === undefined) throw new RuncError("internal", "CRIU has not been started");
    return this.#criu;
  }

  /** The process that CRIU was speaking of last. @throws {RuncError} `protocol` if it has named none. */
  get pid(): number {
    const { script, pid } = this.#notify;
    if (pid !== undefined && pid > 0) return pid;
    throw new RuncError("protocol", `CRIU's notification ${script} has no pid`);
  }

  /** CRIU's failure, with what its log tells. */
  explain(error: unknown): Explained | undefined {
    if (!(error instanceof RuncError) || error.code !== "checkpoint-failed") return undefined;
    const { options: { imagePath, workPath = imagePath }, logName } = this.#job;
    return { error: explainFailure(error, `${workPath}/${logName}`, this.#runtime.log) };
  }

  *#find({ mounts }: VerbOf<"findCriu">): Waits<void> {
    this.#path = findCriu(this.#runtime.environment);
    yield* requireRights(this.#runtime, this.#path, { mounts });
  }

  #start({ fds = [] }: VerbOf<"startCriu">): void {
    const { stdio, descriptor } = this.#job;
    const extraFds = fds.map((name) => descriptor!(name).number);
    this.#criu = this.#kept.use(Criu.start(this.#runtime, this.#path, { stdio, extraFds }));
  }

  *#check({ features = [] }: VerbOf<"checkCriu">): Waits<void> {
    this.#version = yield* askVersion(this.criu);
    requireVersion(this.#version, CriuSince.VERSION_REQUEST);
    requireExternalNamespaces(this.#version, this.#job.process);
    for (const feature of features) yield* requireFeature(this.criu, feature);
  }

  #open({ images, work = images, makes }: VerbOf<"openImages">): void {
    const { kernel } = this.#runtime;
    this.#images = this.#kept.use(makes ? makeImages(kernel, images) : openDirectory(kernel, images));
    if (work !== images) this.#work = this.#kept.use(makeDirectory(kernel, work));
  }

  #request({ type }: VerbOf<"requestCriu">): void {
    this.#runtime.log("debug", `Using CRIU ${this.#version} in ${type} mode`);
    this.criu.begin(this.#job.request({
      version: this.#version,
      criuPid: this.criu.pid,
      imagesDirFd: this.#images!.number,
      workDirFd: this.#work?.number,
    }));
  }

  *#await({ moment }: VerbOf<"awaitCriu">): Waits<void> {
    const isOver = moment === "answer";
    const { notify } = yield* this.criu.until(isOver ? undefined : moment, this.#serve);
    this.#notify = notify ?? {};
  }

  readonly #serve: Serve = ({ script }, fds) => {
    if (script === "orphan-pts-master") this.#job.takeTerminal?.(fds[0]);
  };

  [Symbol.dispose](): void {
    this.#kept.dispose();
  }
}
