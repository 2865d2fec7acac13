import { assertEquals } from "@std/assert";
import { ByteReader, streamSource } from "../../../../../lib/sandbox/rootfs/byte_reader.ts";
import { utf8ByteString } from "../../../../../lib/sandbox/rootfs/tar/byte_string.ts";
import { padding, tarEnd, tarHeader } from "../../../../../lib/sandbox/rootfs/tar/tar_header.ts";
import { TarReader } from "../../../../../lib/sandbox/rootfs/tar/tar_reader.ts";

Deno.test("headers are what the reader reads: long names, links, sizes, times", async () => {
  const long = "d/".repeat(80) + "é";
  const entries = [
    { type: "directory", name: "d/", mode: 0o40755, size: 0, mtime: 1.5 },
    { type: "file", name: long, mode: 0o100600, size: 3, mtime: -5 },
    { type: "symlink", name: "s", linkName: `../${long}`, mode: 0o777, size: 0, mtime: 0 },
    { type: "file", name: "x".repeat(100), mode: 0, size: 512, mtime: 0 },
  ] as const;
  const pieces = entries.flatMap((entry) => [
    tarHeader({
      ...entry,
      name: utf8ByteString(entry.name),
      linkName: "linkName" in entry ? utf8ByteString(entry.linkName) : undefined,
    }),
    new Uint8Array(entry.size).fill(7),
    padding(entry.size),
  ]);
  const reader = new TarReader(new ByteReader(streamSource(new Blob([...pieces, tarEnd()]).stream())));
  for (const entry of entries) {
    const { type, name, linkName, mode, size, mtime } = (await reader.next())!;
    assertEquals<unknown>({ type, name, linkName, mode, size, seconds: mtime.seconds }, {
      type: entry.type,
      name: utf8ByteString(entry.name),
      linkName: utf8ByteString("linkName" in entry ? entry.linkName : ""),
      mode: entry.mode & 0o7777,
      size: entry.size,
      seconds: Math.max(0, Math.floor(entry.mtime)),
    });
  }
  assertEquals(await reader.next(), undefined);
});

Deno.test("a size of 8 GiB or more is GNU's binary form", () => {
  const header = tarHeader({ type: "file", name: utf8ByteString("a"), mode: 0, size: 8 ** 11, mtime: 0 });
  assertEquals([...header.slice(124, 136)], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
});
