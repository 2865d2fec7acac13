/**
 * `deno task soak --minutes N`: hours of mixed work, and what is left of it. The command line and a program that lives
 * long work side by side, round after round. The figures after the warm-up are compared with those at the end.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { pipe } from "../../lib/ffi/files.ts";
import { giveUp } from "../../tools/bundle.ts";
import { readOptions } from "../../tools/options.ts";
import { readUntil, writeText } from "../integration/foreground_harness.ts";
import { type Box, inBox, kernel, Running } from "../integration/harness.ts";
import { cgroupsNamed } from "../integration/leftovers.ts";
import { Commands } from "./commands.ts";
import {
  type Figure,
  type Growth,
  growths,
  type LongLived,
  machineFigures,
  processFigures,
  settled,
  table,
} from "./figures.ts";
import type { Report } from "./library_program.ts";

/** Rounds before the first figures: caches fill, V8 compiles, the pool of Deno's threads grows. */
const WARM_UP = 8;
/** Rounds that are compared, at least: enough that one thing left in each is beyond every bound. */
const LEAST = 10;

/** Measured: 3.5 MiB after 6,000 containers, most of it in the first thousand. 4 KiB left by each of 1,500 are more. */
const HEAP = { bound: 6 << 20, reason: "V8 keeps compiled code and free pages" };
const MEMORY = { bound: 48 << 10, reason: "V8 and the allocator give back what is free when they like" };

const program = new URL("library_program.ts", import.meta.url).pathname;

/** The program that uses the library. */
class Library implements Disposable {
  readonly #input = pipe(kernel, "soak requests");
  readonly #output = pipe(kernel, "soak reports");
  readonly #running: Running;
  heap = 0;
  made = 0;

  constructor(box: Box) {
    const flags = ["--no-lock", "--cached-only", "--no-check", "--v8-flags=--expose-gc"];
    this.#running = new Running([Deno.execPath(), "run", "-A", ...flags, program, box.bundle], {
      stdin: this.#input.read,
      stdout: this.#output.write,
      env: { DENO_DIR: Deno.env.get("DENO_DIR") ?? "/root/.cache/deno" },
    });
    this.#input.read.close();
    this.#output.write.close();
    assertEquals(this.#line(), "ready\n");
  }

  #line(): string {
    const text = readUntil(this.#output.read, (all) => all.endsWith("\n"));
    if (!text.endsWith("\n")) throw new Error(`the library's program ended: ${this.#running.wait().stderr}`);
    return text;
  }

  get longLived(): LongLived {
    return { name: "library's program", pid: this.#running.pid, memory: MEMORY };
  }

  /** @throws where it has ended. Reaps what has ended of this program's children. */
  isThere(): void {
    if (this.#running.isOver) throw new Error(`the library's program ended: ${this.#running.stderr}`);
  }

  begin(): void {
    writeText(this.#input.write, "round\n");
  }

  /** Waits for the end of a round. Nothing of what it has made may be there. */
  end(): void {
    const { ids, heap }: Report = JSON.parse(this.#line());
    assertEquals(ids.flatMap((id) => cgroupsNamed(id)), []);
    this.heap = heap;
    this.made += ids.length;
  }

  [Symbol.dispose](): void {
    this.#input.write.close();
    try {
      const { code, stderr } = this.#running.wait();
      assertEquals([code, stderr], [0, ""]);
    } finally {
      this.#running[Symbol.dispose]();
      this.#output.read.close();
    }
    assertEquals(cgroupsNamed(`soak-library-${this.#running.pid}`), []);
  }
}

/** What a soak has come to. */
export interface Soak {
  readonly rounds: number;
  readonly containers: number;
  readonly execs: number;
  readonly growths: readonly Growth[];
  /** All figures, as a text. */
  readonly table: string;
}

/** Works for a time, and compares. `print` gets a line now and then. */
export function soak(minutes: number, print: (line: string) => void): Soak {
  return inBox("native", (box) => {
    using commands = new Commands(box);
    using library = new Library(box);
    const end = performance.now() + minutes * 60_000;
    let rounds = 0;
    let madeWarm = 0;
    let warm: readonly Figure[] = [];
    const made = () => commands.made + library.made;
    const take = (): readonly Figure[] => {
      library.isThere();
      return [
        ...machineFigures({
          name: box.name,
          cgroups: cgroupsNamed(box.name).length,
          stateRoots: [box.root, `${box.bundle}/library-state`],
          rounds: Math.max(0, rounds - WARM_UP),
          made: made() - madeWarm,
        }),
        ...[...commands.longLived, library.longLived].flatMap(processFigures),
        { name: "library's program: V8's heap, bytes", value: library.heap, ...HEAP },
      ];
    };
    for (; rounds < WARM_UP + LEAST || performance.now() < end; rounds++) {
      if (rounds === WARM_UP) [warm, madeWarm] = [take(), made()];
      library.begin();
      commands.round();
      library.end();
      if (rounds % 20 === 0) print(`round ${rounds}: ${made()} containers, heap ${library.heap >> 10} KiB`);
    }
    const after = settled(warm, take);
    return {
      rounds,
      containers: made(),
      execs: commands.execs,
      growths: growths(warm, after),
      table: table(warm, after),
    };
  });
}

if (import.meta.main) {
  const minutes = Number(readOptions(Deno.args, { values: { minutes: "60" } })?.values.minutes);
  if (!(minutes > 0)) giveUp("usage: deno task soak [--minutes N]");
  const result = soak(minutes, (line) => console.log(line));
  console.log(`${result.rounds} rounds, ${result.containers} containers, ${result.execs} execs\n${result.table}`);
  if (result.growths.length > 0) giveUp(`has grown: ${JSON.stringify(result.growths, undefined, 1)}`);
}
