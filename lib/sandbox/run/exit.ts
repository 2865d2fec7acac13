/**
 * Ends sandboxes when the program ends without having closed them.
 *
 * It has no time for promises then. A program that is killed does not come here: first_process.ts and home.ts are for
 * that.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { waitChild } from "../../ffi/process/process.ts";
import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { StateDirectory } from "../../libcontainer/state/store.ts";
import { dirname } from "../../std/path.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";

/** A sandbox, as far as its end needs it. */
export interface OpenSandbox {
  readonly id: string;
  readonly runtime: Runtime;
  /** Process 1. */
  readonly first: { readonly pid: number; signal(signal: number): number };
}

/** The sandboxes that are open, and the pids of their processes. */
const open = new Map<OpenSandbox, () => readonly number[]>();
/** SIGKILL */
const SIGKILL = 9;
/** Directories of this program. */
const directories = new Set<string>();
let isListening = false;

/** `directory` has to be removed at the program's end. */
export function removeAtExit(directory: string): void {
  directories.add(directory);
  listen();
}

/** `sandbox` has to be closed at the program's end. `pids`: its processes that are children of this one. */
export function endAtExit(sandbox: OpenSandbox, pids: () => readonly number[]): void {
  open.set(sandbox, pids);
  listen();
}

function listen(): void {
  if (isListening) return;
  isListening = true;
  globalThis.addEventListener("unload", endAll);
}

/** `sandbox` is closed. */
export function forgetAtExit(sandbox: OpenSandbox): void {
  open.delete(sandbox);
}

function endAll(): void {
  for (const [{ first }] of open) first.signal(SIGKILL);
  for (const [{ first, runtime, id }, pids] of open) {
    try {
      // The kernel ends process 1 only when all others are reaped.
      for (const pid of [...pids(), first.pid]) waitChild(runtime.kernel, pid);
      requireFree(runtime, id);
      runWaits(runtime, ContainerHandle.load(runtime, id).destroy());
    } catch {
      // The processes have ended. The next program removes the rest: home.ts.
      directories.delete(dirname(runtime.root));
    }
  }
  for (const directory of directories) {
    try {
      Deno.removeSync(directory, { recursive: true });
    } catch {
      // It is removed already, or the next program removes it.
    }
  }
}

/** A close of this program that has begun has the lock, and does not go on any more. @throws {RuncError} */
function requireFree({ kernel, root }: Runtime, id: string): void {
  const lock = new StateDirectory(root, id).tryLock(kernel);
  if (lock === "busy") throw new RuncError("container-state", "the sandbox is being closed");
  lock?.close();
}
