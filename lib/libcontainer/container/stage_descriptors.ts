/**
 * The descriptors that the stage of a new container is given. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { errnoText } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { memfd, open, openPath } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { packetPair } from "../../ffi/sockets.ts";
import type { Config } from "../../specs/config.ts";
import { joinedNamespaces } from "../config/namespaces.ts";
import { HookStateFile } from "../launch/hook_state.ts";
import { hasHelper } from "../plans/create.ts";
import type { StateDirectory } from "../state/store.ts";
import { type ContainerHookName, containerHookNames } from "../steps/container_hooks.ts";
import { socketFds } from "./container_process.ts";
import type { PlannedContainer, PlanOptions } from "./planning.ts";

/** What hooks in the container read on stdin, by hook kind: it is written once init's pid is known. */
export type HookStateFiles = Partial<Record<ContainerHookName, HookStateFile>>;

/** The plan's fixed descriptors. The caller's sockets stay open; all others are closed when this is disposed of. */
export class StageDescriptors implements Disposable {
  readonly #kernel: Kernel;
  readonly #ours = new DisposableStack();
  /** Read by the launch as long as there is one. */
  readonly #hookOutput = new DisposableStack();
  /** By name. */
  readonly fds: Record<string, Fd> = {};
  readonly hookStates: HookStateFiles = {};

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Opens all of them. @throws {RuncError} */
  open(options: PlanOptions, { facts, mounts }: PlannedContainer, directory: StateDirectory): void {
    const { config } = options.spec;
    Object.assign(this.fds, socketFds(options));
    if (options.startBy === "fifo") {
      directory.makeFifo(this.#kernel, { uid: facts.rootUid, gid: facts.rootGid });
      this.#keep("fifo", openPath(this.#kernel, directory.fifo));
    }
    for (const namespace of joinedNamespaces(config)) {
      this.#keep(`ns-${namespace.type}`, openNamespace(this.#kernel, namespace));
    }
    if (hasHelper(mounts, config, facts)) this.#openSourcePair();
    this.#openHookFiles(config);
  }

  #keep(name: string, fd: Fd): void {
    this.fds[name] = this.#ours.use(fd);
  }

  /** Init and the helper, which opens sources of mounts, speak over it. */
  #openSourcePair(): void {
    const [init, helper] = packetPair(this.#kernel, "mount sources");
    this.#keep("sources-init", init);
    this.#keep("sources-helper", helper);
  }

  #openHookFiles({ hooks }: Config): void {
    if (!containerHookNames.some((name) => hooks?.[name]?.length)) return;
    for (const name of ["stdout", "stderr"]) {
      this.fds[`hook-${name}`] = this.#hookOutput.use(memfd(this.#kernel, `hook ${name}`));
    }
    for (const name of containerHookNames) {
      const file = this.#ours.use(new HookStateFile(this.#kernel));
      this.hookStates[name] = file;
      this.#keep(`${name}-stdin`, file.stdin);
    }
  }

  /** Whether init has its sources of mounts from a helper. */
  get hasHelper(): boolean {
    return this.fds["sources-init"] !== undefined;
  }

  /** A launch has begun: what hooks print is its own from now on. */
  handOver(): void {
    this.#hookOutput.move();
    // Only init and helper hold these: when one of them is gone, the other one sees its end closed.
    this.fds["sources-init"]?.close();
    this.fds["sources-helper"]?.close();
  }

  [Symbol.dispose](): void {
    this.#hookOutput.dispose();
    this.#ours.dispose();
  }
}

/** @throws {RuncError} `config-invalid` */
function openNamespace(kernel: Kernel, { path, from }: { path: string; from: string }): Fd {
  try {
    return open(kernel, path, 0);
  } catch (cause) {
    if (!(cause instanceof RuncError)) throw cause;
    const { errno = 0, errnoName } = cause;
    const why = `namespace path: lstat ${path}: ${errnoText(errno)}`;
    throw new RuncError("config-invalid", `unable to create new parent process: ${why}`, {
      field: `${from}/path`,
      errno,
      errnoName,
      cause,
    });
  }
}
