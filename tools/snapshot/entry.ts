/**
 * The entry of the program that is kept frozen: it starts, rehearses, stops, and goes on from there as many times as its file is executed.
 * tools/freeze runs it.
 *
 * @module
 */

import { Errno } from "../../lib/ffi/errno.ts";
import { freeze, wordsOn } from "../../lib/ffi/snapshot.ts";
import { open } from "../../lib/ffi/files.ts";
import { addressOf, cString, Kernel } from "../../lib/ffi/kernel.ts";
import { raiseFileLimit } from "../../lib/ffi/process/process.ts";
import { openStandardStreams, StandardStream } from "../../lib/ffi/stdio.ts";
import { main } from "../../lib/cli/program.ts";
import { type Surroundings, surroundings } from "../../lib/cli/host.ts";

/** The file that this program goes on from is all of it. */
const reexec = () => ({ path: Deno.readLinkSync("/proc/self/exe"), args: [] });

const worldOf = (kernel: Kernel) => surroundings(kernel, { reexec, programKind: () => "snapshot" });

/** Command lines for the bundles below a directory (tools/snapshot/rehearsal.ts). Containers that they make they remove. */
function rehearsals(directory: string): readonly (readonly string[])[] {
  const root = ["--root", `${directory}/state`];
  const run = (bundle: string) => ["run", "--bundle", `${directory}/${bundle}`, "rehearsal"];
  const create = (bundle: string) => [...root, "create", "--bundle", `${directory}/${bundle}`, "rehearsal"];
  return [
    ["--version"],
    ["help", "run"],
    ["plan", "--bundle", `${directory}/usual`, "rehearsal"],
    // What it tells of a command is to be the command's time, and not its own.
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
 * Goes through what the program is for, so that V8 has compiled it, and knows its types, when it is frozen. Where this process may not make
 * containers, it gets as far as it gets.
 */
function rehearse(kernel: Kernel, directory: string): void {
  using nowhere = open(kernel, "/dev/null", 2);
  const stream = new StandardStream(kernel, nowhere.number);
  const world: Surroundings = {
    ...worldOf(kernel),
    environment: () => undefined,
    runDirectory: directory,
    // Whoever rehearses is not replaced: run and exec fail there, and remove what they have made.
    replace: () => -Errno.ENOSYS,
    stdout: stream,
    stderr: stream,
  };
  rehearseStart(world);
  for (const words of rehearsals(directory)) main(words, world);
}

/** Carries out a command line and ends with its status. */
function run(world: Surroundings, words: readonly string[], exit: (status: number) => void): void {
  openStandardStreams(world.kernel);
  let status = 1;
  try {
    status = main(words, world);
  } catch (error) {
    world.stderr.tryWrite(`${(error as Error)?.stack ?? error}\n`);
  }
  exit(status);
}

/** What comes right after the freeze is rehearsed, too. */
function rehearseStart(world: Surroundings): void {
  const words = ["runc", "--version"].map((word) => cString(word));
  const stack = new BigUint64Array(words.length + 1);
  stack.set([BigInt(words.length), ...words.map(addressOf)]);
  run(world, wordsOn(addressOf(new Uint8Array(stack.buffer))).slice(1), () => {});
}

/** Some 30 are open at once where a container has everything, and as many may be inherited. */
const FILES = 256;

const kernel = new Kernel();
const [directory = "", times = "1"] = Deno.args;
for (let time = 0; time < Number(times); time++) rehearse(kernel, directory);
const words = freeze(kernel, (point) => {
  // Garbage would be kept for ever. Deno is started with --expose-gc.
  (globalThis as { gc?: () => void }).gc?.();
  const text = JSON.stringify(point, (_, value) => typeof value === "bigint" ? String(value) : value);
  worldOf(kernel).stdout.write(`${text}\n`);
});
// Not Deno.exit: Deno's own exit handlers are about a process that there no longer is.
if (words !== undefined) {
  // Descriptors are numbered above all that are open: more than a caller may have room for, who has a few open itself.
  const world = { ...worldOf(kernel), softFileLimit: raiseFileLimit(kernel, FILES) };
  run(world, words.slice(1), (status) => kernel.call("_exit", status));
}
