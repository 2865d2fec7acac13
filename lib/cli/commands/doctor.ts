/**
 * `runc doctor`.
 *
 * @module
 */

import { dirname } from "../../std/path.ts";
import { readConfig } from "../../libcontainer/container/bundle.ts";
import { diagnose } from "../../libcontainer/checks/doctor/diagnose.ts";
import type { ProgramStart } from "../../libcontainer/checks/doctor/facts.ts";
import { readDoctorFacts } from "../../libcontainer/checks/doctor/read.ts";
import { inSpan } from "../../trace/tracer.ts";
import { enterBundle } from "../bundle_directory.ts";
import type { Command, Context } from "../context.ts";
import { answersJson, answersText, doctorStatus } from "../output/answers.ts";
import { paintFor } from "../output/colour.ts";

/** Prints what the host offers. Changes nothing. */
export const run: Command<"doctor"> = (context, { options }) => {
  const { kernel, root, stdout, environment, log } = context;
  const path = options.for === undefined ? undefined : enterBundle(options.for);
  const bundle = path === undefined ? undefined : { path, config: readConfig(path, log.listen) };
  const input = { kernel, program: programStart(context), root, environment, bundle };
  const facts = inSpan(context.trace, "try the host out", () => readDoctorFacts(input));
  const answers = diagnose(facts, bundle?.config);
  const paint = paintFor(stdout.isTerminal(), environment);
  stdout.write(options.format === "json" ? answersJson(answers, path) : answersText(answers, paint));
  return doctorStatus(answers);
};

/** The launcher runs a script; the file that callers execute is beside it. */
function programStart({ programKind, reexec }: Context): ProgramStart {
  const kind = programKind();
  const { path, args } = reexec();
  if (kind !== "launcher") return { kind, path, hasSnapshot: false };
  const program = `${dirname(args.at(-1) ?? path)}/runc`;
  return { kind, path: program, hasSnapshot: isElf(program) };
}

/** A snapshot is an ELF file, a launcher a script. */
function isElf(path: string): boolean {
  try {
    using file = Deno.openSync(path);
    const magic = new Uint8Array(4);
    file.readSync(magic);
    return new TextDecoder().decode(magic) === "\x7fELF";
  } catch {
    return false;
  }
}
