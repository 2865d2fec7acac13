/**
 * Measures the memory that a container needs in addition to its program.
 *
 * @module
 */

import { withMemory } from "./bundles.ts";
import type { Fd } from "../lib/ffi/fd.ts";
import { open } from "../lib/ffi/files.ts";
import { alloc, cString } from "../lib/ffi/kernel.ts";
import type { Config } from "../mod.ts";
import { type Contestant, waitForEnd } from "./contestant.ts";
import { finish, kernel, start } from "./timed.ts";

/** All sizes are in KiB unless noted otherwise. */
export interface Memory {
  /** Memory of the process between `create` and `start`: RSS, and PSS, which divides shared pages among their users. */
  readonly waitingRss: number;
  readonly waitingPss: number;
  /** Size of the program that this process runs, in bytes. For this project's runtime it is the whole image. */
  readonly waitingProgramBytes: number;
  /** RSS of the runtime's process while a container runs in the foreground. */
  readonly foregroundRss: number;
  /** PSS of each runtime while {@link AT_ONCE} of them create a container. */
  readonly atOncePss: number;
  /** Peak memory of each command, by its name. */
  readonly peaks: Readonly<Record<string, number>>;
  /** What `--version` and `run` read of the program's file if the page cache has nothing of it. */
  readonly coldVersion: number;
  readonly coldRun: number;
  /** The smallest `linux.resources.memory.limit` with which `true` still runs. */
  readonly smallestLimit: number;
}

/** Runtimes that run at the same time: a host starts its containers after a restart. */
export const AT_ONCE = 50;

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
  const copy = contestant.copied();
  const cold = (command: () => void) => Math.round(readCold(copy.program, command) / KIB);
  return {
    ...waiting,
    foregroundRss,
    atOncePss: Math.round(pssAtOnce(contestant)),
    peaks: peaksOf(contestant),
    coldVersion: cold(() => copy.call("--version")),
    coldRun: cold(() => copy.run("true")),
    smallestLimit: smallestLimit(contestant),
  };
}

/** Each runtime waits for a hook, so that all of them are there at the same time. */
function pssAtOnce(contestant: Contestant): number {
  const { there, gate } = { there: `${contestant.root}-there`, gate: `${contestant.root}-gate` };
  Deno.writeTextFileSync(there, "");
  kernel.must(`mkfifo(${gate})`, "mkfifo", cString(gate), 0o600);
  // Open for reading too: then the open does not wait, and a hook that comes late finds a writer.
  using opened = Deno.openSync(gate, { read: true, write: true });
  const args = ["sh", "-c", `echo >> ${there}; read line < ${gate}`];
  const change = (config: Config) => ({ ...config, hooks: { createRuntime: [{ path: "/bin/sh", args }] } });
  const ids = Array.from({ length: AT_ONCE }, (_, index) => {
    contestant.bundle("other", { args: ["true"], change }, index);
    return contestant.nextId();
  });
  const pids = ids.map((id, index) =>
    start(contestant.argv("create", "--bundle", contestant.bundleDirectory("other", index), id))
  );
  try {
    while (Deno.statSync(there).size < AT_ONCE) kernel.call("usleep", 20_000);
    return pids.reduce((sum, pid) => sum + rollup(pid, "Pss"), 0) / AT_ONCE;
  } finally {
    // Each reads one line.
    opened.writeSync(new Uint8Array(AT_ONCE).fill("\n".charCodeAt(0)));
    for (const pid of pids) finish(pid);
    for (const id of ids) contestant.call("delete", "--force", id);
    for (const path of [there, gate]) Deno.removeSync(path);
  }
}

const POSIX_FADV_DONTNEED = 4, PROT_READ = 1, MAP_SHARED = 1;
const PAGE = 4096;

/**
 * How many bytes of a file are in the page cache after `command`, when none were before. The kernel reads ahead, so this
 * can be more than what is used. @see posix_fadvise(2), mincore(2)
 */
function readCold(path: string, command: () => void): number {
  using file = open(kernel, path, 0);
  const size = Deno.statSync(path).size;
  // Only what is on the disk can be dropped.
  kernel.call("sync");
  kernel.call("posix_fadvise", file.number, 0, 0, POSIX_FADV_DONTNEED);
  const before = residentBytes(file, size);
  if (before > 0) throw new Error(`${path} stays in the page cache: another process runs it`);
  command();
  return residentBytes(file, size);
}

function residentBytes(file: Fd, size: number): number {
  const address = kernel.must("mmap of a program", "mmap", 0, size, PROT_READ, MAP_SHARED, file.number, 0);
  const pages = alloc(Math.ceil(size / PAGE));
  kernel.must("mincore", "mincore", address, size, pages);
  kernel.must("munmap", "munmap", address, size);
  return PAGE * pages.filter((page) => (page & 1) === 1).length;
}

function peaksOf(contestant: Contestant): Record<string, number> {
  const id = contestant.nextId();
  // Not in the state directory: crun 1.28 lists each file there as a container.
  const pidFile = `${contestant.root}-pid`;
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
