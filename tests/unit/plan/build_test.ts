import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import * as build from "../../../lib/plan/build.ts";
import { pointedTo } from "../plan_reader.ts";

Deno.test("text() refuses a NUL, which C would end it at", () => {
  assertThrows(() => build.text("a\0b"), RuncError, "NUL");
  assertThrows(() => build.call("chdir", ["\0"]), RuncError, "NUL");
  assertEquals(build.text(""), { data: "text", text: "" });
});

Deno.test("call() turns strings into data and keeps everything else", () => {
  const fd = build.fixedFd("sync");
  const out = build.slot("result");
  assertEquals(build.call("openat", [fd, "name", 3, build.slot("mode")], { out, tolerate: ["EEXIST"] }), {
    op: "call",
    call: "openat",
    args: [{ fd: "sync" }, { data: "text", text: "name" }, 3, { slot: "mode" }],
    out: { slot: "result" },
    tolerate: ["EEXIST"],
  });
});

Deno.test("stringPointers() is an array of addresses, ended by NULL", () => {
  const array = build.stringPointers(["a", build.buffer("later", 8), ""], "argv");
  assertEquals(array.size, 8 * 4);
  assertEquals(array.words.map(({ at, size }) => [at, size]), [[0, 8], [8, 8], [16, 8]]);
  assertEquals(pointedTo(array), ["a", "<later>", ""]);
  assertEquals(build.stringPointers([], "none").size, 8);
});

Deno.test("the short names build what they are called after", () => {
  const [a, b] = [build.slot("a"), build.buffer("b", 8)];
  const end = { op: "endStep" } as const;
  const cases: readonly [built: unknown, plain: unknown][] = [
    [build.load(b, 4, a), { op: "load", from: b, size: 4, out: a }],
    [build.store(b, 2, a), { op: "store", to: b, size: 2, value: a }],
    [build.at(b, 3), { data: "at", base: b, offset: 3 }],
    [build.when(a, "==", 1, [end]), { op: "if", left: a, is: "==", right: 1, then: [end], otherwise: undefined }],
    [build.when(a, "!=", b, [], [end]), { op: "if", left: a, is: "!=", right: b, then: [], otherwise: [end] }],
    [build.fail(a, "why", "do this"), { op: "fail", value: a, why: "why", hint: "do this" }],
    [build.step("label", "/from", [end]), { label: "label", from: "/from", ops: [end] }],
    [build.bytes(Uint8Array.of(1), "one"), { data: "bytes", bytes: Uint8Array.of(1), show: "one" }],
  ];
  for (const [built, plain] of cases) assertEquals(built, plain);
});
