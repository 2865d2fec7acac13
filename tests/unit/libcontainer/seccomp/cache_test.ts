import { assertEquals } from "@std/assert";
import { decodeEntry, encodeEntry } from "../../../../lib/libcontainer/seccomp/cache.ts";

const key = "the profile, and all else";
const program = Uint8Array.from({ length: 24 }, (_, index) => index);

Deno.test("an entry of the cache gives its program back", () => {
  assertEquals(decodeEntry(key, encodeEntry(key, program)), program);
});

Deno.test("an entry with any bit changed is as if it were not there", () => {
  const entry = encodeEntry(key, program);
  for (let index = 0; index < entry.length; index++) {
    const changed = entry.slice();
    changed[index]! ^= 0x10;
    assertEquals(decodeEntry(key, changed), undefined, `byte ${index}`);
  }
});

Deno.test("an entry that is cut, longer, empty or another key's is as if it were not there", () => {
  const entry = encodeEntry(key, program);
  const broken: readonly [name: string, entry: Uint8Array<ArrayBuffer>][] = [
    ["empty", new Uint8Array(0)],
    ["without its last byte", entry.slice(0, -1)],
    ["without its last instruction", entry.slice(0, -8)],
    ["longer", new Uint8Array([...entry, 0, 0, 0, 0, 0, 0, 0, 0])],
    ["no whole instructions", encodeEntry(key, program.slice(0, 20))],
    ["no instruction", encodeEntry(key, program.slice(0, 0))],
    ["too long", encodeEntry(key, new Uint8Array(8 * 4097))],
    ["another key's", encodeEntry("another profile, and all else", program)],
  ];
  for (const [name, bytes] of broken) assertEquals(decodeEntry(key, bytes), undefined, name);
});
