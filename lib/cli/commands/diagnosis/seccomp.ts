/**
 * `runc seccomp`.
 *
 * @module
 */

import { RuncError } from "../../../errors.ts";
import { flagTables } from "../../../ffi/constants.ts";
import { Libseccomp } from "../../../ffi/libraries/libseccomp.ts";
import { readConfig } from "../../../libcontainer/container/bundle.ts";
import { ContainerHandle } from "../../../libcontainer/container/handle.ts";
import { seccompAgent, seccompWords } from "../../../libcontainer/config/validate/seccomp.ts";
import type { Runtime } from "../../../libcontainer/runtime.ts";
import { explainCall, rulePointers } from "../../../libcontainer/seccomp/explain.ts";
import type { SeccompFilter } from "../../../libcontainer/seccomp/filter.ts";
import { seccompArchs } from "../../../libcontainer/seccomp/names.ts";
import { type SeccompProfile, toProfile } from "../../../libcontainer/seccomp/profile.ts";
import { compileSeccomp } from "../../../libcontainer/seccomp/seccomp.ts";
import { instructionText } from "../../../libcontainer/seccomp/simulate.ts";
import { archTokens } from "../../../libcontainer/seccomp/values.ts";
import type { Config } from "../../../specs/config.ts";
import { exactInteger } from "../../../specs/json.ts";
import { configError } from "../../../specs/problem.ts";
import { enterBundle } from "../../bundle_directory.ts";
import type { Command } from "../../context.ts";
import { type CallExplanation, explanationObject, formatExplanation, NO_PROFILE } from "../../output/seccomp.ts";
import { makeRuntime } from "../../runtime.ts";

/** Explains what a filter decides about a system call. */
export const run: Command<"seccomp"> = (context, { args: [verb, ...words], options }) => {
  if (verb !== "explain") throw new RuncError("usage", `unknown command "seccomp ${verb}"; there is: seccomp explain`);
  const runtime = makeRuntime(context);
  const [id = "", syscall, ...args] = options.bundle === undefined ? words : ["", ...words];
  if (syscall === undefined) throw new RuncError("usage", "seccomp explain needs the name of a system call");
  if (args.length > 6) throw new RuncError("usage", `a system call has at most six arguments, not ${args.length}`);
  const source = options.bundle === undefined ? ofContainer(runtime, id) : ofBundle(runtime, options.bundle);
  const values = args.map(parseArgument);
  if (source === undefined) {
    context.stdout.write(options.format === "json" ? "null\n" : NO_PROFILE);
    return 0;
  }
  const explanation = explain(runtime, source, { syscall, args: values, arch: options.arch });
  const shown = options.instructions ? explanation : { ...explanation, instructions: undefined };
  context.stdout.write(
    options.format === "json"
      ? JSON.stringify(explanationObject(shown), exactInteger, 2) + "\n"
      : formatExplanation(shown),
  );
  return 0;
};

/** A filter, and the fields of config.json that its rules come from, if known. */
interface Source {
  readonly filter: SeccompFilter;
  readonly pointers?: readonly string[];
}

function ofBundle(runtime: Runtime, bundle: string): Source | undefined {
  const config = readConfig(enterBundle(bundle), runtime.log);
  const problems = [...seccompWords(config), ...seccompAgent(config)];
  if (problems.length > 0) throw configError(problems);
  const filter = compileSeccomp(runtime, config, { store: false });
  return filter && { filter, pointers: rulePointers(config.linux!.seccomp!) };
}

function ofContainer(runtime: Runtime, id: string): Source | undefined {
  const container = ContainerHandle.load(runtime, id);
  const filter = container.compileSeccomp({ store: false });
  return filter && { filter, pointers: pointersOf(runtime, container.bundle, filter) };
}

/** The fields of the bundle's config, if it still has the profile that the container was created with. */
function pointersOf(runtime: Runtime, bundle: string, { profile }: SeccompFilter): readonly string[] | undefined {
  let config: Config;
  try {
    config = readConfig(bundle, runtime.log);
  } catch (error) {
    if (error instanceof RuncError) return undefined;
    throw error;
  }
  const seccomp = config.linux?.seccomp;
  if (seccomp === undefined || [...seccompWords(config)].length > 0) return undefined;
  const text = ({ syscalls }: SeccompProfile) => JSON.stringify(syscalls ?? [], exactInteger);
  return text(toProfile(seccomp)) === text(profile) ? rulePointers(seccomp) : undefined;
}

function explain(
  runtime: Runtime,
  { filter, pointers }: Source,
  { syscall, args, arch }: { readonly syscall: string; readonly args: readonly bigint[]; readonly arch?: string },
): CallExplanation {
  const library = new Libseccomp(runtime.kernel);
  const { nativeArch } = library;
  const architecture = arch ?? nameOfArch(nativeArch);
  const token = archTokens[(seccompArchs as Readonly<Record<string, string>>)[architecture] ?? ""];
  if (token === undefined) {
    throw new RuncError("usage", `unknown architecture ${JSON.stringify(architecture)}`, {
      hint: `one of ${Object.keys(seccompArchs).join(", ")}`,
    });
  }
  const numberOf = (name: string) => library.resolve(name, token);
  const number = /^\d+$/.test(syscall) ? Number(syscall) : numberOf(syscall);
  if (number < 0 || number > 0xffff_ffff) {
    throw new RuncError("usage", `${architecture} has no system call ${JSON.stringify(syscall)}`, {
      hint: "libseccomp may not know a new system call by its name; give its number instead",
    });
  }
  const { program, profile } = filter;
  const explained = explainCall({ profile, program, nativeArch, pointers }, { arch: token, number, args, numberOf });
  const instructions = explained.path.map((index) => instructionText(program, index));
  return { ...explained, syscall, number, args, architecture, instructions };
}

function nameOfArch(token: number): string {
  const known = Object.entries(seccompArchs).find(([, name]) => archTokens[name] === token);
  if (known === undefined) throw new RuncError("internal", `libseccomp's architecture 0x${token.toString(16)}`);
  return known[0];
}

/**
 * An argument as 64 bits: a number (decimal, `0x`, `0o`, `0b`, or negative), a flag such as `CLONE_NEWUSER`, or several
 * of them with `|` between.
 *
 * @throws {RuncError} `usage` for anything else.
 */
export function parseArgument(text: string): bigint {
  return text.split("|").reduce((bits, word) => bits | parseWord(word), 0n);
}

function parseWord(word: string): bigint {
  const [, sign, digits] = /^(-?)(\d+|0x[0-9a-f]+|0o[0-7]+|0b[01]+)$/i.exec(word) ?? [];
  if (digits !== undefined) return BigInt.asUintN(64, sign === "-" ? -BigInt(digits) : BigInt(digits));
  const table = Object.values(flagTables).find((flags) => Object.hasOwn(flags, word));
  if (table !== undefined && word !== "") return BigInt.asUintN(64, BigInt(table[word]!));
  throw new RuncError("usage", `argument ${JSON.stringify(word)} is neither a number nor a known flag`);
}
