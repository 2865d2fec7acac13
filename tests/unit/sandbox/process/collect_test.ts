import { assertEquals } from "@std/assert";
import { collect } from "../../../../lib/sandbox/process/collect.ts";

const pieces = () => ReadableStream.from([Uint8Array.of(1, 2), Uint8Array.of(3), Uint8Array.of(4, 5)]);

Deno.test("collect() keeps the beginning, and reads to the end", async () => {
  assertEquals(await collect(pieces(), 5), { bytes: Uint8Array.of(1, 2, 3, 4, 5), isTruncated: false });
  assertEquals(await collect(pieces(), 4), { bytes: Uint8Array.of(1, 2, 3, 4), isTruncated: true });
  assertEquals(await collect(pieces(), 1), { bytes: Uint8Array.of(1), isTruncated: true });
  let isRead = false;
  async function* source() {
    yield await Promise.resolve(Uint8Array.of(1, 2));
    isRead = true;
  }
  await collect(ReadableStream.from(source()), 1);
  assertEquals(isRead, true);
});
