import { assertEquals } from "@std/assert";
import type { Systemd } from "../../../../lib/cgroups/systemd/connection.ts";
import { undoUnit } from "../../../../lib/cgroups/systemd/driver.ts";
import { runTurns } from "../../../../lib/ffi/waits.ts";
import { noWait } from "../../../fixtures/no_wait.ts";

const unit = { name: "runc-box.scope", slice: "system.slice", sliceFrom: "", container: "box" };

/** Undoes a unit that `stop` stops. Returns the warnings. */
function warningsOf(stop: () => void): readonly string[] {
  const warnings: string[] = [];
  const systemd = { stopUnit: () => noWait(stop) } as unknown as Systemd;
  runTurns(undoUnit({ systemd, unit, warn: (message) => void warnings.push(message) }));
  return warnings;
}

Deno.test("undoUnit() says what is left, and hides no error before it", () => {
  assertEquals(warningsOf(() => {}), []);
  const warnings = warningsOf(() => {
    throw new Error("the bus is gone");
  });
  assertEquals(warnings, ['while cleaning up: unit "runc-box.scope" may be left: the bus is gone']);
});
