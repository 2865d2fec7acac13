/**
 * `deno task test:conformance [FILE...]`: runc's own integration tests, out of a git clone of runc, against dist/runc. Nothing of them
 * is kept here; `expected.txt` names those that have to pass.
 *
 *     RUNC_SOURCE=/src/runc deno task test:conformance exec.bats 'run.bats:hostname'
 *
 * `prepare` lays the tests, their helper programs and images out; `run-suite` runs them one by one and prints the table. With `--vm`
 * they run in a virtual machine, see conformance_vm.ts.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { giveUp, projectDir } from "../../tools/bundle.ts";
import { type Kind, kinds } from "../vm/prepare.ts";
import { conformanceInMachine, parseFeatures, type RootlessFeature } from "./conformance_vm.ts";

const here = join(projectDir, "tests/conformance");
const work = Deno.env.get("CONFORMANCE_WORK") ?? "/tmp/runc-conformance";

/** The git clone that RUNC_SOURCE names; one that is not on this machine is cloned once. */
function clone(): string {
  const source = Deno.env.get("RUNC_SOURCE") ?? "";
  if (source === "") giveUp("set RUNC_SOURCE to a git clone of runc, or to its address");
  if (!/^[a-z+]+:\/\//.test(source)) return source;
  const local = join(work, "clone.git");
  if (!existsSync(local)) must("git", ["clone", "--quiet", "--bare", "--filter=blob:none", source, local]);
  return local;
}

/** Runs a program in the open; returns its exit status. */
function run(program: string, args: readonly string[], env: Record<string, string> = {}): number {
  const environment = { CONFORMANCE_WORK: work, ...env };
  return new Deno.Command(program, {
    args: [...args],
    env: environment,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  })
    .outputSync().code;
}

function must(...call: Parameters<typeof run>): void {
  const status = run(...call);
  if (status !== 0) giveUp(`${call[0]} ended with status ${status}`);
}

/** `--rootless` or `--rootless=FEATURES`: by itself, with a cgroup. */
function parseRootless(flag: string): { readonly features: readonly RootlessFeature[] } | undefined {
  const list = /^--rootless(?:=(.*))?$/.exec(flag);
  const features = list === null ? undefined : parseFeatures(list[1] ?? "cgroup");
  return features && { features };
}

/** Files, or `FILE:REGEX` for single tests; none: all that are expected to pass. Returns the exit status. */
function conformance(words: readonly string[]): number | Promise<number> {
  const flags = words.filter((word) => word.startsWith("--"));
  const files = words.filter((word) => !word.startsWith("--"));
  const machines = new Map<string, Kind>([["--vm", "debian"], ...kinds.map((kind) => [`--vm=${kind}`, kind] as const)]);
  const [rootless] = flags.flatMap((flag) => parseRootless(flag) ?? []);
  const isKnown = (flag: string) => machines.has(flag) || flag === "--systemd" || parseRootless(flag) !== undefined;
  const unknown = flags.find((flag) => !isKnown(flag));
  if (unknown !== undefined) giveUp(`no such option: ${unknown}`);
  const [kind] = flags.flatMap((flag) => machines.get(flag) ?? []);
  const inMachine = kind !== undefined;
  if (!inMachine && flags.length > 0) giveUp(`${flags[0]} is for --vm`);
  if (inMachine && files.length === 0) giveUp("--vm runs files that are named, such as cgroups.bats");
  if (Deno.uid() !== 0) giveUp("these tests start containers: run this as root, or with sudo");
  const runtime = Deno.env.get("RUNC") ?? join(projectDir, "dist/runc");
  if (!existsSync(runtime)) giveUp(`${runtime} is missing: run 'deno task build' first`);
  must(join(here, "prepare"), [], { RUNC_SOURCE: clone() });
  if (inMachine) {
    const tag = Deno.env.get("RUNC_TAG") ?? "v1.5.1";
    const systemd = flags.includes("--systemd");
    return conformanceInMachine({ kind, work, tag, runtime, files, systemd, rootless: rootless?.features });
  }
  return run(join(here, "run-suite"), ["-e", join(here, "expected.txt"), "-E", runtime, ...files]);
}

if (import.meta.main) Deno.exit(await conformance(Deno.args));
