/**
 * The output of `list`, in exactly the format that callers parse. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { type ContainerState, inOrder } from "../../libcontainer/state/state_text.ts";
import { goJson } from "../../specs/go_json.ts";

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
