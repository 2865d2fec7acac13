/**
 * `deno task fuzz [--seed N] [--seconds N] [--inputs N] [NAME...]`: gives readers inputs that are nearly right, and runs
 * the program with configs that are. `deno task fuzz --list` names them.
 *
 *     deno task fuzz --seed 7 --seconds 600
 *     deno task fuzz --inputs 1000000
 *     deno task fuzz config state --seconds 60
 *     deno task fuzz whole --inputs 10000
 *     deno task fuzz --replay dist/fuzz/config-7-123
 *
 * An input follows from the seed, the name and its number. What is found is in dist/fuzz; `--replay` does it again.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { basename } from "@std/path";
import { giveUp, projectDir } from "../../tools/bundle.ts";
import { program } from "../integration/harness.ts";
import { type Fault, judge, kindOf, type Tally } from "./pure.ts";
import { runPure } from "./run_pure.ts";
import { runWhole } from "./run_whole.ts";
import { targetNamed, targets } from "./targets/targets.ts";
import { WHOLE } from "./whole/cases.ts";

const FOUND = `${projectDir}/dist/fuzz`;
const usage = "usage: deno task fuzz [--seed N] [--seconds N] [--inputs N] [--replay FILE] [--list] [NAME...]";

/** The numbers of inputs per target: by its share of all. */
export function inputsOf(names: readonly string[], inputs: number): ReadonlyMap<string, number> {
  const shares = names.map((name) => targetNamed(name)?.share ?? 0);
  const all = shares.reduce((sum, share) => sum + share, 0);
  return new Map(names.map((name, index) => [name, Math.ceil(inputs * shares[index]! / all)]));
}

/** Keeps an input. Returns the file's path. */
function keep(name: string, seed: number, index: number, input: string | Uint8Array<ArrayBuffer>): string {
  Deno.mkdirSync(FOUND, { recursive: true });
  const path = `${FOUND}/${name.replaceAll(" ", "_")}-${seed}-${index}`;
  if (typeof input === "string") Deno.writeTextFileSync(path, input);
  else Deno.writeFileSync(path, input);
  return path;
}

function report(faults: readonly Fault[]): void {
  const seen = new Set<string>();
  for (const fault of faults) {
    const kind = kindOf(fault);
    if (seen.has(kind)) continue;
    seen.add(kind);
    const path = keep(fault.target, fault.seed, fault.index, fault.input);
    console.log(`fault: ${fault.target}, seed ${fault.seed}, input ${fault.index}: ${fault.what}`);
    console.log(`    again: deno task fuzz --replay ${path}`);
  }
}

interface Options {
  readonly seed: number;
  readonly seconds: number;
  readonly inputs: number;
}

/** Fuzzes targets one after the other. Returns the number of faults. */
async function fuzzPure(names: readonly string[], { seed, seconds, inputs }: Options): Promise<number> {
  const counts = inputsOf(names, inputs);
  let [all, faults] = [0, 0];
  const startMs = performance.now();
  for (const target of names) {
    const begin = performance.now();
    const to = counts.get(target)!;
    const tally: Tally = await runPure({ target, seed, from: 0, to, limitMs: seconds * 1000 / names.length });
    const count = tally.taken + tally.refused;
    const ms = performance.now() - begin;
    console.log(
      `${target.padEnd(14)} ${String(count).padStart(8)} inputs: ${String(tally.taken).padStart(7)} taken, ` +
        `${String(tally.refused).padStart(7)} refused, ${tally.faults.length} faults; ${(ms / 1000).toFixed(1)} s, ` +
        `slowest ${Math.round(tally.slowestMs)} ms`,
    );
    report(tally.faults);
    all += count;
    faults += tally.faults.length;
  }
  console.log(`${all} inputs, ${faults} faults, ${((performance.now() - startMs) / 1000).toFixed(0)} s, seed ${seed}`);
  return faults;
}

/** Aborted by SIGINT and SIGTERM: rooms are processes of their own, and have to be ended. */
function interrupted(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(name, () => controller.abort());
  return controller.signal;
}

/** @throws if there is nothing to run, or no way to run it. */
function requireProgram(): void {
  if (Deno.uid() !== 0) giveUp("whole runs start containers in namespaces of their own, which needs root");
  try {
    Deno.statSync(program);
  } catch {
    giveUp(`there is no ${program}; make it with: deno task build`);
  }
}

