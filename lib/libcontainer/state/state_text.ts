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
  /** Version of the specification that the runtime implements. */
  readonly ociVersion: string;
  /** The container's name. */
  readonly id: string;
  /** The host pid of the container's init; 0 once it has ended. */
  readonly pid: number;
  /** As the kernel sees it. */
  readonly status: Status;
  /** Absolute path of the bundle. */
  readonly bundle: string;
  /** Absolute path of the root file system. */
  readonly rootfs: string;
  /** When it was created: RFC 3339 with nanoseconds, in UTC. */
  readonly created: string;
  /** From config.json. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Name of the state directory's owner, or `#uid`; empty for `state`. */
  readonly owner: string;
  /** How its init ended, if that is known. */
  readonly exit?: Exit;
}

/** What `state` shows of a container with this status, without how it ended. */
export function describeState(state: RuncState, status: Status): ContainerState {
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
export function inOrder(state: ContainerState): Partial<ContainerState> {
  const { ociVersion, id, pid, status, bundle, rootfs, created, owner } = state;
  const annotations = Object.entries(state.annotations).sort(([left], [right]) => left < right ? -1 : 1);
  const common = { ociVersion, id, pid, status, bundle, rootfs, created };
  return annotations.length === 0
    ? { ...common, owner }
    : { ...common, annotations: Object.fromEntries(annotations), owner };
}
