/**
 * `runc top`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { poll } from "../../ffi/poll.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { Command, Context } from "../context.ts";
import { untilReaderLeaves } from "../reader.ts";
import { makeRuntime } from "../runtime.ts";
import { runningStats } from "../running_stats.ts";
import { fit, type TopSample, topTable } from "../output/top.ts";

/** Moves the cursor to the top left corner and clears the rest. @see ECMA-48, CUP and ED */
const REDRAW = "\x1b[H\x1b[J";

/** Prints the statistics of all containers: repeatedly on a terminal, otherwise once. */
export const run: Command<"top"> = (context, { options: { interval, once } }) => {
  if (interval <= 0) throw new RuncError("usage", "duration interval must be greater than 0");
  const runtime = makeRuntime(context);
  const isLive = !once && context.stdout.isTerminal();
  untilReaderLeaves(() => show(context, runtime, { interval, isLive }));
  return 0;
};

/** `interval`: in milliseconds. */
function show(
  context: Context,
  runtime: Runtime,
  { interval, isLive }: { readonly interval: number; readonly isLive: boolean },
): void {
  // The terminal's modes are not changed, so nothing must be restored if a signal ends this.
  const { stdout } = context;
  const print = (table: string) => stdout.write(isLive ? REDRAW + fit(table, stdout.windowSize()) : table);
  let before = sample(context, runtime);
  if (isLive) print(topTable(before, []));
  do {
    poll(runtime.kernel, [], interval);
    const now = sample(context, runtime);
    print(topTable(now, before));
    before = now;
  } while (isLive);
}

function sample(context: Context, runtime: Runtime): readonly TopSample[] {
  return runningStats(context, runtime).map((container) => ({ ...container, atMs: monotonicMs(runtime.kernel) }));
}
