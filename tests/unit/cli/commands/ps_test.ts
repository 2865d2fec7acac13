import { assertEquals, assertThrows } from "@std/assert";
import { filterTable } from "../../../../lib/cli/commands/ps.ts";

Deno.test("ps shows the header and the rows of the container's processes, as they are", () => {
  const table = "UID   PID  CMD\nroot    1  init\nroot   23  sleep 1\nroot  123  sh -c 23\n";
  assertEquals(filterTable(table, new Set([23])), "UID   PID  CMD\nroot   23  sleep 1\n");
  assertEquals(filterTable(table, new Set()), "UID   PID  CMD\n");
});

Deno.test("ps needs the column PID, with numbers", () => {
  assertThrows(() => filterTable("USER\nroot\n", new Set()), Error, "couldn't find PID field in ps output");
  assertThrows(() => filterTable("CMD PID\nsleep 1\n\nsh -c 2\n", new Set()), Error, 'unable to parse pid: "-c"');
});
