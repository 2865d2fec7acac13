import { assertEquals } from "@std/assert";
import { isHostIdMap } from "../../../../lib/libcontainer/config/id_mappings.ts";

Deno.test("isHostIdMap() knows the host by its map of all ids", () => {
  assertEquals(isHostIdMap("         0          0 4294967295\n"), true);
  assertEquals(isHostIdMap("         0       1000          1\n"), false);
  assertEquals(isHostIdMap("0 0 4294967295\n1 1 1\n"), false);
  assertEquals(isHostIdMap(""), false);
});
