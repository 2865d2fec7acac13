/**
 * What a container takes of memory besides its program.
 *
 * @module
 */

import { withMemory } from "./bundles.ts";
import { type Contestant, waitForEnd } from "./contestant.ts";

/** In KiB. */
export interface Memory {
  /** Of the process between `create` and `start`: everything that is mapped and present, and with what is shared divided. */
  readonly waitingRss: number;
  readonly waitingPss: number;
  /** Size of the program that it runs: for ours, the whole image. In bytes. */
  readonly waitingProgramBytes: number;
  /** Of the runtime's process while a container runs in the foreground. */
  readonly foregroundRss: number;
  /** The most that a command had at once, by its name. */
  readonly peaks: Readonly<Record<string, number>>;
  /** The smallest `linux.resources.memory.limit` with which `true` still runs. */
  readonly smallestLimit: number;
}

const KIB = 1024;
/** From and to where the smallest limit is looked for, and how exactly; in KiB. */
const LIMITS = { from: 0, to: 64 * KIB, step: 16 };

function rollup(pid: number, field: string): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  return Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(text)?.[1]);
}

/** Looks at a contestant's processes. */
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

/** By halves; the limit is in the bundle's config, so the whole way there counts. */
function smallestLimit(contestant: Contestant): number {
  const isEnough = (limitKib: number) => {
    contestant.bundle("other", { args: ["true"], change: withMemory(limitKib * KIB) });
    // Twice: what the first run has loaded into the page cache was charged to it.
    return contestant.statusOf("other") === 0 && contestant.statusOf("other") === 0;
  };
  let { from, to } = LIMITS;
  if (!isEnough(to)) throw new Error(`${contestant.name} does not run in ${to} KiB`);
  while (to - from > LIMITS.step) {
    const middle = Math.round((from + to) / 2);
    if (isEnough(middle)) to = middle;
    else from = middle;
  }
  return to;
}
