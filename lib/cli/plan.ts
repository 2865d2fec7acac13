/**
 * `runc plan`.
 *
 * @module
 */

import { loadSpec, readConfig } from "../libcontainer/bundle.ts";
import { compileSeccomp } from "../libcontainer/seccomp.ts";
import { planContainer } from "../libcontainer/creation.ts";
import { loadParts } from "../libcontainer/parts.ts";
import { explain, explainSteps } from "../plan/explain.ts";
import { enterBundle } from "./bundle_directory.ts";
import type { Command } from "./context.ts";
import { makeCreatingRuntime } from "./runtime.ts";

/** Prints what `run` would do, without doing it. */
export const run: Command<"plan"> = async (context, { args: [id = "container"], options }) => {
  const runtime = await makeCreatingRuntime(context);
  const bundle = enterBundle(options.bundle);
  const config = readConfig(bundle, runtime.log);
  // The plan is what root would do, for any caller.
  const how = { noPivot: options["no-pivot"], asRoot: true };
  const spec = loadSpec(runtime, config, bundle, how);
  const seccomp = await compileSeccomp(runtime, config, { store: false });
  const parts = await loadParts(config);
  const { plan } = planContainer(runtime, { id, spec, startBy: "fifo", seccomp, parts, ...how });
  context.stdout.write(options.format === "json" ? JSON.stringify(explainSteps(plan), null, 2) + "\n" : explain(plan));
  return 0;
};
