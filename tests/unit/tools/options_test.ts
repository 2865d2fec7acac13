// These hold with lib/std/cli.ts and with the real @std/cli (deno.jsr.json).
import { assertEquals } from "@std/assert";
import { readOptions } from "../../../tools/options.ts";

const known = { values: { prefix: "/usr/local", destdir: "" }, switches: ["no-snapshot"] };

const read: readonly [words: string, prefix: string, destdir: string, noSnapshot: boolean][] = [
  ["", "/usr/local", "", false],
  ["--prefix /a", "/a", "", false],
  ["--prefix=/a --no-snapshot", "/a", "", true],
  ["--no-snapshot --destdir /b --prefix 5", "5", "/b", true],
  ["--prefix /a --prefix /b", "/b", "", false],
  ["--prefix=/a=b", "/a=b", "", false],
  ["--", "/usr/local", "", false],
];

Deno.test("readOptions() reads values and switches", () => {
  for (const [words, prefix, destdir, noSnapshot] of read) {
    const options = readOptions(words.split(" ").filter((word) => word !== ""), known);
    assertEquals(options, { values: { prefix, destdir }, switches: { "no-snapshot": noSnapshot } }, words);
  }
});

const refused: readonly string[] = [
  "word",
  "7",
  "-",
  "-- --prefix",
  "--unknown",
  "--unknown=1",
  "--unknown word",
  "--unknown --prefix /a",
  "-abc",
  "-prefix /a",
  "-p/a",
  "-p=/a",
  "--a.b 1",
  "--prefix.a 1",
  "--prefix",
  "--prefix=",
  "--prefix --no-snapshot",
  "--prefix -a",
  "--no-prefix",
  "--no-snapshot=1",
  "--no-snapshot=true",
  "--no-snapshot word",
  "--snapshot",
];

Deno.test("readOptions() refuses everything else", () => {
  for (const words of refused) assertEquals(readOptions(words.split(" "), known), undefined, words);
});
