/**
 * Measures the memory that a container needs in addition to its program.
 *
 * @module
 */

import { withMemory } from "./bundles.ts";
import { type Contestant, waitForEnd } from "./contestant.ts";

/** All sizes are in KiB unless noted otherwise. */
export interface Memory {
  /** Memory of the process between `create` and `start`: RSS, and PSS, which divides shared pages among their users. */
  readonly waitingRss: number;
  readonly waitingPss: number;
  /** Size of the program that this process runs, in bytes. For this project's runtime it is the whole image. */
  readonly waitingProgramBytes: number;
  /** RSS of the runtime's process while a container runs in the foreground. */
  readonly foregroundRss: number;
  /** Peak memory of each command, by its name. */
  readonly peaks: Readonly<Record<string, number>>;
  /** The smallest `linux.resources.memory.limit` with which `true` still runs. */
  readonly smallestLimit: number;
}

const KIB = 1024;
/** The range in which the smallest limit is searched, and the precision; in KiB. */
const LIMITS = { from: 0, to: 64 * KIB, step: 16 };

function rollup(pid: number, field: string): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  return Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(text)?.[1]);
}

/** Measures a contestant's processes. */
export function memoryOf(contestant: Contestant): Memory {
  const { id, pid } = contestant.create();
  const waiting = {
    waitingRss: rollup(pid, "Rss"),
    waitingPss: rollup(pid, "Pss"),
    waitingProgramBytes: Deno.statSync(`/proc/${pid}/exe`).size,
  };
  contestant.call("delete", "--force", id);
  const foregroundRss = contestant.foreground((pid) => rollup(pid, "Rss"));
  return { ...waiting, foregroundRss, peaks: peaksOf(contestant), smallestLimit: smallestLimit(contestant) };
}

function peaksOf(contestant: Contestant): Record<string, number> {
  const id = contestant.nextId();
  const pidFile = `${contestant.root}/pid`;
  const sleeping = ["--bundle", contestant.bundleDirectory("sleep"), "--pid-file", pidFile, id];
  const create = contestant.peak("create", ...sleeping);
  const peaks = Object.fromEntries(
    [["start", id], ["state", id], ["list"], ["exec", id, "true"], ["kill", id, "KILL"]].map((words) => [
      words[0]!,
      contestant.peak(...words),
    ]),
  );
  waitForEnd(Number(Deno.readTextFileSync(pidFile)));
  Deno.removeSync(pidFile);
  const bundle = contestant.bundleDirectory("true");
  return {
    run: contestant.peak("run", "--bundle", bundle, contestant.nextId()),
    create,
    ...peaks,
    delete: contestant.peak("delete", id),
  };
}

/** Finds the limit by bisection. The limit is in the bundle's config, so the runtime's own setup counts too. */
function smallestLimit(contestant: Contestant): number {
  const isEnough = (limitKib: number) => {
    contestant.bundle("other", { args: ["true"], change: withMemory(limitKib * KIB) });
    // Twice, because the first run was charged for what it loaded into the page cache.
    return contestant.statusOf("other") === 0 && contestant.statusOf("other") === 0;
  };
  let { from, to } = LIMITS;
  if (!isEnough(to)) throw new Error(`${contestant.name} does not run with ${to} KiB`);
  while (to - from > LIMITS.step) {
    const middle = Math.round((from + to) / 2);
    if (isEnough(middle)) to = middle;
    else from = middle;
  }
  return to;
}
