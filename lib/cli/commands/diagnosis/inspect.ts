/**
 * `runc inspect`.
 *
 * @module
 */

import { runWaits } from "../../../ffi/waits.ts";
import { inspecting } from "../../../libcontainer/inspect/inspect.ts";
import type { Command } from "../../context.ts";
import { paintFor } from "../../output/colour.ts";
import { formatInspection, inspectionJson } from "../../output/inspect.ts";
import { makeRuntime } from "../../runtime.ts";

/** Prints what the kernel shows of a container beside its config. */
export const run: Command<"inspect"> = (context, { args: [id = ""], options }) => {
  const { stdout, environment } = context;
  const runtime = makeRuntime(context);
  const inspection = runWaits(runtime, inspecting(runtime, id));
  const style = { diffOnly: options["diff-only"], paint: paintFor(stdout.isTerminal(), environment) };
  stdout.write(options.format === "json" ? inspectionJson(inspection, style) : formatInspection(inspection, style));
  return 0;
};
