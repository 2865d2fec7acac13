import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { arArchive, gzip, tar, textFile, type Tree } from "../../../tools/release/archive.ts";

const decoder = new TextDecoder("latin1");
const text = (bytes: Uint8Array, from: number, size: number) => decoder.decode(bytes.subarray(from, from + size));

/** Names, types and modes of the entries, in their order. */
function listed(archive: Uint8Array): readonly (readonly [name: string, type: string, mode: string])[] {
  const entries: [string, string, string][] = [];
  for (let at = 0; archive[at] !== 0;) {
    const field = (offset: number, size: number) => text(archive, at + offset, size).replace(/\0.*/s, "");
    entries.push([field(0, 100), field(156, 1), field(100, 8)]);
    at += 512 + Math.ceil(parseInt(field(124, 12), 8) / 512) * 512;
  }
  return entries;
}

const tree: Tree = new Map([
  ["usr/lib/x/program", textFile("program", 0o755)],
  ["usr/bin/x", { kind: "link", to: "../lib/x/program" }],
  ["usr/lib/x/empty", textFile("")],
]);

Deno.test("tar() has each directory before what is in it, by name, whatever the order of the files", () => {
  const archive = tar(tree, { epoch: 1_700_000_000, prefix: "./" });
  assertEquals(listed(archive), [
    ["./", "5", "0000755"],
    ["./usr/", "5", "0000755"],
    ["./usr/bin/", "5", "0000755"],
    ["./usr/bin/x", "2", "0000777"],
    ["./usr/lib/", "5", "0000755"],
    ["./usr/lib/x/", "5", "0000755"],
    ["./usr/lib/x/empty", "0", "0000644"],
    ["./usr/lib/x/program", "0", "0000755"],
  ]);
  assertEquals(tar(new Map([...tree].toReversed()), { epoch: 1_700_000_000, prefix: "./" }), archive);
  assertEquals(archive.length % 512, 0);
});

Deno.test("tar() says that everything is root's", () => {
  const archive = tar(tree, { epoch: 0 });
  assertEquals([265, 297].map((offset) => text(archive, offset, 5)), ["root\0", "root\0"]);
});

Deno.test("arArchive() refuses a name that its header cannot hold", () => {
  const members = new Map([["x".repeat(17), new Uint8Array()]]);
  assertThrows(() => arArchive(members, 0), RangeError, "16 bytes of name");
});

Deno.test("arArchive() aligns its members to even offsets", () => {
  const bytes = new TextEncoder().encode("odd");
  const archive = arArchive(new Map([["one", bytes], ["other", bytes]]), 5);
  assertEquals(text(archive, 0, 8), "!<arch>\n");
  const header = (name: string) => `${name.padEnd(16)}5           0     0     100644  3         \`\n`;
  assertEquals(text(archive, 8, 64), `${header("one")}odd\n`);
  assertEquals(text(archive, 72, 64), `${header("other")}odd\n`);
});

Deno.test("gzip() has neither name nor time in its header", async () => {
  const packed = await gzip(new TextEncoder().encode("text ".repeat(100)), 9);
  // RFC 1952: ID1, ID2, deflate, no flags, MTIME 0, the slowest algorithm.
  assertEquals([...packed.subarray(0, 9)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2]);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  assertEquals(await new Response(stream).text(), "text ".repeat(100));
  await assertRejects(() => gzip(new Uint8Array(), 10));
});
