/**
 * `deno task bench:scale`: times commands while more and more containers are alive. The time of `list` should grow
 * linearly with their number; commands on one container should not depend on it. At the end, 1,000 containers are created
 * by 8 lanes, started, listed, entered and deleted, all of them alive at once.
 *
 * @module
 */

import { join } from "@std/path";
import { distDir, giveUp } from "../tools/bundle.ts";
import { inLanes } from "../tools/lanes.ts";
import { readOptions } from "../tools/options.ts";
import { findBusybox } from "../tools/packages.ts";
import { Contestant, endOf } from "./contestant.ts";
import { formatTable, median } from "./statistics.ts";
import type { Timed } from "./timed.ts";

/** Numbers of living containers to time commands with. */
const COUNTS = [1, 50, 100, 200, 500];
const MINIMUM_ROUNDS = 5;

/** Medians in milliseconds. */
interface Row {
  readonly count: number;
  readonly list: number;
  readonly create: number;
  readonly state: number;
  readonly exec: number;
  readonly delete: number;
}

/** Times commands among `count` containers. Each round creates and deletes one more. */
function measure(ours: Contestant, count: number, rounds: number): Row {
  const times = { list: [], create: [], state: [], exec: [], delete: [] } as Record<string, number[]>;
  const note = (name: string, { ms }: Timed) => times[name]!.push(ms);
  for (let round = 0; round < rounds; round++) {
    note("list", ours.call("list"));
    const created = ours.create();
    note("create", created);
    note("state", ours.call("state", created.id));
    note("exec", ours.call("exec", created.id, "true"));
    endOf(created.pid);
    note("delete", ours.call("delete", created.id));
  }
  const medians = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));
  return { count, ...medians } as unknown as Row;
}

function bench(rounds: number): readonly Row[] {
  const directory = Deno.makeTempDirSync({ prefix: "runc-bench-" });
  const ours = new Contestant({ name: "ours", program: join(distDir, "runc") }, { directory, busybox: findBusybox() });
  const pids: number[] = [];
  try {
    return COUNTS.map((count) => {
      while (pids.length < count) {
        const number = pids.length + 1;
        ours.bundle("sleep", { args: ["sleep", "1000"] }, number);
        pids.push(ours.create(number).pid);
      }
      return measure(ours, count, rounds);
    });
  } finally {
    for (const pid of pids) endOf(pid);
    ours.cleanUp();
    Deno.removeSync(directory, { recursive: true });
  }
}

/** How many containers are alive at once, and how many commands run at the same time. */
const MANY = 1000, LANES = 8;

/** A phase of {@link benchMany}. */
interface Phase {
  readonly name: string;
  readonly count: number;
  readonly seconds: number;
}

/** Creates many containers, and carries commands out on all of them. @throws if one fails, or if not all are alive. */
async function benchMany(): Promise<readonly Phase[]> {
  const directory = Deno.makeTempDirSync({ prefix: "runc-bench-" });
  const program = join(distDir, "runc");
  const ours = new Contestant({ name: "many", program }, { directory, busybox: findBusybox() });
  const ids = Array.from({ length: MANY }, (_, index) => `many-${index}`);
  const call = async (...args: readonly string[]): Promise<boolean> => {
    const [path = "", ...words] = ours.argv(...args);
    // A created container keeps the streams.
    const command = new Deno.Command(path, { args: words, stdin: "null", stdout: "null", stderr: "null" });
    return (await command.output()).success;
  };
  const forAll = async (name: string, words: (id: string) => readonly string[]): Promise<Phase> => {
    const begin = performance.now();
    const failed = await inLanes(ids, LANES, (id) => call(...words(id)));
    if (failed.length > 0) throw new Error(`${name} failed: ${failed.join(" ")}`);
    return { name, count: ids.length, seconds: (performance.now() - begin) / 1000 };
  };
  const list = (): Phase => {
    const begin = performance.now();
    const [path = "", ...args] = ours.argv("list", "--format", "json");
    const { stdout } = new Deno.Command(path, { args, stderr: "null" }).outputSync();
    const listed: readonly { readonly status: string }[] = JSON.parse(new TextDecoder().decode(stdout));
    const alive = listed.filter(({ status }) => status === "running").length;
    if (alive !== ids.length) throw new Error(`${alive} of ${ids.length} containers run`);
    return { name: "list", count: 1, seconds: (performance.now() - begin) / 1000 };
  };
  try {
    ids.forEach((_, index) => ours.bundle("sleep", { args: ["sleep", "10000"] }, index + 1));
    const bundleOf = (id: string) => ours.bundleDirectory("sleep", Number(id.slice("many-".length)) + 1);
    return [
      await forAll("create", (id) => ["create", "--bundle", bundleOf(id), id]),
      await forAll("start", (id) => ["start", id]),
      list(),
      await forAll("exec", (id) => ["exec", id, "true"]),
      await forAll("delete --force", (id) => ["delete", "--force", id]),
    ];
  } finally {
    await inLanes(ids, LANES, (id) => call("delete", "--force", id));
    ours.cleanUp();
    Deno.removeSync(directory, { recursive: true });
  }
}

async function main(): Promise<void> {
  const options = readOptions(Deno.args, { values: { rounds: "11" }, switches: ["many"] });
  if (options === undefined) return giveUp("usage: deno task bench:scale [--rounds N] [--many]");
  const rounds = Number(options.values.rounds);
  if (!Number.isInteger(rounds) || rounds < MINIMUM_ROUNDS) giveUp(`--rounds must be at least ${MINIMUM_ROUNDS}`);
  if (Deno.uid() !== 0) giveUp("the benchmark needs root: run it as root or with sudo");
  if (options.switches.many) return printMany(await benchMany());
  const heading = ["containers", "list, ms", "per container", "create", "state", "exec", "delete"];
  const rows = bench(rounds).map(({ count, list, create, state, exec, delete: removed }) => [
    String(count),
    list.toFixed(1),
    (list / count).toFixed(3),
    ...[create, state, exec, removed].map((ms) => ms.toFixed(1)),
  ]);
  console.log(formatTable([heading, ...rows]));
  printMany(await benchMany());
}

function printMany(phases: readonly Phase[]): void {
  const load = Deno.loadavg()[0]!.toFixed(1);
  console.log(
    `\n${MANY} containers alive at once, ${LANES} commands at a time; load of the machine at the end: ${load}`,
  );
  const rows = phases.map(({ name, count, seconds }) => [
    name,
    String(count),
    seconds.toFixed(2),
    (1000 * seconds / count).toFixed(2),
  ]);
  console.log(formatTable([["command", "times", "seconds in all", "ms each"], ...rows]));
}

if (import.meta.main) await main();
