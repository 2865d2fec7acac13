/**
 * Whole runs of the program, in rooms.
 *
 * @module
 */

import { cgroupsNamed } from "../integration/leftovers.ts";
import { program as built } from "../integration/harness.ts";
import type { Outcome } from "./whole/inside.ts";
import { inRoom } from "./whole/room.ts";

/** Which runs. */
export interface WholeRun {
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** Rooms at the same time. */
  readonly lanes: number;
  /** No run begins after this time. */
  readonly limitMs: number;
  /** Ends all rooms. */
  readonly signal?: AbortSignal;
  /** Another program than the one that `deno task build` makes. */
  readonly program?: string;
}

/** Each line of a stream. */
async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}

/** The runs of one room. Yields what came of each. @throws {Error} if the room fails. */
async function* inOneRoom(
  { seed, to, lanes, limitMs, signal, program = built }: WholeRun,
  from: number,
): AsyncGenerator<Outcome> {
  const work = Deno.makeTempDirSync({ dir: "/var/tmp", prefix: "runc-fuzz-" });
  const name = `runc-fuzz-${Deno.pid}-${from % lanes}`;
  const deadline = performance.now() + limitMs;
  await using child = inRoom([program, `${seed}`, `/${name}`, `${from}`, `${to}`, `${lanes}`], work);
  const said = new Response(child.stderr).text();
  const end = () => kill(child);
  signal?.addEventListener("abort", end);
  let last = from - lanes;
  try {
    for await (const line of linesOf(child.stdout)) {
      const outcome: Outcome = JSON.parse(line);
      last = outcome.index;
      yield outcome;
      if (performance.now() > deadline) break;
    }
    if (performance.now() > deadline || signal?.aborted) return;
    const { success } = await child.status;
    if (!success) throw new Error(`the room fails after run ${last} of seed ${seed}: ${await said}`);
  } finally {
    signal?.removeEventListener("abort", end);
    kill(child);
    await child.status;
    await said;
    clear(name, work);
  }
}

/** Ends a room: unshare has --kill-child, so process 1 of the room ends with it, and with that all others. */
function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Removes what a room that was ended has left. Its processes may take a moment to end. */
function clear(name: string, work: string): void {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      for (const path of cgroupsNamed(name).reverse()) {
        for (const below of Deno.readDirSync(path)) if (below.isDirectory) Deno.removeSync(`${path}/${below.name}`);
        Deno.removeSync(path);
      }
      break;
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }
  Deno.removeSync(work, { recursive: true });
}

/**
 * Runs them. `onOutcome` gets what came of each, in the order in which they end.
 *
 * @throws {Error} if a room fails. The others are ended, too.
 */
export async function runWhole(run: WholeRun, onOutcome: (outcome: Outcome) => void): Promise<void> {
  const controller = new AbortController();
  run.signal?.addEventListener("abort", () => controller.abort());
  const lane = async (number: number) => {
    try {
      const asked = { ...run, signal: controller.signal };
      for await (const outcome of inOneRoom(asked, run.from + number)) onOutcome(outcome);
    } catch (error) {
      controller.abort();
      throw error;
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: run.lanes }, (_, number) => lane(number)));
  const failed = lanes.find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}
