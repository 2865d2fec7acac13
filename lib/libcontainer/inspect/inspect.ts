/**
 * Compares a container with its config. Changes nothing. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { runWaitsAsync, type Waits } from "../../ffi/waits.ts";
import type { Process } from "../../specs/config.ts";
import type { Status } from "../../specs/state.ts";
import { readConfig } from "../container/bundle.ts";
import { ContainerHandle } from "../container/handle.ts";
import type { Runtime } from "../runtime.ts";
import { StateDirectory } from "../state/store.ts";
import type { InspectFinding } from "./finding.ts";
import { findingsOf } from "./findings.ts";
import { readView } from "./read_view.ts";

/** What is known about a container. */
export interface Inspection {
  /** The container's name. */
  readonly id: string;
  /** As `state` prints it. */
  readonly status: Status;
  /** On the host; 0 if the container is stopped. */
  readonly pid: number;
  /** All that was compared, by topic. */
  readonly findings: readonly InspectFinding[];
}

/** Inspects a container. @throws {RuncError} `id-invalid`, `container-missing`, `state-invalid`. */
export function inspectContainer(runtime: Runtime, id: string): Promise<Inspection> {
  return runWaitsAsync(runtime, inspecting(runtime, id));
}

/** {@link inspectContainer}, as work that waits. */
export function* inspecting(runtime: Runtime, id: string): Waits<Inspection> {
  const { status, pid, bundle, created } = yield* ContainerHandle.load(runtime, id).state();
  const state = new StateDirectory(runtime.root, id).load(runtime.kernel);
  const view = readView(runtime.kernel, state);
  return { id, status, pid, findings: findingsOf(state, view, processIn(runtime, { bundle, created })) };
}

/** The process in the bundle's config.json, which may have been changed or removed since. */
function processIn(runtime: Runtime, { bundle, created }: { bundle: string; created: string }): Process | undefined {
  try {
    const { process } = readConfig(bundle, runtime.log);
    const changed = Deno.statSync(`${bundle}/config.json`).mtime;
    if (changed !== null && changed > new Date(created)) {
      runtime.log("warning", "config.json is newer than the container: its user and rlimits may be others now");
    }
    return process;
  } catch (error) {
    if (!(error instanceof RuncError || error instanceof Deno.errors.NotFound)) throw error;
    runtime.log("warning", `user and rlimits are not compared: ${error.message}`);
    return undefined;
  }
}
