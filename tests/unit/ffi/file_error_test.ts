import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { fileError, withFileErrors } from "../../../lib/ffi/file_error.ts";

Deno.test("fileError() has code, call, path and errno of what Deno says", () => {
  const cases: readonly [said: string, message: string, errnoName: string, call?: string][] = [
    [
      "No space left on device (os error 28): writefile '/r/box/state-1'",
      "write /r/box/state-1: no space left on device",
      "ENOSPC",
      'write("/r/box/state-1")',
    ],
    ["Read-only file system (os error 30): mkdir '/r'", "mkdir /r: read-only file system", "EROFS", 'mkdir("/r")'],
    ["File name too long (os error 36): stat '/a'", "stat /a: file name too long", "ENAMETOOLONG", 'stat("/a")'],
    ["Not a directory (os error 20): readfile '/a'", "read /a: not a directory", "ENOTDIR", 'read("/a")'],
    [
      "Too many levels of symbolic links (os error 40): open '/it's'",
      "open /it's: too many levels of symbolic links",
      "ELOOP",
      'open("/it\'s")',
    ],
    [
      "Disk quota exceeded (os error 122): writefile '/\n'",
      "write /\n: disk quota exceeded",
      "EDQUOT",
      'write("/\\n")',
    ],
    ["Input/output error (os error 5)", "input/output error", "EIO"],
    [
      "Cross-device link (os error 18): rename '/a' -> '/b'",
      "rename /a /b: invalid cross-device link",
      "EXDEV",
      'rename("/a", "/b")',
    ],
  ];
  for (const [said, message, errnoName, call] of cases) {
    const error = fileError(new Deno.errors.NotFound(said))!;
    assertEquals([error.code, error.message, error.errnoName, error.call], [
      "syscall-failed",
      message,
      errnoName,
      call,
    ]);
  }
});

Deno.test("what the system did not give stays what it is", () => {
  const ours = new RuncError("usage", "no (os error 2)");
  for (const other of [new TypeError("x is not a function"), new Error("os error 2"), "os error 2", ours]) {
    assertEquals(fileError(other), undefined);
  }
  const error = new TypeError("x");
  assertStrictEquals(
    assertThrows(() =>
      withFileErrors(() => {
        throw error;
      })
    ),
    error,
  );
});
