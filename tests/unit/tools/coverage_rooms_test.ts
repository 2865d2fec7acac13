import { assertEquals } from "@std/assert";
import { coverageOf, coverageProblems, parseLcov } from "../../../tools/coverage_rooms.ts";

const report = [
  "SF:/project/lib/a/one.ts",
  "FN:1,f",
  "DA:1,3",
  "LH:9",
  "LF:10",
  "end_of_record",
  "SF:/project/lib/a/two.ts",
  "LH:1",
  "LF:10",
  "end_of_record",
  "SF:/project/lib/b/one.ts",
  "LH:5",
  "LF:5",
  "end_of_record",
  "",
].join("\n");

Deno.test("parseLcov() has the lines of each file", () => {
  assertEquals(parseLcov(report, "/project"), [
    { path: "lib/a/one.ts", lines: 10, hit: 9 },
    { path: "lib/a/two.ts", lines: 10, hit: 1 },
    { path: "lib/b/one.ts", lines: 5, hit: 5 },
  ]);
  assertEquals(parseLcov("", "/project"), []);
});

Deno.test("a room's share is that of its lines, and a file that no test loads is named", () => {
  const covered = parseLcov(report, "/project");
  const files = ["lib/a/one.ts", "lib/a/two.ts", "lib/a/three.ts", "lib/ab/one.ts", "lib/b/one.ts"];
  const rooms = coverageOf(["lib/a", "lib/b", "lib/c"], { covered, files });
  assertEquals(rooms, [
    { room: "lib/a", percent: 50, missing: ["lib/a/three.ts"] },
    { room: "lib/b", percent: 100, missing: [] },
    { room: "lib/c", percent: 0, missing: [] },
  ]);
  assertEquals(coverageProblems(rooms, 85), [
    "unit tests run 50.0 % of the lines in lib/a; at least 85 % are required",
    "no unit test loads lib/a/three.ts",
    "unit tests run 0.0 % of the lines in lib/c; at least 85 % are required",
  ]);
  assertEquals(coverageProblems(rooms, 0), ["no unit test loads lib/a/three.ts"]);
});
