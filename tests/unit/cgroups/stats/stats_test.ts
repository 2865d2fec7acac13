// The texts were read from real kernels: Linux 6.1 (v2) and 6.18 (v1).
import { assertEquals, assertThrows } from "@std/assert";
import { parseCount, parseIdList, parseKeyed } from "../../../../lib/cgroups/stats/files.ts";
import { pageSizeName, parsePressure, parseRdma } from "../../../../lib/cgroups/stats/parts.ts";
import { parseBlockIo, parseUsageAll } from "../../../../lib/cgroups/stats/v1.ts";
import { parseIoStat } from "../../../../lib/cgroups/stats/v2.ts";
import { RuncError } from "../../../../lib/errors.ts";

Deno.test("parseCount() reads max as 2^64 - 1, and what must not be negative as 0", () => {
  const cases = [["0\n", 0n], ["max\n", 18446744073709551615n], ["9223372036854771712", 9223372036854771712n], [
    "-5",
    0n,
  ]];
  for (const [text, expected] of cases as [string, bigint][]) assertEquals(parseCount(text), expected);
  for (const text of ["", "x", "1 2", "1.5"]) assertThrows(() => parseCount(text), RuncError, "invalid syntax");
});

Deno.test("parseKeyed() reads a key and a count a line", () => {
  assertEquals(parseKeyed("usage_usec 41\nuser_usec 0\n"), { usage_usec: 41n, user_usec: 0n });
  assertEquals(parseKeyed(""), {});
  assertThrows(() => parseKeyed("usage_usec\n"), RuncError, 'line "usage_usec" is not in "key value" format');
});

Deno.test("parseIdList() reads ranges", () => {
  const cases: readonly [string, readonly number[]][] = [["0\n", [0]], ["0-2,5,7-8\n", [0, 1, 2, 5, 7, 8]], ["\n", []]];
  for (const [text, expected] of cases) assertEquals(parseIdList(text), expected);
});

Deno.test("parseIdList() refuses what is no list, and lists that no kernel has", () => {
  for (const text of ["a", "1-", "-1", "5-2", "0-99999999", "0-4294967296", "1-2-3", "0x1", "1.5"]) {
    assertThrows(() => parseIdList(text), RuncError, "invalid list of numbers");
  }
});

Deno.test("parsePressure() reads both lines, or the only one", () => {
  const some = "some avg10=1.50 avg60=0.12 avg300=0.02 total=3141\n";
  const times = { avg10: 1.5, avg60: 0.12, avg300: 0.02, total: 3141n };
  const none = { avg10: 0, avg60: 0, avg300: 0, total: 0n };
  assertEquals(parsePressure(some), { some: times, full: none });
  assertEquals(parsePressure(`${some}full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n`), {
    some: times,
    full: { ...none, total: 7n },
  });
});

Deno.test("parseBlockIo() leaves the totals of all devices out", () => {
  assertEquals(parseBlockIo("8:0 Read 1282048\n8:0 Total 1282048\nTotal 1282048\n"), [
    { major: 8n, minor: 0n, op: "Read", value: 1282048n },
    { major: 8n, minor: 0n, op: "Total", value: 1282048n },
  ]);
  assertEquals(parseBlockIo("253:16 6792\n"), [{ major: 253n, minor: 16n, op: "", value: 6792n }]);
  assertEquals(parseBlockIo(""), []);
  assertThrows(() => parseBlockIo("8:0 Read\n"), RuncError, 'malformed line "8:0 Read"');
});

Deno.test("parseIoStat() sorts what it knows into v1's tables", () => {
  const { serviceBytes, serviced, queued } = parseIoStat(
    "8:0 rbytes=90430464 wbytes=0 rios=8950 wios=1 dbytes=0 dios=0\n7:1 \n259:0 cost.usage=5 rios=2\n",
  );
  const on = (major: bigint, op: string, value: bigint) => ({ major, minor: 0n, op, value });
  assertEquals(serviceBytes, [on(8n, "Read", 90430464n), on(8n, "Write", 0n)]);
  assertEquals(serviced, [on(8n, "Read", 8950n), on(8n, "Write", 1n), on(259n, "Read", 2n)]);
  assertEquals(queued, []);
});

Deno.test("parseIoStat() leaves out keys that are names of every JavaScript object", () => {
  const { serviced } = parseIoStat("8:0 constructor=1 __proto__=2 toString=3 rios=4\n");
  assertEquals(serviced.map(({ value }) => value), [4n]);
});

Deno.test("parseUsageAll() and parseRdma() read tables", () => {
  assertEquals(parseUsageAll("cpu user system\n0 1578107 7651\n1 0 0\n"), [[1578107n, 7651n], [0n, 0n]]);
  assertEquals(parseRdma("mlx4_0 hca_handle=2 hca_object=max\nbroken\n"), [
    { device: "mlx4_0", handles: 2n, objects: 4294967295n },
  ]);
});

Deno.test("pageSizeName() is the kernel's name for a size", () => {
  const cases = [
    ["hugepages-64kB", "64KB"],
    ["hugepages-2048kB", "2MB"],
    ["hugepages-1048576kB", "1GB"],
    ["hugepages-16777216kB", "16GB"],
    ["other", undefined],
  ] as const;
  for (const [file, expected] of cases) assertEquals(pageSizeName(file), expected);
});
