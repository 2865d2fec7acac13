/**
 * Which execs can be done again without an engine: those with the usual acts. Pure.
 *
 * @module
 */

import { rlimitNames } from "../../../ffi/constants.ts";
import type { Act } from "./act.ts";

/** What differs between the usual execs. */
export interface UsualExec {
  /** The names of the descriptors `ns-<type>`, and what is opened. */
  readonly namespaces: readonly { readonly fd: string; readonly path: string }[];
  readonly rlimits: readonly { readonly resource: number; readonly soft: bigint; readonly hard: bigint }[];
  /** Whether init says that the command was found, and whether it closes its socket after that. */
  readonly created: boolean;
  readonly end: boolean;
}

/** The verbs of an exec in their order, `await` with what it awaits. `*`: any number of them, `?`: at most one. */
const usual: readonly string[] = [
  "openNamespace*",
  "requireInit",
  "startStage",
  "go",
  "await child",
  "adopt",
  "await ready",
  "restoreFileLimit?",
  "setRlimit*",
  "reapStage",
  "go",
  "tellCaller",
  "await created?",
  "await end?",
  "debug",
];

function wordOf({ does }: Act): string {
  return does.verb === "await" ? `await ${does.kind}` : does.verb;
}

/** Undefined if the acts are others. */
export function usualExec(acts: readonly Act[]): UsualExec | undefined {
  let next = 0;
  for (const word of usual) {
    const name = word.replace(/[*?]$/, "");
    const isNext = () => next < acts.length && wordOf(acts[next]!) === name && acts[next]!.when === undefined;
    if (name === word && !isNext()) return undefined;
    if (word.endsWith("*")) { while (isNext()) next++; }
    else if (isNext()) next++;
  }
  if (next !== acts.length) return undefined;
  const does = acts.map(({ does }) => does);
  const awaits = (kind: string) => does.some((each) => each.verb === "await" && each.kind === kind);
  return {
    namespaces: does.flatMap((each) => each.verb === "openNamespace" ? [{ fd: each.fd, path: each.path }] : []),
    rlimits: does.flatMap((each) =>
      each.verb === "setRlimit"
        ? [{ resource: (rlimitNames as readonly string[]).indexOf(each.type), soft: each.soft, hard: each.hard }]
        : []
    ),
    created: awaits("created"),
    end: awaits("end"),
  };
}
