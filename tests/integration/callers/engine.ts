/** Callers whose command lines are like Docker's: how the tests speak to them. */

import { assertEquals } from "@std/assert";
import type { Result, StartOptions } from "../harness.ts";
import { missing, type Needed, Workshop } from "./workshop.ts";

/** A caller with a command line like Docker's: what the suite works with. */
export interface Engine {
  /** Runs the caller's client to its end. */
  call(args: readonly string[], options?: StartOptions): Result;
  /** Name of the imported image. */
  readonly image: string;
  /** A directory that containers may be given. */
  readonly directory: string;
}

/** One thing that users of an engine do. */
export type Case<Given extends Engine = Engine> = readonly [name: string, body: (engine: Given) => void];

/** What the containers of all tests are given; everything else is the default. */
export const usual = ["--network=none"];

/** Runs a container to its end. */
export function run(engine: Engine, options: readonly string[], ...command: readonly string[]): Result {
  return engine.call(["run", "--rm", ...usual, ...options, engine.image, ...command]);
}

/** Output of a container that has to end well. */
export function printed(engine: Engine, options: readonly string[], ...command: readonly string[]): string {
  const { code, stdout, stderr } = run(engine, options, ...command);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

/** Runs the client, which has to succeed; returns what it printed. */
export function must(engine: Engine, ...args: readonly string[]): string {
  const { code, stdout, stderr } = engine.call(args);
  assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
  return stdout.trimEnd();
}

/** Runs `body` with a container in the background, which sleeps. */
export function withSleeper(engine: Engine, options: readonly string[], body: (name: string) => void): void {
  const name = `sleeper-${crypto.randomUUID()}`;
  must(engine, "run", "--detach", "--name", name, ...usual, ...options, engine.image, "sleep", "1000");
  try {
    body(name);
  } finally {
    // Removing asks it politely first, which sleep does not hear; it may have ended, so this may fail.
    engine.call(["kill", name]);
    must(engine, "rm", "--force", name);
  }
}

/** What the engine says of a container. */
export const status = (engine: Engine, name: string) => must(engine, "inspect", "--format", "{{.State.Status}}", name);

/** Declares the test of one engine, with `cases` as its steps. `open` starts it in a workshop. */
export function engineTest<Given extends Engine>(
  name: string,
  needed: readonly Needed[],
  open: (workshop: Workshop) => Given,
  cases: readonly Case<Given>[],
): void {
  const lacking = missing(needed);
  Deno.test({
    name: `${name}${lacking}`,
    ignore: lacking !== "",
    fn: async (t) => {
      using workshop = new Workshop();
      const engine = open(workshop);
      for (const [what, body] of cases) await t.step(what, () => body(engine));
    },
  });
}
