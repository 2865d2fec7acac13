import { assertEquals } from "@std/assert";
import type { LimitWrite } from "../../../../lib/cgroups/limits/limit.ts";
import { byController } from "../../../../lib/cgroups/limits/set_limits.ts";

Deno.test("byController() keeps the order, and puts together the writes of one controller that follow each other", () => {
  const writes: readonly LimitWrite[] = [
    { controller: "memory", file: "memory.limit", value: "1" },
    { controller: "memory", file: "memory.swap", value: "2" },
    { controller: "cpu", file: "cpu.shares", value: "3" },
    { controller: "memory", file: "memory.more", value: "4" },
  ];
  const names = byController(writes).map((group) => group.map(({ file }) => file));
  assertEquals(names, [["memory.limit", "memory.swap"], ["cpu.shares"], ["memory.more"]]);
  assertEquals(byController([]), []);
});
