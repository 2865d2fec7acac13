import { assertEquals } from "@std/assert";
import {
  cleanPath,
  ensureDirectory,
  ensureTarget,
  openInRoot,
} from "../../../../../lib/libcontainer/steps/root/in_root.ts";
import { slot } from "../../../../../lib/plan/build.ts";
import { formatOp } from "../../../../../lib/plan/explain.ts";
import type { Op } from "../../../../../lib/plan/op.ts";
import { structArg, structHex } from "../../../plan_reader.ts";

const text = (ops: readonly Op[]) =>
  ops.flatMap((op) => formatOp(op)).map((line) => line.replace(/, \{flags: .*?\}, 24\)/, ")"));
const options = { arch: "x86_64" } as const;
const asking = { ...options, askFor: 3 } as const;
const out = slot("out");

Deno.test("cleanPath() is absolute, and nothing in it climbs", () => {
  const cases: readonly [path: string, clean: string][] = [
    ["", "/"],
    ["/", "/"],
    [".", "/"],
    ["a", "/a"],
    ["/a/", "/a"],
    ["//a///b", "/a/b"],
    ["/a/./b", "/a/b"],
    ["/a/../b//c", "/b/c"],
    ["/..", "/"],
    ["../../a", "/a"],
    ["/a/b/../../..", "/"],
    ["/...", "/..."],
    ["/a..b/.c", "/a..b/.c"],
  ];
  for (const [path, clean] of cases) assertEquals(cleanPath(path), clean, path);
});

Deno.test("openInRoot() opens beneath the root's descriptor, with symlinks as the container sees them", () => {
  // struct open_how: flags, mode, resolve. O_PATH 200000, O_CLOEXEC 80000, O_DIRECTORY 10000, O_NOFOLLOW 20000 (aarch64: 4000, 8000);
  // RESOLVE_IN_ROOT 10, RESOLVE_NO_SYMLINKS 4.
  const cases: readonly [options: Parameters<typeof openInRoot>[2], flags: string, resolve: string][] = [
    [{ arch: "x86_64" }, "00002800", "10000000"],
    [{ arch: "x86_64", directory: true }, "00002900", "10000000"],
    [{ arch: "x86_64", directory: true, noSymlinks: true }, "00002b00", "14000000"],
    [{ arch: "aarch64", directory: true, noSymlinks: true }, "00c02800", "14000000"],
  ];
  for (const [options, flags, resolve] of cases) {
    const open = openInRoot("/a", out, options);
    const how = [flags, "00000000", "00000000", "00000000", resolve, "00000000"].join(" ");
    assertEquals([structHex(structArg(open, 2)), open.args[3]], [how, 24]);
    assertEquals([open.call, open.args[0], open.retryAgain], ["openat2", { slot: "root" }, true]);
  }
});

Deno.test("ensureDirectory() makes what is missing, one name at a time below a descriptor", () => {
  assertEquals(text(ensureDirectory("/a/b", out, options)), [
    '$out = openat2($root, "/a/b")',
    "on ENOENT:",
    '  $parent = openat2($root, "/")',
    '  mkdirat($parent, "a", 0755)  /* fine if EEXIST */',
    "  close($parent)",
    '  $parent = openat2($root, "/a")',
    '  mkdirat($parent, "b", 0755)  /* fine if EEXIST */',
    "  close($parent)",
    '  $parent = openat2($root, "/a/b")',
    "  $out = $parent",
  ]);
});

Deno.test("ensureTarget() makes an empty file or a directory, as its source is", () => {
  assertEquals(text(ensureTarget("/a/b", out, slot("is file"), options)), [
    '$out = openat2($root, "/a/b")',
    "on ENOENT:",
    '  $parent = openat2($root, "/")',
    '  mkdirat($parent, "a", 0755)  /* fine if EEXIST */',
    "  close($parent)",
    '  $parent = openat2($root, "/a")',
    "  if $is_file != 0:",
    '    $out = openat($parent, "b", O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0644)',
    "    close($out)",
    "  else:",
    '    mkdirat($parent, "b", 0755)  /* fine if EEXIST */',
    "  close($parent)",
    '  $out = openat2($root, "/a/b")',
  ]);
});

Deno.test("where the parent may be asked, a component that is a dangling symlink makes the rest idle, and then it is asked", () => {
  const directory = text(ensureDirectory("/a/b", out, asking));
  assertEquals(directory.slice(0, 11), [
    '$out = openat2($root, "/a/b")',
    "on ENOENT:",
    '  $parent = openat2($root, "/")',
    '  mkdirat($parent, "a", 0755)  /* fine if EEXIST, EBADF */',
    "  close($parent)  /* fine if EBADF */",
    '  $parent = openat2($root, "/a")  /* fine if ENOENT */',
    '  mkdirat($parent, "b", 0755)  /* fine if EEXIST, EBADF */',
    "  close($parent)  /* fine if EBADF */",
    '  $parent = openat2($root, "/a/b")  /* fine if ENOENT */',
    "  $out = $parent",
    "  if $out == -2:",
  ]);
  const target = text(ensureTarget("/a", out, slot("is file"), asking));
  for (const lines of [directory, target]) {
    assertEquals(lines.filter((line) => line.includes("sendmsg(")).length, 1, lines.join("\n"));
    assertEquals(lines.at(-1)!.trim().startsWith("$out = openat2($root, "), true);
  }
});
