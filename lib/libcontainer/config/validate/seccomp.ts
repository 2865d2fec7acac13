/**
 * Rules for linux.seccomp: its names, and the system calls that an agent can decide about.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp
 * @module
 */

import type { Config, Seccomp } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import { seccompActions, seccompArchs, seccompFlags, seccompOperators } from "../../seccomp/names.ts";
import { hasSeccomp } from "../../seccomp/filter.ts";

const NOTIFY = "SCMP_ACT_NOTIFY";
const AT = "/linux/seccomp";

function* knownWord(kind: string, table: object, found: string, at: string): Iterable<Problem> {
  if (Object.hasOwn(table, found)) return;
  const message = `string ${found} is not a valid ${kind} for seccomp`;
  yield { at: AT + at, found, wanted: Object.keys(table).join(", "), message };
}

/** In the order of runc's conversion: specconv/spec_linux.go, SetupSeccomp. */
export function* seccompWords(config: Config): Iterable<Problem> {
  if (!hasSeccomp(config)) return;
  const { defaultAction, flags = [], architectures = [], syscalls = [] } = config.linux!.seccomp!;
  for (const [index, found] of flags.entries()) {
    if (Object.hasOwn(seccompFlags, found)) continue;
    const message = `seccomp flag ${found} is not known to runc`;
    yield { at: `${AT}/flags/${index}`, found, wanted: Object.keys(seccompFlags).join(", "), message };
  }
  for (const [index, arch] of architectures.entries()) {
    yield* knownWord("arch", seccompArchs, arch, `/architectures/${index}`);
  }
  yield* knownWord("action", seccompActions, defaultAction, "/defaultAction");
  for (const [index, { action, args = [] }] of syscalls.entries()) {
    yield* knownWord("action", seccompActions, action, `/syscalls/${index}/action`);
    for (const [number, { op }] of args.entries()) {
      yield* knownWord("operator", seccompOperators, op, `/syscalls/${index}/args/${number}/op`);
    }
  }
}

/** Init sends the listener's number to the parent with write(2): no agent could answer that call yet. */
export function* seccompAgent(config: Config): Iterable<Problem> {
  if (!hasSeccomp(config)) return;
  const { defaultAction, syscalls = [], listenerPath = "" } = config.linux!.seccomp as Seccomp;
  const asked = [...syscalls.entries()].filter(([, { action }]) => action === NOTIFY);
  const notWrite = asked.find(([, { names }]) => names.includes("write"));
  if (notWrite !== undefined) {
    const message = `${NOTIFY} cannot be used for the write syscall`;
    yield { at: `${AT}/syscalls/${notWrite[0]}/names`, found: "write", wanted: "other system calls", message };
  }
  if (defaultAction === NOTIFY) {
    const message = `${NOTIFY} cannot be used as default action`;
    yield { at: `${AT}/defaultAction`, found: NOTIFY, wanted: "another action", message };
  } else if (asked.length > 0 && listenerPath === "") {
    yield { at: `${AT}/listenerPath`, wanted: "the agent's socket", message: "seccomp listenerPath is not set" };
  }
}
