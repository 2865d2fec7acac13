/**
 * Two commands on one container at the same time: what comes of them is what comes of them one after the other, in one
 * of both orders, and nothing is left. As root; with Debian's busybox-static.
 *
 * `deno test -A tests/integration/race_test.ts -- 200 'delete|pause'` runs 200 rounds of each pair, of pairs that match.
 */

import { assertEquals } from "@std/assert";
import { poll } from "../../lib/ffi/poll.ts";
import { contentOf } from "./foreground_harness.ts";
import { type Box, boxTest, type ErrorRecord, kernel, type Running, until } from "./harness.ts";
import { Watchman } from "./leftovers.ts";

const [givenRounds, wanted = ""] = Deno.args;
/** For all pairs together, this takes half a minute. */
const CI_ROUNDS = 1;
const rounds = givenRounds === undefined ? CI_ROUNDS : Number(givenRounds);

/** The commands, with what they say after the id. */
const commands = {
  create: () => ["create"],
  start: () => ["start"],
  kill: () => ["kill", "KILL"],
  delete: () => ["delete"],
  "delete --force": () => ["delete", "--force"],
  exec: () => ["exec", "--detach", "sleep", "1000"],
  update: () => ["update", "--pids-limit", "77"],
  pause: () => ["pause"],
  resume: () => ["resume"],
  state: () => ["state"],
} as const satisfies Record<string, () => readonly string[]>;
type Name = keyof typeof commands;
const names = Object.keys(commands) as Name[];

/** Where a pair begins: the commands that lead there. */
const beginnings: Readonly<Record<string, readonly Name[]>> = {
  missing: [],
  created: ["create"],
  running: ["create", "start"],
  paused: ["create", "start", "pause"],
  stopped: ["create", "start", "kill"],
};
/** Without arguments, where most can happen. */
const usual = ["missing", "created", "running"];

/** The words of a command. The id comes before the words of `exec` and `kill`. */
function wordsOf(name: Name, id: string): readonly string[] {
  const [command = "", ...words]: readonly string[] = commands[name]();
  const options = words.filter((word, index) => word.startsWith("-") || words[index - 1] === "--pids-limit");
  return [command, ...options, id, ...words.filter((word) => !options.includes(word))];
}

/** What a command said: `ok`, or its status and the error's code. */
type Answer = string;

/** A command that has been started. */
class Racer implements Disposable {
  readonly #running: Running;
  readonly #log: string;
  #answer: Answer | undefined;

  constructor(box: Box, name: Name, number: number) {
    this.#log = `${box.directory}/log-${number}`;
    this.#running = box.start(["--log", this.#log, "--log-format", "json", ...wordsOf(name, box.id)]);
  }

  answer(): Answer {
    return this.#answer ??= this.#read();
  }

  #read(): Answer {
    const { code } = this.#running.wait();
    const records: readonly ErrorRecord[] = contentOf(this.#log).split("\n").slice(0, -1).map((line) =>
      JSON.parse(line)
    );
    const errors = records.filter(({ level }) => level === "error");
    if (records.length > 0) Deno.removeSync(this.#log);
    const warnings = records.filter(({ level }) => level === "warning").map(({ msg }) => ` (${msg})`);
    return [
      code === 0 ? "ok" : `${code}`,
      ...errors.map(({ code, msg }) => ["internal", "syscall-failed"].includes(code!) ? msg : code!),
    ].join(
      " ",
    ) +
      warnings.join("");
  }

  /** What it does, where it does not end. */
  get isDoing(): string {
    const { pid, isOver } = this.#running;
    const files = ["stat", "wchan", "syscall", "cgroup"].map((name) => contentOf(`/proc/${pid}/${name}`).trim());
    return isOver ? `ended: ${this.answer()}` : `process ${pid} goes on: ${files.join("; ")}`;
  }

