import { assertEquals } from "@std/assert";
import type { ProgramKind } from "../../../lib/cli/host.ts";
import { withWayAround } from "../../../lib/cli/way_around.ts";
import { type ErrorCode, RuncError } from "../../../lib/errors.ts";

const cases: readonly [code: ErrorCode, kind: ProgramKind, own: string | undefined, hint: string | undefined][] = [
  ["internal", "snapshot", undefined, "this is a bug; /opt/runc.sh runs the same command without the snapshot"],
  ["internal", "snapshot", "try again", "try again"],
  ["internal", "launcher", undefined, undefined],
  ["syscall-failed", "snapshot", undefined, undefined],
];

for (const [code, kind, own, hint] of cases) {
  Deno.test(`an error ${code} of the ${kind} with ${own ?? "no hint"} gets ${hint ?? "none"}`, () => {
    const cause = new TypeError("x is not a function");
    const error = new RuncError(code, "message", { field: "/root", hint: own, cause });
    const result = withWayAround(error, { programKind: () => kind, reexec: () => ({ path: "/opt/runc", args: [] }) });
    assertEquals([result.code, result.message, result.field, result.hint], [code, "message", "/root", hint]);
    assertEquals(result.cause, cause);
  });
}
