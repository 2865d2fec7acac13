import { assertEquals, assertThrows } from "@std/assert";
import { parseStat, processStat } from "../../../../lib/libcontainer/state/process_status.ts";

Deno.test("a process whose status cannot be read is not taken for one that has ended", () => {
  // The unit tests have no permission to read it.
  assertThrows(() => processStat(1), Deno.errors.NotCapable);
});

Deno.test("the name of a process may look like the fields after it", () => {
  const text = "7 (a) S 2 (b)) R 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0\n";
  const { name, state, parent, startTime } = parseStat(text);
  assertEquals({ name, state, parent, startTime }, { name: "a) S 2 (b)", state: "R", parent: 3, startTime: 99 });
});
