/**
 * `runc check`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { otherFinding } from "../../libcontainer/checks/check.ts";
import { checkBundle, problemsFirst } from "../../libcontainer/checks/check_bundle.ts";
import type { Finding } from "../../libcontainer/checks/rule.ts";
import { loadSpec } from "../../libcontainer/container/bundle.ts";
import { planContainer } from "../../libcontainer/container/planning.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import type { Config } from "../../specs/config.ts";
import { enterBundle } from "../bundle_directory.ts";
import type { Command } from "../context.ts";
import { paintFor } from "../output/colour.ts";
import { checkStatus, findingsJson, findingsText } from "../output/findings.ts";
import { makeRuntime } from "../runtime.ts";

/** Prints every problem of a bundle on this host. Changes nothing. */
export const run: Command<"check"> = (context, { options }) => {
  const runtime = makeRuntime(context);
  const bundle = enterBundle(options.bundle);
  const { config, findings } = checkBundle(runtime, bundle);
  const isFine = config !== undefined && !findings.some(({ severity }) => severity === "problem");
  const all = isFine ? problemsFirst([...findings, ...planProblems(runtime, config, bundle)]) : findings;
  const paint = paintFor(context.stdout.isTerminal(), context.environment);
  context.stdout.write(options.format === "json" ? findingsJson(bundle, all) : findingsText(all, paint));
  return checkStatus(all, options.strict);
};

/** The error of making a plan, which no rule has found. Nothing of the plan is carried out. */
function planProblems(runtime: Runtime, config: Config, bundle: string): readonly Finding[] {
  // The warnings are findings already.
  const quiet: Runtime = { ...runtime, log: () => {} };
  try {
    const spec = loadSpec(quiet, config, bundle);
    const seccomp = compileSeccomp(quiet, config, { store: false });
    planContainer(quiet, { id: "container", spec, startBy: "fifo", seccomp });
    return [];
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    return [otherFinding("plan", error)];
  }
}
