/** Two minutes of mixed work leave nothing: `deno task soak` for longer. As root; with Debian's busybox-static. */

import { assertEquals } from "@std/assert";
import { type Figure, growths } from "./figures.ts";
import { soak } from "./soak.ts";

const MINUTES = 2;

Deno.test("growths() names what has grown beyond its bound, and what was not there before", () => {
  const figure = (name: string, value: number, bound: number): Figure => ({ name, value, bound, reason: "" });
  const before = [figure("same", 5, 0), figure("within", 5, 2), figure("beyond", 5, 2), figure("less", 5, 0)];
  const after = [
    figure("same", 5, 0),
    figure("within", 7, 2),
    figure("beyond", 8, 2),
    figure("less", 1, 0),
    figure("new", 1, 0),
  ];
  assertEquals(growths(before, after), [
    { name: "beyond", from: 5, to: 8, bound: 2 },
    { name: "new", from: 0, to: 1, bound: 0 },
  ]);
});

Deno.test(`${MINUTES} minutes of mixed work leave nothing`, () => {
  const result = soak(MINUTES, () => {});
  console.log(`${result.rounds} rounds, ${result.containers} containers, ${result.execs} execs\n${result.table}`);
  assertEquals(result.growths, []);
});
