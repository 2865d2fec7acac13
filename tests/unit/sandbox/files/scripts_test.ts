import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import {
  fileError,
  modeArgument,
  parseEntries,
  parseFileInfo,
  pathArgument,
} from "../../../../lib/sandbox/files/scripts.ts";

Deno.test("no path is an option", () => {
  assertEquals(["/a", "a", "-r", "-", "../a"].map(pathArgument), ["/a", "./a", "./-r", "./-", "./../a"]);
  assertEquals(pathArgument(new URL("file:///a%20b")), "/a b");
  for (const path of ["", "a\0"]) assertThrows(() => pathArgument(path), TypeError);
});

Deno.test("modes are octal, and nothing but a mode", () => {
  assertEquals([0, 0o644, 0o7777].map(modeArgument), ["0000", "0644", "7777"]);
  for (const mode of [-1, 0o10000, 1.5, NaN]) assertThrows(() => modeArgument(mode), TypeError);
});

Deno.test("entries may have any name", () => {
  const names = parseEntries("fa b\0dnew\nline\0l-x\0o.\0").map(({ name, isFile, isDirectory, isSymlink }) =>
    [name, isFile, isDirectory, isSymlink] as const
  );
  assertEquals(names, [
    ["a b", true, false, false],
    ["new\nline", false, true, false],
    ["-x", false, false, true],
    [".", false, false, false],
  ]);
  assertEquals(parseEntries(""), []);
});

Deno.test("attributes are numbers, or an error", () => {
  const info = parseFileInfo("81a4 5 1 2 3 4 10 20 30\n");
  assertEquals(info, {
    isFile: true,
    isDirectory: false,
    isSymlink: false,
    isBlockDevice: false,
    isCharDevice: false,
    isFifo: false,
    isSocket: false,
    size: 5,
    mode: 0o100644,
    uid: 1,
    gid: 2,
    ino: 3,
    nlink: 4,
    atime: new Date(10_000),
    mtime: new Date(20_000),
    ctime: new Date(30_000),
  });
  for (const text of ["", "x", "81a4 5\n", "81a4 5 1 2 3 4 10 20 30\nmore", "81a4 -5 1 2 3 4 10 20 30\n"]) {
    assertThrows(() => parseFileInfo(text), RuncError);
  }
});

Deno.test("an error has the errno that the program named", () => {
  const error = fileError("read", "/x", "head: cannot open '/x' for reading: No such file or directory\n");
  assertEquals([error.message, error.errno, error.errnoName], [
    'cannot read "/x": no such file or directory',
    2,
    "ENOENT",
  ]);
  assertEquals(fileError("read", "/x", "").message, 'cannot read "/x": the sandbox\'s program has failed');
  assertEquals(fileError("read", "/x", "strange").errnoName, undefined);
});
