import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { overlayOptions } from "../../../../lib/sandbox/rootfs/overlay.ts";

Deno.test("overlayOptions() has the highest layer first, and escapes what separates", () => {
  const parts = { layers: ["/l/1", "/l/2:x,\\"], upper: "/u,", work: "/w", rootless: false };
  assertEquals(overlayOptions(parts), "lowerdir=/l/2\\:x\\,\\\\:/l/1,upperdir=/u\\,,workdir=/w");
  assertEquals(overlayOptions({ ...parts, rootless: true }).endsWith(",workdir=/w,userxattr"), true);
});

Deno.test("overlayOptions() refuses what does not fit into a page", () => {
  const layers = Array.from({ length: 127 }, (_, index) => `/var/cache/${index}/${"0".repeat(64)}`);
  const error = assertThrows(() => overlayOptions({ layers, upper: "/u", work: "/w", rootless: false }), RuncError);
  assertEquals([error.code, error.message.includes("127 layers")], ["unsupported", true]);
});
