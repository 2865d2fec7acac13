/** What a soak compares: figures of the machine and of processes that live long, and which growth is too much. */

import { poll } from "../../lib/ffi/poll.ts";
import { contentOf } from "../integration/foreground_harness.ts";
import { kernel } from "../integration/harness.ts";
import { mounts } from "../integration/leftovers.ts";

/** One figure. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  /** How much more it may be than after the warm-up. */
  readonly bound: number;
  /** Why not less. */
  readonly reason: string;
}

/** A figure that has grown beyond its bound. */
export interface Growth {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly bound: number;
}

/** Figures that have grown too much. One that was not there before starts at 0. Pure. */
export function growths(before: readonly Figure[], after: readonly Figure[]): readonly Growth[] {
  const start = new Map(before.map(({ name, value }) => [name, value]));
  return after.flatMap(({ name, value: to, bound }) => {
    const from = start.get(name) ?? 0;
    return to > from + bound ? [{ name, from, to, bound }] : [];
  });
}

/** What others on the machine may do meanwhile takes this long to pass: it is waited for, not measured. */
const PATIENCE_MS = 60_000;

/** The figures once none has grown too much, or after some patience. The ends of killed processes and cgroups take a moment. */
export function settled(before: readonly Figure[], take: () => readonly Figure[]): readonly Figure[] {
  const deadline = performance.now() + PATIENCE_MS;
  let figures = take();
  while (growths(before, figures).length > 0 && performance.now() < deadline) {
    poll(kernel, [], 250);
    figures = take();
  }
  return figures;
}

const exact = "each must be gone: it is this test's own";

// --- processes ------------------------------------------------------------------------------------------------------

function linksOf(pid: number): string[] {
  return entries(`/proc/${pid}/fd`).map((name) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      // It has been closed, or was the directory's own.
      return "";
    }
  }).filter((link) => link !== "");
}

function entries(path: string): string[] {
  try {
    return [...Deno.readDirSync(path)].map(({ name }) => name);
  } catch {
    return [];
  }
}

/** A number of /proc/PID/status. */
function statusOf(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(contentOf(`/proc/${pid}/status`))?.[1] ?? NaN);
}

/** A process that lives as long as the soak. */
export interface LongLived {
  readonly name: string;
  readonly pid: number;
  /** KiB of anonymous memory that it may have more than after the warm-up, and why. */
  readonly memory: { readonly bound: number; readonly reason: string };
}

export function processFigures({ name, pid, memory }: LongLived): readonly Figure[] {
  const links = linksOf(pid);
  const maps = contentOf(`/proc/${pid}/maps`).split("\n");
  return [
    { name: `${name}: anonymous memory, KiB`, value: statusOf(pid, "RssAnon"), ...memory },
    { name: `${name}: descriptors`, value: links.length, bound: 0, reason: exact },
    {
      name: `${name}: memory files`,
      value: links.filter((link) => link.startsWith("/memfd:")).length,
      bound: 0,
      reason: exact,
    },
    {
      name: `${name}: mapped memory files`,
      value: maps.filter((line) => line.includes("/memfd:")).length,
      bound: 0,
      reason: exact,
    },
    { name: `${name}: threads`, value: statusOf(pid, "Threads"), bound: 0, reason: exact },
  ];
}

/**
 * Pids of all descendants; `zombies`: those that have ended and are not reaped. Orphans are children of the subreaper that
 * a harness makes of this process.
 */
export function descendants({ zombies = false } = {}): number[] {
  const parents = entries("/proc").filter((name) => /^\d+$/.test(name)).map((name) => {
    // pid (name) state ppid: the name may hold anything.
    const [, state, parent] = /\) (\S) (\d+) [^)]*$/.exec(contentOf(`/proc/${name}/stat`)) ?? [];
    return { pid: Number(name), parent: Number(parent), state };
  }).filter(({ state }) => state !== undefined);
  const found = new Set([Deno.pid]);
  for (let size = 0; size !== found.size;) {
    size = found.size;
    for (const { pid, parent } of parents) if (found.has(parent)) found.add(pid);
  }
  found.delete(Deno.pid);
  return parents.filter(({ pid, state }) => found.has(pid) && (state === "Z") === zombies).map(({ pid }) => pid);
}

// --- the machine ----------------------------------------------------------------------------------------------------

/** Things of the kernel that have no owner: lines of a table without its head. */
const lines = (path: string) => Math.max(0, contentOf(path).trimEnd().split("\n").length - 1);

/**
 * The machine. `name`: in the names of all mounts and cgroups of the test; `stateRoots`: directories of the runtime;
 * `rounds`, `made`: how many rounds and containers there were since the warm-up.
 */
export function machineFigures(
  { cgroups, name, stateRoots, rounds, made }: {
    readonly cgroups: number;
    readonly name: string;
    readonly stateRoots: readonly string[];
    readonly rounds: number;
    readonly made: number;
  },
): readonly Figure[] {
  const others = "others on the machine have some too";
  const shared = {
    bound: Math.max(20, Math.floor(rounds / 2)),
    reason: `one that is left by each round, or by every second, is more; ${others}`,
  };
  // An ended one stays as long as a page of a file that was first read or written in it.
  const memory = {
    bound: Math.max(20, Math.floor(made / 4)),
    reason: `one that is left by each container, or by every fourth, is more; ${others}, and files keep them`,
  };
  const counts = contentOf("/proc/cgroups").trimEnd().split("\n").slice(1).map((line) => line.split("\t"));
  return [
    { name: "processes", value: descendants().length, bound: 0, reason: exact },
    { name: "zombies", value: descendants({ zombies: true }).length, bound: 0, reason: exact },
    { name: "cgroups", value: cgroups, bound: 0, reason: exact },
    { name: "mounts", value: mounts().filter(({ line }) => line.includes(name)).length, bound: 0, reason: exact },
    ...stateRoots.map((root, index) => (
      { name: `entries of state directory ${index + 1}`, value: entries(root).length, bound: 0, reason: exact }
    )),
    ...["shm", "sem", "msg"].map((kind) => (
      {
        name: `System V ${kind}`,
        value: lines(`/proc/sysvipc/${kind}`),
        bound: 0,
        reason: "the host's own: nothing makes one there",
      }
    )),
    ...counts.map(([controller, , count]) => (
      { name: `kernel's cgroups, ${controller}`, value: Number(count), ...(controller === "memory" ? memory : shared) }
    )),
    ...unifiedPlaces().map((place) => (
      { name: "ended cgroups that the kernel keeps", value: dying(place), ...shared }
    )),
  ];
}

function unifiedPlaces(): string[] {
  return mounts().filter(({ type }) => type === "cgroup2").map(({ place }) => place).slice(0, 1);
}

const dying = (place: string) =>
  Number(/^nr_dying_descendants (\d+)$/m.exec(contentOf(`${place}/cgroup.stat`))?.[1] ?? 0);

/** A table of the figures: name, after the warm-up, at the end, what more is allowed. */
export function table(before: readonly Figure[], after: readonly Figure[]): string {
  const start = new Map(before.map(({ name, value }) => [name, value]));
  return after.map(({ name, value, bound }) =>
    `${name.padEnd(48)} ${String(start.get(name) ?? 0).padStart(8)} ${String(value).padStart(8)}  (+${bound})`
  ).join("\n");
}
