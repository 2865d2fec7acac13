/**
 * `deno task bench [--rounds N]`: compares dist/runc with Debian's runc and crun, and with the newest ones, of Debian sid.
 *
 * The runtimes take turns in alternating order, so that all of them see the same machine. Numbers are medians; ratios
 * are medians over pairs that ran one after the other. Prints tables and whether the targets are met. Writes all
 * results to bench/results/.
 *
 * On a hybrid host (cgroup v1 with an additional cgroup2 mount) all of them run without the cgroup2 mount, because crun
 * refuses it.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { denoFlags, findDeno } from "../tools/build.ts";
import { distDir, giveUp, projectDir } from "../tools/bundle.ts";
import { readOptions } from "../tools/options.ts";
import { ensureInstalled, findBusybox, findProgram } from "../tools/packages.ts";
import { Contestant, type Runtime } from "./contestant.ts";
import { libraryRuns } from "./library.ts";
import { AT_ONCE, type Memory, memoryOf } from "./memory.ts";
import { newestRuntimes } from "./newest.ts";
import { LANES, listing, makeListed, type Sample, type Scenario, scenarios } from "./scenarios.ts";
import { formatTable, median, medianRatio } from "./statistics.ts";
import { timed } from "./timed.ts";

/** Rounds that are not counted. They fill the page cache, the seccomp filter cache and Deno's caches. */
const WARM_UP_ROUNDS = 2;
/** With fewer rounds the median varies too much. */
const MINIMUM_ROUNDS = 10;
/** Environment variable that says that the cgroup2 mount is hidden. */
const HIDDEN = "RUNC_BENCH_HIDDEN";

/** Samples of one contestant by row. */
type Samples = Map<string, Sample[]>;

/** All results of a run of the benchmark. */
interface Results {
  readonly date: string;
  readonly machine: { readonly kernel: string; readonly arch: string; readonly processors: number };
  readonly rounds: number;
  /** This project's runtime first. */
  readonly contestants: readonly {
    readonly name: string;
    readonly version: string;
    readonly samples: Readonly<Record<string, readonly Sample[]>>;
    readonly memory: Memory;
  }[];
  /** Times of an empty script, and of containers started by a running Deno program, in milliseconds. */
  readonly emptyScript: readonly number[];
  readonly library: readonly number[];
}

function contestantsIn(directory: string): Contestant[] {
  const runtimes: Runtime[] = [
    { name: "ours", program: join(distDir, "runc") },
    { name: "runc", program: findProgram("runc")! },
    { name: "crun", program: findProgram("crun")! },
    ...newestRuntimes(),
  ];
  const setUp = { directory, busybox: findBusybox() };
  return runtimes.map((runtime) => new Contestant(runtime, setUp)).filter((contestant) => {
    try {
      contestant.run("true");
      return true;
    } catch (error) {
      console.log(`skipped: ${(error as Error).message}`);
      return false;
    }
  });
}

