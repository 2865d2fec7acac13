import { assertEquals } from "@std/assert";
import { Sha256 } from "../../../../lib/sandbox/rootfs/sha256.ts";
import { digestOf } from "./tar_writer.ts";

Deno.test("Sha256 is the same as Web Crypto's, for all lengths around a block and any pieces", async () => {
  const bytes = Uint8Array.from({ length: 200 }, (_, index) => index * 7 & 0xff);
  for (let length = 0; length <= bytes.length; length++) {
    const expected = await digestOf(bytes.slice(0, length));
    for (const step of [1, 63, 64, 65, 200]) {
      const hash = new Sha256();
      for (let at = 0; at < length; at += step) hash.update(bytes.subarray(at, Math.min(at + step, length)));
      assertEquals(`sha256:${hash.hex()}`, expected, `${length} bytes, ${step} at a time`);
    }
  }
});
