/**
 * The descriptors that the stage is given. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { errnoText } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { memfd, open, openPath } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { packetPair } from "../../ffi/sockets.ts";
import { HookStateFile } from "../launch/hook_state.ts";
import type { HookOutput } from "../launch/launch.ts";
import type { VerbOf } from "../plans/parent/act.ts";
import type { ContainerHookName } from "../steps/container_hooks.ts";
import type { ProcessOptions } from "./container_process.ts";

/** What hooks in the container read on stdin, by hook kind: it is written once init's pid is known. */
export type HookStateFiles = Partial<Record<ContainerHookName, HookStateFile>>;

/** The plan's fixed descriptors. The caller's sockets stay open; all others are closed when this is disposed of. */
export class StageDescriptors implements Disposable {
  readonly #kernel: Kernel;
  readonly #ours = new DisposableStack();
  /** Read by the launch as long as there is one. */
  readonly #hookOutput = new DisposableStack();
  #pair?: readonly Fd[];
  /** By name. */
  readonly fds: Record<string, Fd> = {};
  readonly hookStates: HookStateFiles = {};

  constructor(kernel: Kernel, { consoleSocket, pidfdSocket }: Pick<ProcessOptions, "consoleSocket" | "pidfdSocket">) {
    this.#kernel = kernel;
    if (consoleSocket !== undefined) this.fds.console = consoleSocket;
    if (pidfdSocket !== undefined) this.fds["pidfd-socket"] = pidfdSocket;
  }

  #keep(name: string, fd: Fd): void {
    this.fds[name] = this.#ours.use(fd);
  }

  /** The exec fifo. */
  openFifo(path: string): void {
    this.#keep("fifo", openPath(this.#kernel, path));
  }

  /** A namespace to join. @throws {RuncError} `config-invalid`, if config.json names it. */
  openNamespace({ fd, path, field }: Omit<VerbOf<"openNamespace">, "verb">): void {
    this.#keep(fd, field === "" ? open(this.#kernel, path, 0) : openNamed(this.#kernel, { path, field }));
  }

  /** Two of stage and init speak over it. */
  pair(names: readonly [string, string]): void {
    const [first, second] = packetPair(this.#kernel, "mount sources");
    this.#keep(names[0], first);
    this.#keep(names[1], second);
    this.#pair = [first, second];
  }

  /** The files that hooks in the container read from and print to. */
  makeHookFiles(names: readonly ContainerHookName[]): void {
    for (const name of ["stdout", "stderr"]) {
      this.fds[`hook-${name}`] = this.#hookOutput.use(memfd(this.#kernel, `hook ${name}`));
    }
    for (const name of names) {
      const file = this.#ours.use(new HookStateFile(this.#kernel));
      this.hookStates[name] = file;
      this.#keep(`${name}-stdin`, file.stdin);
    }
  }

  /** The stage has been started: what hooks print is the launch's from now on. */
  handOver(): HookOutput {
    this.#hookOutput.move();
    // Only init and helper hold these: when one of them is gone, the other one sees its end closed.
    for (const end of this.#pair ?? []) end.close();
    return { stdout: this.fds["hook-stdout"], stderr: this.fds["hook-stderr"] };
  }

  [Symbol.dispose](): void {
    this.#hookOutput.dispose();
    this.#ours.dispose();
  }
}

/** @throws {RuncError} `config-invalid` */
function openNamed(kernel: Kernel, { path, field }: { path: string; field: string }): Fd {
  try {
    return open(kernel, path, 0);
  } catch (cause) {
    if (!(cause instanceof RuncError)) throw cause;
    const { errno = 0, errnoName } = cause;
    const why = `namespace path: lstat ${path}: ${errnoText(errno)}`;
    throw new RuncError("config-invalid", `unable to create new parent process: ${why}`, {
      field,
      errno,
      errnoName,
      cause,
    });
  }
}
