/**
 * The output of `runc --version`.
 *
 * @module
 */

import type { ProgramKind } from "../host.ts";
import { OCI_VERSION } from "../../specs/state.ts";
import denoJson from "../../../deno.json" with { type: "json" };

/** This runtime's version. */
export const VERSION: string = denoJson.version;

/** The build replaces this word by the commit. A program run from source has none. */
const EMBEDDED_COMMIT = "@RUNC_COMMIT@";

/** The git commit of this build, with `-dirty` if files differed; undefined if unknown. */
export function builtFrom(): string | undefined {
  return EMBEDDED_COMMIT.startsWith("@") ? undefined : EMBEDDED_COMMIT;
}

/** The lines of `--version`. Callers read the first three. `program`: the kind of this program. */
export function versionText(program: ProgramKind): string {
  const commit = builtFrom();
  const lines = [
    `runc version ${VERSION}`,
    commit && `commit: ${commit}`,
    `spec: ${OCI_VERSION}`,
    `deno: ${Deno.version.deno}`,
    `program: ${program}`,
  ];
  return lines.filter((line) => line !== undefined).join("\n") + "\n";
}
