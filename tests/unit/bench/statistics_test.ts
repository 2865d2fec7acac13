import { assertEquals } from "@std/assert";
import { formatTable, median, medianRatio } from "../../../bench/statistics.ts";

Deno.test("median() is the middle, or the mean of the two in the middle", () => {
  const cases: readonly (readonly [values: number[], expected: number])[] = [
    [[3], 3],
    [[9, 1, 5], 5],
    [[4, 1, 2, 9], 3],
    [[10, 9, 2], 9],
    [[], NaN],
  ];
  for (const [values, expected] of cases) assertEquals(median(values), expected, values.join());
});

Deno.test("medianRatio() compares pairs, not medians", () => {
  // The machine got ten times slower on the way; the ratio stays.
  assertEquals(medianRatio([1, 2, 30], [2, 4, 60]), 0.5);
});

Deno.test("formatTable() aligns names to the left and numbers to the right", () => {
  assertEquals(formatTable([["", "ours"], ["run, ms", "9.1"]]), "         ours\nrun, ms   9.1");
});
