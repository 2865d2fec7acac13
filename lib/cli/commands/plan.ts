/**
 * `runc plan`.
 *
 * @module
 */

import { loadSpec, readConfig } from "../../libcontainer/container/bundle.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import { planContainer } from "../../libcontainer/container/planning.ts";
import { explain, explainSteps } from "../../plan/explain.ts";
import { enterBundle } from "../bundle_directory.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/** Prints what `run` would do, without doing any of it. */
export const run: Command<"plan"> = (context, { args: [id = "container"], options }) => {
  const runtime = makeRuntime(context);
  const bundle = enterBundle(options.bundle);
  const config = readConfig(bundle, runtime.log);
  // The plan is always root's, independent of the user.
  const how = { noPivot: options["no-pivot"], asRoot: true };
  const spec = loadSpec(runtime, config, bundle, how);
  const seccomp = compileSeccomp(runtime, config, { store: false });
  const { plan } = planContainer(runtime, { id, spec, startBy: "fifo", seccomp, ...how });
  context.stdout.write(options.format === "json" ? JSON.stringify(explainSteps(plan), null, 2) + "\n" : explain(plan));
  return 0;
};