async function bench(rounds: number): Promise<Results> {
  ensureInstalled(["runc", "crun"].map((name) => ({ package: name, program: name })));
  const directory = Deno.makeTempDirSync({ prefix: "runc-bench-" });
  // Root in a user namespace is another user on the host and needs access.
  Deno.chmodSync(directory, 0o755);
  const contestants: Contestant[] = [];
  try {
    contestants.push(...contestantsIn(join(directory, "main")));
    const samples = compare(contestants, scenarios, rounds);
    for (const [index, rows] of compareLists(join(directory, "list"), contestants, rounds).entries()) {
      for (const [row, listed] of rows) samples[index]!.set(row, listed);
    }
    return {
      date: new Date().toISOString(),
      machine: { kernel: Deno.osRelease(), arch: Deno.build.arch, processors: navigator.hardwareConcurrency },
      rounds,
      contestants: contestants.map((contestant, index) => ({
        name: contestant.name,
        version: contestant.version(),
        samples: Object.fromEntries(samples[index]!),
        memory: memoryOf(contestant),
      })),
      emptyScript: emptyScripts(directory, rounds),
      library: (await libraryRuns({ directory, busybox: findBusybox(), count: rounds + WARM_UP_ROUNDS }))
        .slice(WARM_UP_ROUNDS),
    };
  } finally {
    for (const contestant of contestants) contestant.cleanUp();
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Times every scenario with every contestant, taking turns. */
function compare(contestants: readonly Contestant[], rows: readonly Scenario[], rounds: number): Samples[] {
  const samples = contestants.map((): Samples => new Map());
  for (const { rows: names, share, measure } of rows) {
    for (let round = -WARM_UP_ROUNDS; round < Math.ceil(rounds * share); round++) {
      const order = [...contestants.keys()];
      for (const index of round % 2 === 0 ? order : order.toReversed()) {
        const measured = measure(contestants[index]!);
        if (round >= 0) names.forEach((name, row) => add(samples[index]!, name, measured[row]!));
      }
    }
  }
  return samples;
}

function add(samples: Samples, row: string, { ms, cpuMs, minorFaults }: Sample): void {
  const list = samples.get(row) ?? [];
  list.push({ ms, cpuMs, minorFaults });
  samples.set(row, list);
}

/** Times `list`. The containers are separate from the other scenarios', so that those do not see them. */
function compareLists(directory: string, contestants: readonly Contestant[], rounds: number): Samples[] {
  const lists = contestants.map(({ name, program }) =>
    new Contestant({ name, program }, { directory, busybox: findBusybox() })
  );
  const ends: (() => void)[] = [];
  try {
    for (const list of lists) ends.push(makeListed(list));
    return compare(lists, [listing], rounds);
  } finally {
    for (const end of ends) end();
  }
}

/** Times of an empty script: the lower limit for a command that starts Deno. */
function emptyScripts(directory: string, rounds: number): readonly number[] {
  const script = join(directory, "empty.js");
  Deno.writeTextFileSync(script, "Deno.exit(0);\n");
  const argv = [findDeno(), "run", ...denoFlags, "--no-code-cache", script];
  return Array.from({ length: rounds + WARM_UP_ROUNDS }, () => timed(argv).ms).slice(WARM_UP_ROUNDS);
}

/** Values of a row, of the samples that have them. */
function values(samples: readonly Sample[] = [], of: keyof Sample = "ms"): readonly number[] {
  return samples.flatMap((sample) => sample[of] ?? []);
}

/** A table of the rows that have such a value, with the ratios of ours to the others'. */
function sampleTable({ contestants }: Results, of: keyof Sample, title: string, digits: number): string {
  const [ours, ...others] = contestants;
  const rows = Object.keys(ours!.samples).filter((row) => values(ours!.samples[row], of).length > 0).map((row) => [
    row,
    ...contestants.map(({ samples }) => median(values(samples[row], of)).toFixed(digits)),
    ...others.map(({ samples }) => medianRatio(values(ours!.samples[row], of), values(samples[row], of)).toFixed(2)),
  ]);
  return formatTable([heading(contestants, title), ...rows]);
}

function heading(contestants: Results["contestants"], first: string): string[] {
  const names = contestants.map(({ name }) => name);
  return [first, ...names, ...names.slice(1).map((name) => `ours/${name}`)];
}

function memoryTable({ contestants }: Results): string {
  const [ours, ...others] = contestants;
  const sizes: [string, (memory: Memory) => number][] = [
    ["RSS of the process that waits for start", ({ waitingRss }) => waitingRss],
    ["its PSS", ({ waitingPss }) => waitingPss],
    ["its program, bytes", ({ waitingProgramBytes }) => waitingProgramBytes],
    ["RSS of the runtime, container in the foreground", ({ foregroundRss }) => foregroundRss],
    ["read from the program's file by a first --version", ({ coldVersion }) => coldVersion],
    ["by a first run", ({ coldRun }) => coldRun],
    [`PSS of each of ${AT_ONCE} creates at once`, ({ atOncePss }) => atOncePss],
    ["smallest memory limit for true", ({ smallestLimit }) => smallestLimit],
  ];
  const row = (name: string, numbers: readonly number[]) => [
    name,
    ...numbers.map((number) => number.toFixed(0)),
    ...numbers.slice(1).map((number) => (numbers[0]! / number).toFixed(3)),
  ];
  return formatTable([
    heading([ours!, ...others], "KiB"),
    ...sizes.map(([name, of]) => row(name, contestants.map(({ memory }) => of(memory)))),
    ...Object.keys(ours!.memory.peaks).map((name) =>
      row(`peak RSS of ${name}`, contestants.map(({ memory }) => memory.peaks[name]!))
    ),
  ]);
}

/** Times from `create` to `delete`, without the commands between `start` and `delete`. */
function lives(samples: Readonly<Record<string, readonly Sample[]>>): readonly number[] {
  const [create, start, remove] = ["create", "start", "delete"].map((row) => values(samples[row]));
  return create!.map((ms, round) => ms + start![round]! + remove![round]!);
}

/** Compares the results with the targets, some of which are relative to the other runtimes in the same run. */
function verdicts({ contestants: [ours, runc, crun], library }: Results): readonly string[] {
  const toRunc = (row: string) => medianRatio(values(ours!.samples[row]), values(runc!.samples[row]));
  const toCrun = (row: string) => medianRatio(values(ours!.samples[row]), values(crun!.samples[row]));
  const { peaks, atOncePss, coldVersion } = ours!.memory;
  const rows: [what: string, found: number, limit: number][] = [
    ["run, ratio to runc", toRunc("run"), 0.6],
    ["run with 40 mounts, ratio to runc", toRunc("run with 40 mounts"), 0.65],
    ["run with a seccomp profile, ratio to runc", toRunc("run with an engine's seccomp profile"), 0.5],
    ["create, ratio to runc", toRunc("create"), 0.55],
    ["create, start and delete, ratio to runc", medianRatio(lives(ours!.samples), lives(runc!.samples)), 0.6],
    ["exec, ratio to runc", toRunc("exec"), 0.7],
    ["delete -f of a running container, ratio to runc", toRunc("delete -f of a running container"), 0.25],
    ["minor page faults of --version", median(values(ours!.samples["--version"], "minorFaults")), 400],
    ["read by a first --version, KiB", coldVersion, 15_000],
    ...["create", "run"].map((name): [string, number, number] => [`peak RSS of ${name}, KiB`, peaks[name]!, 16_000]),
    ...["state", "start", "kill", "delete"].map((name): [string, number, number] => [
      `peak RSS of ${name}, KiB`,
      peaks[name]!,
      1_000,
    ]),
    [`PSS of each of ${AT_ONCE} creates, KiB`, atOncePss, 4_000],
    [`${LANES} lanes, ratio to runc`, toRunc(`${LANES} lanes of 12 runs`), 1 / 1.3],
    ["image of the default config, bytes", ours!.memory.waitingProgramBytes, 12 * 1024],
    ["RSS of the process that waits for start, KiB", ours!.memory.waitingRss, 40],
    ["RSS of the runtime, container in the foreground, KiB", ours!.memory.foregroundRss, 64],
    ["start with the library, ms", median(library), 8],
  ];
  if (crun !== undefined) {
    for (const row of ["state", "start", "kill", "pause", "resume"]) {
      rows.push([`${row}, ratio to crun`, toCrun(row), 0.5]);
    }
    rows.push(["delete, ratio to crun", toCrun("delete"), 0.7]);
    rows.push(["the same exec again, ratio to crun", toCrun("the same exec again"), 1]);
    rows.push(["smallest memory limit, ratio to crun", ours!.memory.smallestLimit / crun.memory.smallestLimit, 1]);
    rows.push(["start with the library, ratio to crun's run", median(library) / median(values(crun.samples.run)), 1]);
  }
  return rows.map(([what, found, limit]) => {
    const shown = Number.isInteger(found) ? String(found) : found.toFixed(3);
    return `${found <= limit ? "met    " : "NOT MET"}  ${what}: ${shown}, target at most ${Number(limit.toFixed(3))}`;
  });
}

function save(results: Results): string {
  const directory = join(projectDir, "bench/results");
  ensureDirSync(directory);
  const path = join(directory, `${results.date.replaceAll(":", "-")}.json`);
  Deno.writeTextFileSync(path, JSON.stringify(results, undefined, 2) + "\n");
  return path;
}

/** Runs this program again with the cgroup2 mount of a hybrid host hidden. Returns its status. */
function withoutCgroup2(): number {
  const hide = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"';
  const again = [Deno.execPath(), "run", "--allow-all", new URL(import.meta.url).pathname, ...Deno.args];
  return new Deno.Command("unshare", {
    args: ["--mount", "--propagation=private", "sh", "-c", hide, "sh", ...again],
    env: { [HIDDEN]: "1" },
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync().code;
}

async function main(): Promise<number> {
  const options = readOptions(Deno.args, { values: { rounds: "40" } });
  if (options === undefined) return giveUp("usage: deno task bench [--rounds N]");
  const rounds = Number(options.values.rounds);
  if (!Number.isInteger(rounds) || rounds < MINIMUM_ROUNDS) giveUp(`--rounds must be at least ${MINIMUM_ROUNDS}`);
  if (Deno.uid() !== 0) giveUp("the benchmark needs root: run it as root or with sudo");
  if (Deno.env.get(HIDDEN) === undefined) return withoutCgroup2();
  const results = await bench(rounds);
  const { machine, contestants, emptyScript, library } = results;
  console.log(
    `Linux ${machine.kernel}, ${machine.arch}, ${machine.processors} processors; medians of ${rounds} rounds`,
  );
  for (const { name, version } of contestants) console.log(`${name}: ${version}`);
  console.log(`\n${sampleTable(results, "ms", "median, ms", 1)}`);
  console.log(`\n${sampleTable(results, "cpuMs", "processor time, ms", 1)}`);
  console.log(`\n${sampleTable(results, "minorFaults", "minor page faults", 0)}`);
  console.log(
    `\nempty Deno script: ${median(emptyScript).toFixed(1)} ms; start with the library: ${
      median(library).toFixed(1)
    } ms\n`,
  );
  console.log(`${memoryTable(results)}\n`);
  for (const line of verdicts(results)) console.log(line);
  console.log(`\n${save(results)}`);
  return 0;
}

if (import.meta.main) Deno.exit(await main());
