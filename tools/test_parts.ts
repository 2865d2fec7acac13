/**
 * The parts of `deno task test`, and how they are run one after the other. Pure: running, time and output are the caller's.
 *
 * @module
 */

/** One part. */
export interface Part {
  /** Arguments for Deno. */
  readonly args: readonly string[];
  /** The parts after it need it: where it fails they are not run. */
  readonly isNeeded?: boolean;
}

/** Those that need no root and no built program. `deno check` without a file checks every file of the project. */
export const fastParts: readonly Part[] = [
  { args: ["fmt", "--check"] },
  { args: ["lint"] },
  { args: ["check"] },
  { args: ["doc", "--lint", "mod.ts"] },
  // Without a permission: Deno itself proves that what is tested there is pure.
  { args: ["test", "tests/unit"] },
];

export const allParts: readonly Part[] = [
  ...fastParts,
  // What comes after would test an older program.
  { args: ["task", "build"], isNeeded: true },
  { args: ["test", "--allow-all", "tests/integration"] },
  { args: ["test", "--allow-all", "tests/security"] },
  // Do those notice when a protection is missing?
  { args: ["test", "--allow-all", "tests/mutations"] },
];

/** What {@link runParts} needs. */
export interface Host {
  /** Runs Deno. Returns whether it succeeded. */
  run(args: readonly string[]): boolean;
  nowMs(): number;
  print(line: string): void;
}

type Result = "ok" | "failed" | "not run";

/**
 * Runs parts in order; one that fails does not hinder the next, unless that needs it. Prints which parts there are, after each how long it
 * took, and a table at the end. Returns the command lines that failed.
 */
export function runParts(parts: readonly Part[], host: Host): readonly string[] {
  host.print("parts:");
  for (const part of parts) host.print(`  ${lineOf(part)}`);
  const rows: { line: string; result: Result; ms: number }[] = [];
  let isBlocked = false;
  for (const part of parts) {
    const line = lineOf(part);
    if (isBlocked) {
      rows.push({ line, result: "not run", ms: 0 });
      continue;
    }
    host.print(`$ ${line}`);
    const startMs = host.nowMs();
    const result = host.run(part.args) ? "ok" : "failed";
    const ms = host.nowMs() - startMs;
    host.print(`${result}: ${line}, ${seconds(ms)}`);
    rows.push({ line, result, ms });
    isBlocked = result === "failed" && part.isNeeded === true;
  }
  host.print("results:");
  for (const { line, result, ms } of [...rows, total(rows)]) {
    host.print(`  ${seconds(ms).padStart(8)}  ${result.padEnd(7)}  ${line}`);
  }
  return rows.filter(({ result }) => result === "failed").map(({ line }) => line);
}

const lineOf = ({ args }: Part): string => `deno ${args.join(" ")}`;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

function total(rows: readonly { result: Result; ms: number }[]): { line: string; result: Result; ms: number } {
  const result = rows.every((row) => row.result === "ok") ? "ok" : "failed";
  return { line: "all parts", result, ms: rows.reduce((sum, row) => sum + row.ms, 0) };
}
