import { assertEquals } from "@std/assert";
import { hostRoot } from "../../../lib/libcontainer/id_maps.ts";
import type { IdMapping } from "../../../lib/specs/config.ts";

Deno.test("hostRoot() is the id on the host of the container's root", () => {
  const cases: readonly [mappings: readonly IdMapping[] | undefined, id: number][] = [
    [undefined, 0],
    [[], 0],
    [[{ containerID: 0, hostID: 1000, size: 1 }], 1000],
    [[{ containerID: 1, hostID: 5, size: 9 }, { containerID: 0, hostID: 100000, size: 65536 }], 100000],
    [[{ containerID: 0, hostID: 7, size: 0 }], 0],
  ];
  for (const [mappings, id] of cases) assertEquals(hostRoot(mappings), id);
});
