import { assertEquals } from "@std/assert";
import { inLanes, ordered } from "../../../tools/lanes.ts";

Deno.test("ordered(): long files first, and those that have to be alone apart", () => {
  const files = ["stress", "wait", "callers/podman", "cgroups", "mounts"].map((name) =>
    `tests/integration/${name}_test.ts`
  );
  assertEquals(ordered(files), {
    together: ["callers/podman", "mounts", "cgroups", "wait"].map((name) => `tests/integration/${name}_test.ts`),
    alone: ["tests/integration/stress_test.ts"],
  });
});

Deno.test("inLanes() runs each item once, as many at a time as there are lanes, and tells which failed", async () => {
  const started: string[] = [];
  let running = 0, most = 0;
  const run = async (item: string) => {
    started.push(item);
    most = Math.max(most, ++running);
    await Promise.resolve();
    running--;
    return item !== "b" && item !== "d";
  };
  assertEquals(await inLanes(["a", "b", "c", "d", "e"], 2, run), ["b", "d"]);
  assertEquals([started, most], [["a", "b", "c", "d", "e"], 2]);
  assertEquals(await inLanes([], 2, run), []);
});
