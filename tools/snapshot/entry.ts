/**
 * The entry of the program to snapshot: it starts, rehearses and stops. Each execution of the snapshot resumes it
 * there. tools/snapshot runs it.
 *
 * @module
 */

import { Errno } from "../../lib/ffi/errno.ts";
import { stopForSnapshot, wordsOn } from "../../lib/ffi/snapshot.ts";
import { open } from "../../lib/ffi/files.ts";
import { addressOf, cString, Kernel } from "../../lib/ffi/kernel.ts";
import { raiseFileLimit } from "../../lib/ffi/process/process.ts";
import { openStandardStreams, StandardStream } from "../../lib/ffi/stdio.ts";
import { main } from "../../lib/cli/program.ts";
import { type Host, hostOf } from "../../lib/cli/host.ts";

/** The snapshot file is the whole program, so no Deno and no script precede the arguments. */
const reexec = () => ({ path: Deno.readLinkSync("/proc/self/exe"), args: [] });

const worldOf = (kernel: Kernel) => hostOf(kernel, { reexec, programKind: () => "snapshot" });

/**
 * Command lines for the bundles below a directory (tools/snapshot/rehearsal.ts). They remove the containers that they
 * create.
 */
function rehearsals(directory: string): readonly (readonly string[])[] {
  const root = ["--root", `${directory}/state`];
  const run = (bundle: string) => ["run", "--bundle", `${directory}/${bundle}`, "rehearsal"];
  const create = (bundle: string) => [...root, "create", "--bundle", `${directory}/${bundle}`, "rehearsal"];
  return [
    ["--version"],
    ["help", "run"],
    ["plan", "--bundle", `${directory}/usual`, "rehearsal"],
    // Rehearses the tracing code too, so that a trace shows the command's time and not the time of compiling that code.
    [...root, "--trace", `${directory}/trace.json`, ...run("usual")],
    ...["usual", "engine", "mapped"].flatMap((bundle) => [
      [...root, ...run(bundle)],
      create(bundle),
      [...root, "state", "rehearsal"],
      [...root, "exec", "rehearsal", "/program"],
      [...root, "list"],
      [...root, "start", "rehearsal"],
      [...root, "delete", "--force", "rehearsal"],
    ]),
    create("usual"),
    [...root, "kill", "rehearsal", "KILL"],
    [...root, "delete", "rehearsal"],
  ];
}

/**
 * Runs typical commands so that V8 has compiled their code and knows its types when the snapshot is taken. If this
 * process may not create containers, the commands fail part-way, which is ignored.
 */
function rehearse(kernel: Kernel, directory: string): void {
  using nowhere = open(kernel, "/dev/null", 2);
  const stream = new StandardStream(kernel, nowhere.number);
  const world: Host = {
    ...worldOf(kernel),
    environment: () => undefined,
    runDirectory: directory,
    // The rehearsing process must not be replaced. `run` and `exec` fail here and remove what they created.
    replace: () => -Errno.ENOSYS,
    stdout: stream,
    stderr: stream,
  };
  rehearseStart(world);
  for (const words of rehearsals(directory)) main(words, world);
}

/** Runs a command line and exits with its status. */
function run(world: Host, words: readonly string[], exit: (status: number) => void): void {
  openStandardStreams(world.kernel);
  let status = 1;
  try {
    status = main(words, world);
  } catch (error) {
    world.stderr.tryWrite(`${(error as Error)?.stack ?? error}\n`);
  }
  exit(status);
}

/** The code that runs right after the snapshot is rehearsed, too. */
function rehearseStart(world: Host): void {
  const words = ["runc", "--version"].map((word) => cString(word));
  const stack = new BigUint64Array(words.length + 1);
  stack.set([BigInt(words.length), ...words.map(addressOf)]);
  run(world, wordsOn(addressOf(new Uint8Array(stack.buffer))).slice(1), () => {});
}

/** malloc.h of glibc */
const M_PERTURB = -6;

/**
 * Removes all garbage: it would stay in the snapshot forever, and tell of the host. Collections of the usual kind keep
 * some of it, and pages for the next objects. Deno is started with --expose-gc.
 */
function collectGarbage(): void {
  const { gc } = globalThis as { gc?: (options: Readonly<Record<string, string>>) => void };
  // The second collection finds what the first one's weak references have kept.
  for (let time = 0; time < 2; time++) gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
  // The pages for the next objects, twice: a collection moves what lives from one half of V8's young objects to the other.
  // A command that finds none maps them one by one, and each of their pages costs a fault.
  for (let half = 0; half < 2; half++) {
    for (let block = 0; block < 64; block++) new Array(4096).fill(0);
    gc?.({ type: "minor", execution: "sync" });
  }
}

/** About 30 descriptors are open at once for a container that uses everything, and as many may be inherited. */
const FILES = 256;

const kernel = new Kernel();
const [directory = "", times = "1"] = Deno.args;
for (let time = 0; time < Number(times); time++) rehearse(kernel, directory);
const words = stopForSnapshot(kernel, (point) => {
  collectGarbage();
  // Overwriting freed memory costs time, see tools/snapshot/snapshot.ts.
  kernel.call("mallopt", M_PERTURB, 0);
  // Returns free pages to the kernel. In the file they would be as they were overwritten.
  kernel.call("malloc_trim", 0);
  const text = JSON.stringify(point, (_, value) => typeof value === "bigint" ? String(value) : value);
  worldOf(kernel).stdout.write(`${text}\n`);
});
// Deno.exit would run Deno's exit handlers, which belong to a process that no longer exists.
if (words !== undefined) {
  // New descriptors are numbered above all open ones. A caller with a low limit and some open descriptors may not have
  // enough room.
  const world = { ...worldOf(kernel), softFileLimit: raiseFileLimit(kernel, FILES) };
  run(world, words.slice(1), (status) => kernel.call("_exit", status));
}
