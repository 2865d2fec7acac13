import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import { utf8ByteString } from "../../../../../lib/sandbox/rootfs/tar/byte_string.ts";
import { changeOf, cleanPath, joined } from "../../../../../lib/sandbox/rootfs/unpack/entry_path.ts";

const clean: readonly [name: string, path: string][] = [
  ["a", "a"],
  ["./a/", "a"],
  ["/a//./b/", "a/b"],
  ["", ""],
  ["./", ""],
  ["/", ""],
  ["..a/...", "..a/..."],
];

Deno.test("cleanPath() leaves out what does not count", () => {
  for (const [name, path] of clean) assertEquals<string>(joined(cleanPath(utf8ByteString(name))), path, name);
});

const refused = ["..", "../a", "a/../b", "/../a", "a/..", "a\0b", "x".repeat(256), "x/".repeat(2100)];

Deno.test("cleanPath() refuses what leads upwards, NUL bytes, and names that are too long", () => {
  for (const name of refused) {
    const error = assertThrows(() => cleanPath(utf8ByteString(name)), RuncError);
    assertEquals(error.code, "image-invalid", name);
  }
});

const changes: readonly [name: string, change: unknown][] = [
  ["a/b", { kind: "entry", path: { parent: "a", name: "b" } }],
  ["./", { kind: "entry", path: { parent: "", name: "" } }],
  ["a/.wh.b", { kind: "whiteout", path: { parent: "a", name: "b" } }],
  [".wh...a", { kind: "whiteout", path: { parent: "", name: "..a" } }],
  ["a/.wh..wh..opq", { kind: "opaque", directory: "a" }],
  [".wh..wh..opq", { kind: "opaque", directory: "" }],
  [".wh..wh.plnk/123", { kind: "ignored" }],
  [".wh..wh.aufs", { kind: "ignored" }],
  ["a/.whale", { kind: "entry", path: { parent: "a", name: ".whale" } }],
];

Deno.test("changeOf() tells whiteouts from files", () => {
  for (const [name, change] of changes) assertEquals<unknown>(changeOf(utf8ByteString(name)), change, name);
});

Deno.test("changeOf() refuses whiteouts of nothing, of the directory itself and of its parent", () => {
  for (const name of [".wh.", "a/.wh..", "a/.wh..."]) {
    assertThrows(() => changeOf(utf8ByteString(name)), RuncError, "names no file");
  }
});
