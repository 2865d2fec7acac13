import { assertEquals } from "@std/assert";
import { mapArguments, mapsOwnGroupOnly } from "../../../../lib/libcontainer/launch/id_maps.ts";
import { hostRoot } from "../../../../lib/libcontainer/config/id_mappings.ts";
import type { IdMapping } from "../../../../lib/specs/config.ts";

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

Deno.test("mapArguments() are those of newuidmap(1): the process, then each range", () => {
  const ranges = [{ containerID: 0, hostID: 1000, size: 1 }, { containerID: 1, hostID: 100000, size: 65536 }];
  assertEquals(mapArguments(42, ranges), ["42", "0", "1000", "1", "1", "100000", "65536"]);
});

Deno.test("mapsOwnGroupOnly(): only then has a user to give up setgroups", () => {
  const own = { containerID: 0, hostID: 1000, size: 1 };
  const user = { uid: 1000, gid: 1000 };
  const cases: readonly [mappings: readonly IdMapping[], writer: { uid: number; gid: number }, only: boolean][] = [
    [[own], user, true],
    [[{ ...own, containerID: 7 }], user, true],
    [[own], { uid: 0, gid: 1000 }, false],
    [[{ ...own, hostID: 1001 }], user, false],
    [[{ ...own, size: 2 }], user, false],
    [[own, { containerID: 1, hostID: 100000, size: 1 }], user, false],
    [[], user, false],
  ];
  for (const [mappings, writer, only] of cases) assertEquals(mapsOwnGroupOnly(mappings, writer), only);
});
