/** Which threads and which containers could trace a debugger. */

import { assertEquals, assertThrows } from "@std/assert";
import { couldTrace, refuseTracingConfig, type ThreadFacts } from "../../../../lib/libcontainer/container/tracers.ts";
import { RuncError } from "../../../../lib/errors.ts";
import type { RuncState } from "../../../../lib/libcontainer/state/runc_state.ts";

const PTRACE = 1n << 19n, ADMIN = 1n << 21n;
const init = { user: "user:[1]", mount: "mnt:[1]" };

/** /proc/PID/status with `bits` in one set. */
function status(set: string, bits: bigint): string {
  const line = (name: string) => `${name}:\t${(name === set ? bits : 0n).toString(16).padStart(16, "0")}\n`;
  return ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(line).join("");
}

const cases: readonly (readonly [fact: string, thread: Partial<ThreadFacts>, expected: boolean])[] = [
  ["no capability", { status: status("CapBnd", ADMIN) }, false],
  ["a bounding set with it", { status: status("CapBnd", PTRACE) }, true],
  ["an inheritable set with it", { status: status("CapInh", PTRACE) }, true],
  ["a permitted set with it", { status: status("CapPrm", PTRACE) }, true],
  ["nothing known", { status: "" }, true],
  ["another user namespace", { status: status("CapEff", PTRACE), user: "user:[2]" }, false],
  ["another debugger", { status: status("CapBnd", PTRACE), mount: "mnt:[2]" }, false],
  ["one that may have left init's mounts", { status: status("CapBnd", PTRACE | ADMIN), mount: "mnt:[2]" }, true],
];
for (const [fact, thread, expected] of cases) {
  Deno.test(`a thread with ${fact} ${expected ? "could" : "could not"} trace a debugger`, () => {
    assertEquals(couldTrace({ ...init, status: status("", 0n), ...thread }, init), expected);
  });
}

Deno.test("a container is debugged only if its capabilities are known and none is CAP_SYS_PTRACE", () => {
  const state = (capabilities: unknown) => ({ config: { capabilities } }) as unknown as RuncState;
  refuseTracingConfig(state({ Bounding: ["CAP_KILL"] }));
  for (const capabilities of [undefined, null, { Bounding: ["CAP_SYS_PTRACE"] }, { Inheritable: ["CAP_SYS_PTRACE"] }]) {
    assertThrows(() => refuseTracingConfig(state(capabilities)), RuncError, "may have CAP_SYS_PTRACE");
  }
});
