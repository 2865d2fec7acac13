/**
 * Checks a bundle on this host: reads config.json and the facts, and runs all rules. Changes nothing. Runs in: parent.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { readCgroupLayout } from "../../cgroups/layout.ts";
import { RuncError } from "../../errors.ts";
import type { Config } from "../../specs/config.ts";
import { inSpan } from "../../trace/tracer.ts";
import { type ParsedMount, parseMounts } from "../config/mounts.ts";
import { readJoinedMaps } from "../launch/joined_maps.ts";
import type { Runtime } from "../runtime.ts";
import { checkConfig, checkText, otherFinding } from "./check.ts";
import type { CheckFacts } from "./facts.ts";
import { readCheckFacts } from "./read/check_facts.ts";
import type { Finding } from "./rule.ts";

/** What the check of a bundle has found. */
export interface BundleReport {
  /** The parsed config; absent if it cannot be parsed. */
  readonly config?: Config;
  /** Problems first, then warnings. */
  readonly findings: readonly Finding[];
}

/** Checks the bundle in a directory, an absolute path without symlinks. */
export function checkBundle(runtime: Runtime, bundle: string): BundleReport {
  let text: string;
  try {
    text = Deno.readTextFileSync(`${bundle}/config.json`);
  } catch (cause) {
    const message = `cannot read ${bundle}/config.json: ${(cause as Error).message}`;
    return { findings: [otherFinding("config-missing", new RuncError("config-invalid", message))] };
  }
  const { config, findings } = inSpan(runtime.trace, "read config.json", () => checkText(text));
  if (config === undefined) return { findings };
  // Most facts are read when a rule asks for them.
  const found = inSpan(runtime.trace, "compare config.json with all rules", () => {
    const { mounts, facts } = readFacts(runtime, config, bundle);
    return checkConfig(config, facts, mounts, findings);
  });
  return { config, findings: problemsFirst([...findings, ...found]) };
}

/** The mounts of a config and the facts about it on this host. */
function readFacts(
  runtime: Runtime,
  config: Config,
  bundle: string,
): { readonly mounts: readonly ParsedMount[]; readonly facts: CheckFacts } {
  const rootfs = resolve(bundle, config.root?.path ?? "");
  const mounts = parseMounts(config.mounts, { bundle, rootfs });
  const facts = readCheckFacts(config, mounts, {
    kernel: runtime.kernel,
    layout: readCgroupLayout(runtime.kernel),
    bundle,
    rootfs,
    rootlessCgroups: runtime.rootlessCgroups,
    systemdCgroup: runtime.systemdCgroup,
    environment: (name) => runtime.environment[name],
    readMaps: (path) => readJoinedMaps(runtime, path),
  });
  return { mounts, facts };
}

/** Problems before warnings, otherwise in the order of the table. */
export function problemsFirst(findings: readonly Finding[]): readonly Finding[] {
  const of = (severity: Finding["severity"]) => findings.filter((finding) => finding.severity === severity);
  return [...of("problem"), ...of("warning")];
}