  /** Whether it ends within this time. */
  ends(limitMs: number): boolean {
    const deadline = performance.now() + limitMs;
    while (!this.#running.isOver && performance.now() < deadline) poll(kernel, [], 2);
    return this.#running.isOver;
  }

  [Symbol.dispose](): void {
    this.#running[Symbol.dispose]();
  }
}

/** What is there: the status, the number of processes, the limit. */
type Place = string;

function hasFifo(box: Box): boolean {
  return [...Deno.readDirSync(`${box.root}/${box.id}`)].some(({ name }) => name === "exec.fifo");
}

/** Looks at the container, once a killed one has ended. */
function look(box: Box, isKilled: boolean): Place {
  const status = () => {
    const { code, stdout } = box.runc(["state", box.id]);
    return code === 0 ? JSON.parse(stdout).status as string : "missing";
  };
  let found = status();
  if (isKilled) until("the end of a killed container", () => ["stopped", "missing"].includes(found = status()));
  if (found === "missing") return found;
  const processes: readonly number[] = JSON.parse(box.must(["ps", "--format", "json", box.id])) ?? [];
  // One that is paused may have been started or not.
  const waits = hasFifo(box) ? ", waits for start" : "";
  return `${found}${waits}, ${processes.length} processes, limit ${box.pidsLimit()}`;
}

/** Carries out commands of which it is known that they succeed. */
function prepare(box: Box, path: readonly Name[]): void {
  for (const name of path) {
    box.runc(wordsOf(name, box.id));
    if (name === "kill") look(box, true);
  }
}

const outcome = (answers: readonly Answer[], place: Place) => `${answers.join(" | ")} -> ${place}`;

/** What ends a creation that has not ended by itself: a removal by force, and a signal once there is a state. */
function interrupted(one: Name, other: Name): readonly string[] {
  const isInterrupted = one === "create" && (other === "kill" || other === "delete --force");
  return isInterrupted ? [outcome(["1 step-failed", "ok"], "missing")] : [];
}

/** What each command does in each place, as far as it has been tried. */
class Serial {
  readonly #known = new Map<string, { readonly answer: Answer; readonly place: Place }>();
  readonly #box: Box;

  constructor(box: Box) {
    this.#box = box;
  }

