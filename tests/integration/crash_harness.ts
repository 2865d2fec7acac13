/** Commands that are killed on their way, and what has to be true afterwards. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { criuPath } from "./criu_harness.ts";
import { contentOf } from "./foreground_harness.ts";
import { type Box, type Change, execute, type Result, until } from "./harness.ts";
import { removeCgroupsNamed, Watchman } from "./leftovers.ts";

const here = new URL(".", import.meta.url).pathname;

/** More than any command has. */
const MOST_ACTS = 200;

/**
 * How many acts of the commands with the most are passed over for each one that is killed: with the argument `all`,
 * none. `deno test -A tests/integration/crash_test.ts -- all`
 */
const STRIDE = Deno.args.includes("all") ? 1 : 4;

/** A command that is killed. */
export interface Doomed {
  /** For the name of the test. */
  readonly name: string;
  /** The words after the global options. */
  readonly words: (box: Box) => readonly string[];
  /** Makes what the command needs. */
  readonly prepare?: (box: Box, flags: readonly string[]) => void;
  /** Only one of {@link STRIDE} acts is killed: what it does is mostly what another command does. */
  readonly isSampled?: boolean;
  /** Options before the command, for this command and those that prepare and clean up. */
  readonly flags?: readonly string[];
}

/** A container that sleeps, with a hook of each kind that runs on the host. */
export function writeSleeping(box: Box, change: Change = () => {}): void {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.resources = { ...config.linux.resources, pids: { limit: 50 } };
    const hook = { path: "/bin/true" };
    config.hooks = { prestart: [hook], createRuntime: [hook], poststart: [hook], poststop: [hook] };
    change(config);
  });
}

type Preparing = NonNullable<Doomed["prepare"]>;

const create: Preparing = (box, flags) => box.must([...flags, "create", box.id]);
const run: Preparing = (box, flags) => box.must([...flags, "run", "--detach", box.id]);
const pause: Preparing = (box, flags) => {
  run(box, flags);
  box.must([...flags, "pause", box.id]);
};
const stop: Preparing = (box, flags) => {
  run(box, flags);
  box.must([...flags, "kill", box.id, "KILL"]);
  until("its end", () => box.state().status === "stopped");
};

/** Every command that changes something, but for those of CRIU. */
export const doomedCommands: readonly Doomed[] = [
  { name: "create", words: ({ id }) => ["create", id] },
  { name: "run", isSampled: true, words: ({ id }) => ["run", id] },
  { name: "run --detach", isSampled: true, words: ({ id }) => ["run", "--detach", id] },
  { name: "run --detach --supervise", isSampled: true, words: ({ id }) => ["run", "--detach", "--supervise", id] },
  { name: "start", prepare: create, words: ({ id }) => ["start", id] },
  { name: "exec", prepare: run, words: ({ id }) => ["exec", id, "sleep", "1000"] },
  {
    name: "exec --detach",
    isSampled: true,
    prepare: run,
    words: ({ id }) => ["exec", "--detach", id, "sleep", "1000"],
  },
  { name: "debug", isSampled: true, prepare: run, words: ({ id }) => ["debug", id, "--", "sleep", "1000"] },
  { name: "kill", prepare: run, words: ({ id }) => ["kill", id, "KILL"] },
  { name: "delete", prepare: stop, words: ({ id }) => ["delete", id] },
  { name: "delete --force", prepare: run, words: ({ id }) => ["delete", "--force", id] },
  {
    name: "delete --force of a paused container",
    isSampled: true,
    prepare: pause,
    words: ({ id }) => ["delete", "--force", id],
  },
  { name: "pause", prepare: run, words: ({ id }) => ["pause", id] },
  { name: "resume", prepare: pause, words: ({ id }) => ["resume", id] },
  { name: "update", prepare: run, words: ({ id }) => ["update", "--pids-limit", "77", id] },
];

/** A command that was killed. */
export interface Killed extends Result {
  /** The acts that it has begun. */
  readonly acts: readonly string[];
}

/** Runs a command that is killed before its act `number`. */
export function killBefore(box: Box, { words, flags = [] }: Doomed, number: number): Killed {
  const program = ["run", "--allow-all", "--no-check", `--config=${here}../../deno.json`, `${here}crash_program.ts`];
  const commandLine = ["--root", box.root, ...flags, ...words(box)];
  const options = { cwd: box.bundle, env: { PATH: criuPath } };
  const killed = execute([Deno.execPath(), ...program, String(number), ...commandLine], options);
  const acts = killed.stdout.split("\n").filter((line) => line.startsWith("act: ")).map((line) => line.slice(5));
  return { ...killed, acts };
}

