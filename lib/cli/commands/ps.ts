/**
 * `runc ps`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { goJson } from "../../specs/go_json.ts";
import { withCgroupWarning } from "../cgroup_warning.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";
import { systemError } from "../system_error.ts";

/** Prints a container's processes: in the format of the host's ps, or their host pids as JSON. */
export const run: Command<"ps"> = (context, { args: [id = "", ...args], options: { format } }) => {
  const container = ContainerHandle.load(makeRuntime(context), id);
  const pids = withCgroupWarning(context, "ps", () => container.processes());
  if (format === "json") {
    // A nil slice in Go: callers expect null for an empty list.
    context.stdout.write(goJson(pids.length === 0 ? null : pids) + "\n");
  } else if (format === "table") {
    context.stdout.write(filterTable(hostTable(args.length === 0 ? ["-ef"] : args), new Set(pids)));
  } else {
    throw new RuncError("usage", "invalid format option");
  }
  return 0;
};

/**
 * The header of ps's output and the rows of the processes `pids`.
 *
 * @throws {RuncError} `usage` if there is no PID column, or if it cannot be read.
 */
export function filterTable(table: string, pids: ReadonlySet<number>): string {
  const [header = "", ...rows] = table.split("\n");
  const column = cells(header).indexOf("PID");
  if (column < 0) throw new RuncError("usage", "couldn't find PID field in ps output");
  const kept = rows.filter((row) => row !== "" && pids.has(parsePid(cells(row)[column])));
  return [header, ...kept].map((line) => `${line}\n`).join("");
}

function cells(line: string): readonly string[] {
  return line.split(/\s+/).filter((cell) => cell !== "");
}

function parsePid(cell: string | undefined): number {
  if (cell === undefined || !/^\d+$/.test(cell)) {
    throw new RuncError("usage", `unable to parse pid: ${JSON.stringify(cell ?? "")}`, {
      hint: "put PID before columns that can contain blanks",
    });
  }
  return Number(cell);
}

/** Runs the host's ps. @throws {RuncError} `host-lacks` without ps, `usage` if ps rejects its arguments. */
function hostTable(args: readonly string[]): string {
  const { success, code, signal, stdout, stderr } = runPs(args);
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  const status = signal === null ? `exit status ${code}` : `signal: ${signal}`;
  throw new RuncError("usage", `${status}: ${decoder.decode(stdout)}${decoder.decode(stderr)}`.trimEnd());
}

function runPs(args: readonly string[]): Deno.CommandOutput {
  try {
    return new Deno.Command("ps", { args: [...args], stdin: "null" }).outputSync();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw systemError("exec ps", error);
    throw new RuncError("host-lacks", 'exec: "ps": executable file not found in $PATH', { cause: error });
  }
}
