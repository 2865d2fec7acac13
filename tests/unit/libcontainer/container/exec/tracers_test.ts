/** Which threads and which containers could trace a debugger. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  couldReach,
  refuseTracingConfig,
  type ThreadFacts,
} from "../../../../../lib/libcontainer/container/exec/tracers.ts";
import { RuncError } from "../../../../../lib/errors.ts";
import type { RuncState } from "../../../../../lib/libcontainer/state/runc_state.ts";

const PTRACE = 1n << 19n, ADMIN = 1n << 21n, RESOURCE = 1n << 24n, KILL = 1n << 5n;

/** /proc/PID/status with `bits` in one set. */
function status(set: string, bits: bigint): string {
  const line = (name: string) => `${name}:\t${(name === set ? bits : 0n).toString(16).padStart(16, "0")}\n`;
  return ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(line).join("");
}

const cases: readonly (readonly [fact: string, thread: Partial<ThreadFacts>, expected: boolean])[] = [
  ["another capability", { status: status("CapBnd", KILL) }, false],
  ["CAP_SYS_PTRACE in the bounding set", { status: status("CapBnd", PTRACE) }, true],
  ["CAP_SYS_PTRACE in the inheritable set", { status: status("CapInh", PTRACE) }, true],
  ["CAP_SYS_PTRACE in the permitted set", { status: status("CapPrm", PTRACE) }, true],
  ["CAP_SYS_ADMIN", { status: status("CapBnd", ADMIN) }, true],
  ["CAP_SYS_RESOURCE", { status: status("CapBnd", RESOURCE) }, true],
  ["nothing known", { status: "" }, true],
  ["a user namespace below", { status: status("CapEff", PTRACE), user: "below" }, false],
  ["a user namespace above and no capability", { status: status("CapEff", 0n), user: "other" }, true],
];
for (const [fact, thread, expected] of cases) {
  Deno.test(`a thread with ${fact} ${expected ? "could" : "could not"} reach a debugger`, () => {
    assertEquals(couldReach({ user: "same", status: status("", 0n), ...thread }), expected);
  });
}

Deno.test("a container is debugged only if no capability of it reaches the debugger", () => {
  const state = (capabilities: unknown) => ({ config: { capabilities } }) as unknown as RuncState;
  for (const capabilities of [{ Bounding: ["CAP_KILL"] }, {}]) refuseTracingConfig(state(capabilities));
  for (const capabilities of [undefined, null, { Bounding: ["CAP_SYS_PTRACE"] }, { Inheritable: ["CAP_SYS_PTRACE"] }]) {
    assertThrows(() => refuseTracingConfig(state(capabilities)), RuncError, "may have CAP_SYS_PTRACE");
  }
  for (const name of ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"]) {
    assertThrows(() => refuseTracingConfig(state({ Bounding: [name] })), RuncError, `may have ${name}`);
  }
});
