/**
 * `runc inspect`.
 *
 * @module
 */

import { inspectContainer } from "../../../libcontainer/inspect/inspect.ts";
import type { Command } from "../../context.ts";
import { formatInspection, inspectionObject } from "../../output/inspect.ts";
import { makeRuntime } from "../../runtime.ts";

/** Prints what the kernel shows of a container beside its config. */
export const run: Command<"inspect"> = (context, { args: [id = ""], options }) => {
  const { stdout, environment } = context;
  const inspection = inspectContainer(makeRuntime(context), id);
  // https://no-color.org: any value but an empty one.
  const isColoured = stdout.isTerminal() && (environment("NO_COLOR") ?? "") === "";
  const style = { diffOnly: options["diff-only"], isColoured };
  stdout.write(
    options.format === "json"
      ? JSON.stringify(inspectionObject(inspection, style), null, 2) + "\n"
      : formatInspection(inspection, style),
  );
  return 0;
};
