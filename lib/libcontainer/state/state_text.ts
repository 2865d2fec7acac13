/**
 * The output of `state`, in exactly the format that callers parse. Pure.
 *
 * @module
 */

import { goJson } from "../../specs/go_json.ts";
import type { Status } from "../../specs/state.ts";
import type { Exit } from "./exit_record.ts";
import { annotationsOf, bundleOf, createdOf, idOf, initOf, rootfsOf, type RuncState, versionOf } from "./runc_state.ts";

/** The fields of a container that `state` and `list` show. */
export interface ContainerState {
  readonly ociVersion: string;
  readonly id: string;
  /** The pid on the host; 0 if the container is stopped. */
  readonly pid: number;
  readonly status: Status;
  readonly bundle: string;
  readonly rootfs: string;
  /** RFC 3339 with nanoseconds, in UTC. */
  readonly created: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Name of the state directory's owner, or `#uid`; empty for `state`. */
  readonly owner: string;
  /** How the container's first process ended. */
  readonly exit?: Exit;
}

/** What `state` shows of a container with this status, without how it ended. */
export function describeState(
  state: RuncState,
  status: Status,
): ContainerState & { readonly annotations: Readonly<Record<string, string>> } {
  return {
    ociVersion: versionOf(state),
    id: idOf(state),
    pid: status === "stopped" ? 0 : initOf(state).pid,
    status,
    bundle: bundleOf(state),
    rootfs: rootfsOf(state),
    created: createdOf(state),
    annotations: annotationsOf(state),
    owner: "",
  };
}

/** The output of `state`: indented by two spaces, without a final newline. `exit` is our addition. */
export function formatState(state: ContainerState): string {
  const { exit } = state;
  return goJson(exit === undefined ? inOrder(state) : { ...inOrder(state), exit }, 2);
}

/** The keys in runc's order, with sorted annotations, which are left out if there are none. */
export function inOrder(state: ContainerState): ContainerState {
  const { ociVersion, id, pid, status, bundle, rootfs, created, owner } = state;
  const annotations = Object.entries(state.annotations ?? {}).sort(([left], [right]) => left < right ? -1 : 1);
  const common = { ociVersion, id, pid, status, bundle, rootfs, created };
  return annotations.length === 0
    ? { ...common, owner }
    : { ...common, annotations: Object.fromEntries(annotations), owner };
}
