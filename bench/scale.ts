/**
 * `deno task bench:scale`: times commands while more and more containers are alive. The time of `list` should grow
 * linearly with their number; commands on one container should not depend on it.
 *
 * @module
 */

import { join } from "@std/path";
import { distDir, giveUp } from "../tools/bundle.ts";
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

function main(): void {
  const options = readOptions(Deno.args, { values: { rounds: "11" } });
  if (options === undefined) return giveUp("usage: deno task bench:scale [--rounds N]");
  const rounds = Number(options.values.rounds);
  if (!Number.isInteger(rounds) || rounds < MINIMUM_ROUNDS) giveUp(`--rounds must be at least ${MINIMUM_ROUNDS}`);
  if (Deno.uid() !== 0) giveUp("the benchmark needs root: run it as root or with sudo");
  const heading = ["containers", "list, ms", "per container", "create", "state", "exec", "delete"];
  const rows = bench(rounds).map(({ count, list, create, state, exec, delete: removed }) => [
    String(count),
    list.toFixed(1),
    (list / count).toFixed(3),
    ...[create, state, exec, removed].map((ms) => ms.toFixed(1)),
  ]);
  console.log(formatTable([heading, ...rows]));
}

if (import.meta.main) main();