/** What there is of the box's, but for its files. */
export function left(box: Box, watchman: Watchman): readonly string[] {
  return [...box.containers().map((id) => `container ${id}`), ...watchman.find()];
}

/** Commands that only look. A killed command must not leave anything that they cannot bear. */
const lookers: readonly (readonly string[])[] = [["list"], ["state"], ["ps"], ["events", "--stats"], ["inspect"]];

/** Each command that looks gives an answer to what is left: a result, or an error that is no fault of the runtime's. */
export function lookAround(box: Box, flags: readonly string[], where: string): void {
  const log = `${box.directory}/log-of-lookers`;
  for (const words of lookers) {
    const args = [...flags, ...words, ...(words[0] === "list" ? [] : [box.id])];
    const { code, stderr } = box.runc(["--log", log, "--log-format", "json", ...args]);
    const records: readonly { level: string; code?: string }[] = contentOf(log).split("\n").slice(0, -1)
      .map((line) => JSON.parse(line));
    const codes = records.filter(({ level }) => level === "error").map(({ code = "internal" }) => code);
    assertEquals(
      [codes.length, codes.includes("internal")],
      [code === 0 ? 0 : 1, false],
      `${where}; ${args}: ${stderr}`,
    );
    if (records.length > 0) Deno.removeSync(log);
  }
}

/** `delete --force` leaves nothing. */
export function cleanUp(box: Box, flags: readonly string[], watchman: Watchman, where: string): void {
  const removed = box.runc([...flags, "delete", "--force", box.id]);
  assertEquals([removed.code, left(box, watchman)], [0, []], `${where}; delete --force said: ${removed.stderr}`);
}

/** What has to be true after a command was killed. `where`: which one, and before which act. */
export type Aftermath = (box: Box, flags: readonly string[], watchman: Watchman, where: string) => void;

/** Commands that look give answers, and `delete --force` leaves nothing. */
const bearable: Aftermath = (box, flags, watchman, where) => {
  lookAround(box, flags, where);
  cleanUp(box, flags, watchman, where);
};

/** Thaws the box's cgroup by hand, on v1. */
function thaw({ cgroup }: Box): void {
  const file = `/sys/fs/cgroup/freezer${cgroup}/freezer.state`;
  if (existsSync(file)) Deno.writeTextFileSync(file, "THAWED");
}

/** Runs commands as a machine does that has just started: nothing is in /run. */
const freshRun: readonly string[] = [
  ...["/usr/bin/unshare", "--mount", "--propagation=private"],
  ...["/bin/sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"],
];

/**
 * After a power loss: all processes are gone, and so is the state. `cgroups`: they are gone, too, or stay, as where only a
 * container is started anew in which the runtime runs. A container of the same id is made, with its own limits.
 */
export const afterPowerLoss = (cgroups: "gone" | "left"): Aftermath => (box, flags, watchman, where) => {
  // On v1 a frozen process does not end.
  thaw(box);
  watchman.endProcesses();
  box.loseState();
  if (cgroups === "gone") removeCgroupsNamed(box.name);
  const run = (...words: readonly string[]) => {
    const { code, stdout, stderr } = box.runc([...flags, ...words], { prefix: freshRun });
    assertEquals([code, stderr], [0, ""], `${where}; after a power loss, ${words.join(" ")}`);
    return stdout;
  };
  assertEquals(run("list", "--quiet"), "", where);
  run("create", box.id);
  assertEquals(box.pidsLimit(), "50", where);
  run("start", box.id);
  assertEquals(JSON.parse(run("state", box.id)).status, "running", where);
  run("delete", "--force", box.id);
  assertEquals(left(box, watchman), [], where);
};

/**
 * Kills a command before each of its acts, and after the last one. Looks at what comes then. Returns the acts.
 */
export function crashEverywhere(box: Box, doomed: Doomed, look: Aftermath = bearable): readonly string[] {
  const { name, prepare, flags = [], isSampled = false } = doomed;
  const watchman = new Watchman(box.name);
  for (let number = 0; number < MOST_ACTS; number += isSampled ? STRIDE : 1) {
    prepare?.(box, flags);
    const { acts, code, stderr } = killBefore(box, doomed, number);
    const last = acts.at(-1) ?? "(none)";
    const isDue = last === "(the end)" || acts.length === number + 1;
    assertEquals([code, isDue], [128 + 9, true], `${name} was not killed before "${last}": ${stderr}`);
    const where = `${name} was killed before "${last}"`;
    look(box, flags, watchman, where);
    if (last === "(the end)") return acts;
  }
  throw new Error(`${name} has more than ${MOST_ACTS} acts`);
}
