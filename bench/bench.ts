/**
 * `deno task bench [--pairs N]`: dist/runc beside Debian's runc, and crun where it runs, on the default config.
 *
 * They take turns, in alternating order, so that all of them see the same machine. Prints a table and whether the wanted
 * numbers are met; writes everything to bench/results/.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { distDir, giveUp, projectDir } from "../tools/bundle.ts";
import { ensureInstalled, findBusybox, findProgram } from "../tools/packages.ts";
import { Contestant, type Operation, operations, type Runtime, type Waiting } from "./contestant.ts";
import { formatTable, median, medianRatio } from "./statistics.ts";

/** What is wanted of this runtime, beside runc 1.1.5 on the same machine. */
const wanted = { runRatio: 0.9, imageBytes: 12 * 1024, waitingRssKib: 100 };

/** Rounds that are not counted: page cache, Deno's caches. */
const WARM_UP_ROUNDS = 3;
/** Fewer make the median depend on the moment. */
const MINIMUM_PAIRS = 30;

/** Everything that a run of the benchmark found out. */
interface Results {
  readonly date: string;
  readonly machine: { readonly kernel: string; readonly arch: string; readonly processors: number };
  readonly pairs: number;
  readonly contestants: readonly {
    readonly name: string;
    readonly version: string;
    readonly medianMs: Readonly<Record<Operation, number>>;
    /** Ours divided by its: medians of pairs. */
    readonly oursToIts: Readonly<Record<Operation, number>>;
    readonly waiting: Waiting;
    readonly samplesMs: Readonly<Record<Operation, readonly number[]>>;
  }[];
}

function bench(pairs: number): Results {
  ensureInstalled([{ package: "runc", program: "runc" }]);
  const directory = Deno.makeTempDirSync({ prefix: "runc-bench-" });
  const contestants: Contestant[] = [];
  try {
    const setUp = { directory, busybox: findBusybox() };
    const needed: Runtime[] = [
      { name: "ours", program: join(distDir, "runc") },
      { name: "runc", program: findProgram("runc")! },
    ];
    for (const runtime of needed) contestants.push(new Contestant(runtime, setUp));
    const crun = findProgram("crun");
    if (crun !== undefined) {
      const contestant = new Contestant({ name: "crun", program: crun }, setUp);
      contestants.push(contestant);
      if (!works(contestant)) contestants.pop();
    }
    return compare(contestants, pairs);
  } finally {
    for (const contestant of contestants) contestant.cleanUp();
    Deno.removeSync(directory, { recursive: true });
  }
}

function works(contestant: Contestant): boolean {
  try {
    contestant.run();
    return true;
  } catch (error) {
    console.log(`left out: ${(error as Error).message}`);
    return false;
  }
}

function compare(contestants: readonly Contestant[], pairs: number): Results {
  rounds(contestants, WARM_UP_ROUNDS);
  for (const contestant of contestants) contestant.forget();
  rounds(contestants, pairs);
  const [ours] = contestants as [Contestant];
  return {
    date: new Date().toISOString(),
    machine: { kernel: Deno.osRelease(), arch: Deno.build.arch, processors: navigator.hardwareConcurrency },
    pairs,
    contestants: contestants.map((contestant) => ({
      name: contestant.name,
      version: contestant.version(),
      medianMs: byOperation((operation) => median(contestant.samples[operation])),
      oursToIts: byOperation((operation) => medianRatio(ours.samples[operation], contestant.samples[operation])),
      samplesMs: structuredClone(contestant.samples),
      waiting: contestant.waiting(),
    })),
  };
}

function rounds(contestants: readonly Contestant[], count: number): void {
  for (let round = 0; round < count; round++) {
    const order = round % 2 === 0 ? contestants : contestants.toReversed();
    for (const contestant of order) contestant.run();
    for (const contestant of order) contestant.live();
  }
}

function byOperation(value: (operation: Operation) => number): Record<Operation, number> {
  return Object.fromEntries(operations.map((operation) => [operation, value(operation)])) as Record<Operation, number>;
}

function table({ contestants }: Results): string {
  const others = contestants.slice(1);
  const heading = ["", ...contestants.map(({ name }) => name), ...others.map(({ name }) => `ours/${name}`)];
  const times = operations.map((operation) => [
    `${operation}, ms`,
    ...contestants.map(({ medianMs }) => medianMs[operation].toFixed(1)),
    ...others.map(({ oursToIts }) => oursToIts[operation].toFixed(2)),
  ]);
  const sizes: [string, (waiting: Waiting) => number][] = [
    ["program of the waiting process, bytes", ({ programBytes }) => programBytes],
    ["its RSS, KiB", ({ rssKib }) => rssKib],
    ["its PSS, KiB", ({ pssKib }) => pssKib],
  ];
  const sizeRows = sizes.map(([label, of]) => [
    label,
    ...contestants.map(({ waiting }) => String(of(waiting))),
    ...others.map(({ waiting }) => (of(contestants[0]!.waiting) / of(waiting)).toFixed(3)),
  ]);
  return formatTable([heading, ...times, ...sizeRows]);
}

function verdicts({ contestants: [ours, runc] }: Results): readonly string[] {
  const rows: [what: string, found: number, limit: number, unit: string][] = [
    ["run, ratio to runc", runc!.oursToIts.run, wanted.runRatio, ""],
    ["image of the default config", ours!.waiting.programBytes, wanted.imageBytes, " bytes"],
    ["RSS of the waiting process", ours!.waiting.rssKib, wanted.waitingRssKib, " KiB"],
  ];
  return rows.map(([what, found, limit, unit]) => {
    const shown = Number.isInteger(found) ? found : found.toFixed(3);
    return `${found <= limit ? "met    " : "NOT MET"}  ${what}: ${shown}${unit}, wanted at most ${limit}${unit}`;
  });
}

function save(results: Results): string {
  const directory = join(projectDir, "bench/results");
  ensureDirSync(directory);
  const path = join(directory, `${results.date.replaceAll(":", "-")}.json`);
  Deno.writeTextFileSync(path, JSON.stringify(results, undefined, 2) + "\n");
  return path;
}

function main(): void {
  const { pairs: given } = parseArgs(Deno.args, { string: ["pairs"], default: { pairs: "40" } });
  const pairs = Number(given);
  if (!Number.isInteger(pairs) || pairs < MINIMUM_PAIRS) giveUp(`--pairs needs a number from ${MINIMUM_PAIRS} on`);
  if (Deno.uid() !== 0) giveUp("the benchmark starts containers as root: run it as root, or with sudo");
  const results = bench(pairs);
  const { machine, contestants } = results;
  console.log(`Linux ${machine.kernel}, ${machine.arch}, ${machine.processors} processors; medians of ${pairs} pairs`);
  for (const { name, version } of contestants) console.log(`${name}: ${version}`);
  console.log(`\n${table(results)}\n`);
  for (const line of verdicts(results)) console.log(line);
  console.log(`\n${save(results)}`);
}

if (import.meta.main) main();
