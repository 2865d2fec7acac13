/**
 * The parts of `deno task test`, and the loop that runs them. Pure: the caller supplies running, time and output.
 *
 * @module
 */

/** One part. */
export interface Part {
  /** Arguments for Deno. */
  readonly args: readonly string[];
  /** Later parts need this one: if it fails, they are not run. */
  readonly isNeeded?: boolean;
}

/** Where the unit tests' coverage is written. */
const COVERAGE = "dist/coverage";

/**
 * The parts that need neither root nor a built program. `deno check` without a file checks every file of the project.
 */
export const fastParts: readonly Part[] = [
  { args: ["fmt", "--check"] },
  { args: ["lint"] },
  { args: ["check"] },
  { args: ["doc", "--lint", "mod.ts"] },
  // No permissions: this proves that the tested code is pure.
  { args: ["test", "--parallel", "--clean", `--coverage=${COVERAGE}`, "--coverage-raw-data-only", "tests/unit"] },
  { args: ["run", "--allow-read", "--allow-run", "tools/coverage.ts", COVERAGE] },
];

export const allParts: readonly Part[] = [
  ...fastParts,
  // Without the build, the later parts would test an older program.
  { args: ["task", "build"], isNeeded: true },
  { args: ["run", "--allow-all", "tools/test_lanes.ts", "tests/integration", "tests/security", "tests/fuzz"] },
  // Two minutes, with nothing beside it: it compares what the machine has before and after.
  { args: ["test", "--allow-all", "--no-check", "tests/soak"] },
  { args: ["task", "test:deploy"] },
  // Checks that the tests above fail when a protection is removed.
  { args: ["test", "--allow-all", "--no-check", "tests/mutations"] },
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
 * Runs parts in order. If a part fails, the next ones still run, unless they need it. Prints the list of parts, the
 * time of each and a final table. Returns the command lines that failed.
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
