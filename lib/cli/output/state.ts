/**
 * The output of `state` and `list`, in exactly the format that callers parse. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Exit } from "../../libcontainer/state/exit_record.ts";
import type { Status } from "../../specs/state.ts";
import { goJson } from "./go_text.ts";

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

/** The output of `state`: indented by two spaces, without a final newline. `exit` is our addition. */
export function formatState(state: ContainerState): string {
  const { exit } = state;
  return goJson(exit === undefined ? inOrder(state) : { ...inOrder(state), exit }, 2);
}

/**
 * The output of `list --format FORMAT`.
 *
 * @throws {RuncError} `usage` for an unknown format.
 */
export function formatList(states: readonly ContainerState[], format: string): string {
  if (format === "table") return formatTable(states);
  // A nil slice in Go: callers expect null for an empty list.
  if (format === "json") return goJson(states.length === 0 ? null : states.map(inOrder)) + "\n";
  throw new RuncError("usage", "invalid format option");
}

/** The output of `list --quiet`: one id per line. */
export function formatIds(states: readonly ContainerState[]): string {
  return states.map(({ id }) => `${id}\n`).join("");
}

/** The keys in runc's order, with sorted annotations, which are left out if there are none. */
function inOrder(state: ContainerState): ContainerState {
  const { ociVersion, id, pid, status, bundle, rootfs, created, owner } = state;
  const annotations = Object.entries(state.annotations ?? {}).sort(([left], [right]) => left < right ? -1 : 1);
  const common = { ociVersion, id, pid, status, bundle, rootfs, created };
  return annotations.length === 0
    ? { ...common, owner }
    : { ...common, annotations: Object.fromEntries(annotations), owner };
}

/** Each column is as wide as its widest cell plus three spaces, at least twelve. The last one is not padded. */
function formatTable(states: readonly ContainerState[]): string {
  const rows = [
    ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
    ...states.map(({ id, pid, status, bundle, created, owner }) => [id, String(pid), status, bundle, created, owner]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(12, ...rows.map((row) => width(row[column]!) + 3)));
  const pad = (cell: string, column: number) =>
    column === widths.length - 1 ? cell : cell + " ".repeat(widths[column]! - width(cell));
  return rows.map((row) => row.map(pad).join("") + "\n").join("");
}

/** The width in characters, as text/tabwriter counts. */
function width(text: string): number {
  return [...text].length;
}

/** The name of user `uid` in the content of /etc/passwd, or `#uid` if it has none. */
export function ownerName(uid: number, passwd: string): string {
  const entry = passwd.split("\n").map((line) => line.split(":")).find((fields) => fields[2] === String(uid));
  return entry?.[0] || `#${uid}`;
}