  /** What `name` does after `path`, which leads to `place`. */
  #after(path: readonly Name[], place: Place, name: Name) {
    const key = `${place}: ${name}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    prepare(this.#box, path);
    using racer = new Racer(this.#box, name, 0);
    const answer = racer.answer();
    const found = { answer, place: look(this.#box, name === "kill" && answer === "ok") };
    clear(this.#box);
    this.#known.set(key, found);
    return found;
  }

  /** What may come of `exec` and `pause`, where `exec` has waited until the container was resumed. */
  outcomesOfResumed(beginning: readonly Name[]): ReadonlySet<string> {
    const orders: readonly (readonly Name[])[] = [
      ["exec", "pause", "resume"],
      ["pause", "exec", "resume"],
      ["pause", "resume", "exec"],
    ];
    return new Set(orders.map((order) => {
      const answers = new Map<Name, Answer>();
      let place = this.#place(beginning);
      for (const [index, name] of order.entries()) {
        const after = this.#after([...beginning, ...order.slice(0, index)], place, name);
        answers.set(name, after.answer);
        place = after.place;
      }
      return outcome([answers.get("exec")!, answers.get("pause")!], place);
    }));
  }

  /** Where a path leads. */
  #place(path: readonly Name[]): Place {
    return path.reduce(
      ({ place, done }, name) => ({ place: this.#after(done, place, name).place, done: [...done, name] }),
      { place: "missing", done: [] as readonly Name[] },
    ).place;
  }

  /** What may come of two commands. */
  outcomes(beginning: readonly Name[], one: Name, other: Name): ReadonlySet<string> {
    const place = this.#place(beginning);
    const both = ([first, second]: readonly [Name, Name]) => {
      const earlier = this.#after(beginning, place, first);
      const later = this.#after([...beginning, first], earlier.place, second);
      return { answers: [earlier.answer, later.answer], place: later.place };
    };
    const forwards = both([one, other]), backwards = both([other, one]);
    return new Set([
      outcome(forwards.answers, forwards.place),
      outcome(backwards.answers.toReversed(), backwards.place),
      ...this.#between(beginning, place, one, other).map(({ answers, place }) => outcome(answers, place)),
      ...this.#between(beginning, place, other, one).map(({ answers, place }) => outcome(answers.toReversed(), place)),
      ...(place === "missing" ? interrupted(one, other) : []),
      // A process that has been killed can be killed until it has ended.
      ...(one === "kill" && other === "kill" ? [outcome(["ok", "ok"], forwards.place)] : []),
    ]);
  }

  /** A removal ends init first. What comes of `other` in between. */
  #between(beginning: readonly Name[], place: Place, remover: Name, other: Name) {
    if (!remover.startsWith("delete") || (remover === "delete" && !place.startsWith("created"))) return [];
    const killed = this.#after(beginning, place, "kill");
    if (killed.answer !== "ok") return [];
    const path = [...beginning, "kill"] as const;
    const middle = this.#after(path, killed.place, other);
    const last = this.#after([...path, other], middle.place, remover);
    return [{ answers: [last.answer, middle.answer], place: last.place }];
  }
}

function clear(box: Box): void {
  box.must(["delete", "--force", box.id]);
}

/** By how much one of both is late, in milliseconds: a command takes some 10. */
const delays = [0, 0, 2, 4, 6, 9, 12];

/**
 * How long `exec` may take before the container is resumed. A process that is frozen while `exec` sets it up goes on when
 * the container is resumed, and so does `exec`. One that is only slow is resumed, too: what may come of it is the same.
 */
const FROZEN_MS = 500;

/** Whether `pause` has succeeded and `exec` waits: then the container is resumed. */
function isResumed(box: Box, racers: ReadonlyMap<Name, Racer>): boolean {
  const exec = racers.get("exec"), pause = racers.get("pause");
  if (exec === undefined || pause === undefined || pause.answer() !== "ok" || exec.ends(FROZEN_MS)) return false;
  box.must(["resume", box.id]);
  return true;
}

/** @throws with what both do, where one of them does not end. */
function bothAnswers(racers: readonly Racer[]): readonly Answer[] {
  try {
    return racers.map((racer) => racer.answer());
  } catch (error) {
    throw new Error(racers.map(({ isDoing }) => isDoing).join("\n"), { cause: error });
  }
}

/** What came of both at the same time. */
interface Race {
  readonly came: string;
  readonly isResumed: boolean;
}

/** Runs both at the same time. */
function race(box: Box, [one, other]: readonly [Name, Name], round: number): Race {
  const isSwapped = round % 2 === 1;
  const first = isSwapped ? other : one, second = isSwapped ? one : other;
  using earlier = new Racer(box, first, 1);
  const end = performance.now() + delays[round % delays.length]!;
  while (performance.now() < end);
  using later = new Racer(box, second, 2);
  const resumed = isResumed(box, new Map([[first, earlier], [second, later]]));
  const answers = bothAnswers([earlier, later]);
  const isKilled = [first, second].some((name, index) => name === "kill" && answers[index] === "ok");
  return { came: outcome(isSwapped ? answers.toReversed() : answers, look(box, isKilled)), isResumed: resumed };
}

const pairs = names.flatMap((one, index) => names.slice(index).map((other) => [one, other] as const))
  .filter(([one, other]) => new RegExp(wanted).test(`${one} ${other}`));

boxTest(`${pairs.length} pairs of commands at the same time: as one after the other`, (box) => {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.resources = { ...config.linux.resources, pids: { limit: 50 } };
  });
  const watchman = new Watchman(box.name);
  const serial = new Serial(box);
  const odd = new Map<string, number>();
  for (const [one, other] of pairs) {
    if (givenRounds !== undefined) console.log(`${one} and ${other}`);
    for (const [name, beginning] of Object.entries(beginnings)) {
      if (givenRounds === undefined && !usual.includes(name)) continue;
      const ofBoth = serial.outcomes(beginning, one, other);
      for (let round = 0; round < rounds; round++) {
        prepare(box, beginning);
        const { came, isResumed } = race(box, [one, other], round);
        clear(box);
        const expected = isResumed ? serial.outcomesOfResumed(beginning) : ofBoth;
        if (expected.has(came)) continue;
        const key = `${one} and ${other}, from ${name}: ${came}; expected: ${[...expected].join("; ")}`;
        if (!odd.has(key)) console.log(key);
        odd.set(key, (odd.get(key) ?? 0) + 1);
      }
    }
    assertEquals(watchman.find(), [], `${one} and ${other}`);
  }
  assertEquals([...odd], []);
});
