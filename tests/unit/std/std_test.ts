// The thin modules behind @std/*: the same facts hold for the real packages (deno.jsr.json).
import {
  assertEquals,
  AssertionError,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseArgs } from "@std/cli";
import { parse } from "@std/jsonc";
import { basename, dirname, join, normalize, relative, resolve } from "@std/path";

const rows: readonly [call: string, actual: string, expected: string][] = [
  ["normalize", normalize("/a/../../b//c/."), "/b/c"],
  ["normalize", normalize("a/../.."), ".."],
  ["normalize", normalize("a/b/../"), "a/"],
  ["normalize", normalize(""), "."],
  ["join", join("a", "", "../b/"), "b/"],
  ["join", join("/", "a"), "/a"],
  ["join", join("a", "/b"), "a/b"],
  ["join", join(""), "."],
  ["resolve", resolve("/a", "b", "../c/"), "/a/c"],
  ["resolve", resolve("/a", "/b"), "/b"],
  ["resolve", resolve("/"), "/"],
  ["dirname", dirname("/a/b/"), "/a"],
  ["dirname", dirname("/a"), "/"],
  ["dirname", dirname("/"), "/"],
  ["dirname", dirname("a"), "."],
  ["basename", basename("/a/b/"), "b"],
  ["basename", basename("/"), "/"],
  ["basename", basename("a.ts", ".ts"), "a"],
  ["relative", relative("/a/b", "/a/c/d"), "../c/d"],
  ["relative", relative("/a", "/a"), ""],
];

Deno.test("@std/path", () => {
  for (const [call, actual, expected] of rows) assertEquals(actual, expected, call);
});

Deno.test("@std/jsonc parses comments and trailing commas, and leaves strings alone", () => {
  assertEquals(parse('{"a": 1, // x\n "b": ["//", "/*,]", 2,], /* , */ }'), { a: 1, b: ["//", "/*,]", 2] });
  for (const wrong of ["{,}", "[1,,]", "[,]", "/* x"]) assertThrows(() => parse(wrong), SyntaxError);
});

Deno.test("@std/cli splits options and arguments", () => {
  const rows: readonly [words: string, expected: Record<string, unknown>][] = [
    ["--a --b=2 c -- --d", { a: true, b: "2", e: "f", _: ["c", "--d"] }],
    ["--b c --a d", { a: true, b: "c", e: "f", _: ["d"] }],
    ["--b --a", { a: true, b: "", e: "f", _: [] }],
    ["--b", { a: false, b: "", e: "f", _: [] }],
    ["--b 5 --e=g", { a: false, b: "5", e: "g", _: [] }],
    ["--unknown", { a: false, e: "f", unknown: true, _: [] }],
    ["--no-unknown --unknown=word -", { a: false, e: "f", "no-unknown": true, unknown: "word", _: ["-"] }],
    ["-xy --a", { a: true, e: "f", x: true, y: true, _: [] }],
  ];
  for (const [words, expected] of rows) {
    const args = parseArgs(words.split(" "), { boolean: ["a"], string: ["b"], default: { e: "f" } });
    assertEquals<unknown>(args, expected, words);
  }
});

Deno.test("@std/assert compares deeply", () => {
  assertEquals(new Map([["a", new Set([1])]]), new Map([["a", new Set([1])]]));
  assertEquals(new Uint8Array([1, 2]), new Uint8Array([1, 2]));
  assertNotEquals(new Uint8Array([1]), new Uint8Array([2]));
  assertNotEquals<unknown>({ a: undefined }, {});
  assertNotEquals<unknown>([1], { 0: 1 });
  assertNotEquals<unknown>(new Date(1), new Date(2));
});

Deno.test("@std/assert shows what differs, and nothing but that", () => {
  const { message } = assertThrows(() => assertEquals({ a: 1, b: [1, 2] }, { a: 1, b: [1, 3] }, "why"), AssertionError);
  assertStringIncludes(message, "why");
  // The real package colours the lines.
  const plain = message.replaceAll("\x1b", "").replace(/\[\d+m/g, "");
  assertEquals(plain.split("\n").filter((line) => /^[-+] /.test(line)).map((line) => line.replace(/ +/g, " ")), [
    "- 2,",
    "+ 3,",
  ]);
});

Deno.test("@std/assert tells a throw from a rejection", async () => {
  assertThrows(() => assertThrows(() => 1), AssertionError);
  await assertRejects(() => Promise.reject(new TypeError("abc")), TypeError, "b");
  await assertRejects(() => assertRejects(() => Promise.resolve()), AssertionError);
  await assertRejects(() => assertRejects(() => Promise.reject(new Error("x")), TypeError), AssertionError);
});