/** Whole runs. Returns the number of faults. */
async function fuzzWhole({ seed, seconds, inputs }: Options): Promise<number> {
  requireProgram();
  let [runs, faults] = [0, 0];
  const ends = new Map<string, number>();
  const startMs = performance.now();
  const limitMs = seconds * 1000;
  const to = Math.min(inputs, Number.MAX_SAFE_INTEGER);
  const lanes = navigator.hardwareConcurrency;
  await runWhole({ seed, from: 0, to, lanes, limitMs, signal: interrupted() }, (outcome) => {
    runs++;
    if (runs % 1000 === 0) console.log(`${runs} runs, ${faults} faults`);
    for (const end of outcome.ends) ends.set(end, (ends.get(end) ?? 0) + 1);
    if (outcome.faults.length === 0) return;
    faults++;
    const path = keep(WHOLE, seed, outcome.index, JSON.stringify(outcome, undefined, 1));
    console.log(
      `fault: ${WHOLE}, seed ${seed}, run ${outcome.index} (${outcome.kind}): ${outcome.faults.join("\n    ")}`,
    );
    console.log(`    again: deno task fuzz --replay ${path}`);
  });
  for (const [end, count] of [...ends].sort()) console.log(`  ${String(count).padStart(6)}  ${end}`);
  console.log(`${runs} runs, ${faults} faults, ${((performance.now() - startMs) / 1000).toFixed(0)} s, seed ${seed}`);
  return faults;
}

/** Does once more what a kept file says. Returns the number of faults. */
async function replay(path: string): Promise<number> {
  const [, name = "", seed = "", index = ""] = /^(.+)-(\d+)-(\d+)$/.exec(basename(path)) ?? [];
  if (name === WHOLE) {
    requireProgram();
    const number = Number(index);
    let faults = 0;
    const run = { seed: Number(seed), from: number, to: number + 1, lanes: 1, limitMs: Infinity };
    await runWhole(run, (outcome) => {
      faults = outcome.faults.length;
      console.log(JSON.stringify(outcome, undefined, 1));
    });
    return faults;
  }
  const target = targetNamed(name.replaceAll("_", " "));
  if (target === undefined) giveUp(`${path}: the name of the file is not TARGET-SEED-NUMBER`);
  const { what, isTaken } = await judge(target, Deno.readFileSync(path));
  console.log(what ?? (isTaken ? "taken" : "refused"));
  return what === undefined ? 0 : 1;
}

function numberOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^\d+$/.test(text)) giveUp(`${JSON.stringify(text)} is not a number; ${usage}`);
  return Number(text);
}

async function main(words: readonly string[]): Promise<number> {
  const values = ["seed", "seconds", "inputs", "replay", "target"] as const;
  const { _: rest, list, ...given } = parseArgs(words, { string: values, boolean: ["list"] }) as {
    readonly _: readonly (string | number)[];
    readonly list?: boolean;
    readonly [name: string]: unknown;
  };
  const unknown = Object.keys(given).find((name) => !(values as readonly string[]).includes(name));
  if (unknown !== undefined) giveUp(`unknown option --${unknown}; ${usage}`);
  const { seed, seconds, inputs, replay: file, target } = given as Readonly<Partial<Record<string, string>>>;
  if (list) {
    for (const { name } of [...targets, { name: WHOLE }]) console.log(name);
    return 0;
  }
  if (file !== undefined) return await replay(file);
  const names = [...rest.map(String), ...(target ?? "").split(",").filter((name) => name !== "")];
  const wrong = names.find((name) => name !== WHOLE && targetNamed(name) === undefined);
  if (wrong !== undefined) giveUp(`there is no ${JSON.stringify(wrong)}; deno task fuzz --list names all`);
  const options = {
    // Another one each time: what one seed does not find, the next may.
    seed: numberOf(seed, crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1),
    // One of both is enough.
    seconds: numberOf(seconds, inputs === undefined ? 60 : Infinity),
    inputs: numberOf(inputs, 1e9),
  };
  const pure = names.length === 0 ? targets.map(({ name }) => name) : names.filter((name) => name !== WHOLE);
  let faults = pure.length === 0 ? 0 : await fuzzPure(pure, options);
  if (names.includes(WHOLE)) faults += await fuzzWhole(options);
  return faults;
}

if (import.meta.main) Deno.exit(await main(Deno.args) === 0 ? 0 : 1);
