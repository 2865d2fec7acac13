import { assertEquals } from "@std/assert";
import { parseIdRange, userHome, userName } from "../../../../lib/sandbox/config/facts.ts";

const user = { uid: 1000, name: "alice" };

const rows: readonly [text: string, range: unknown][] = [
  ["", undefined],
  ["bob:100000:65536\n", undefined],
  ["alice:100000:65536\n", { first: 100000, count: 65536 }],
  ["1000:100000:65536", { first: 100000, count: 65536 }],
  ["# comment\nbob:1:2\nalice:200000:10\nalice:300000:65536\n", { first: 300000, count: 65536 }],
  ["alice:0:65536\nalice:100:0\nalice:4294967295:1\nalice:x:1\nalice:1\n:1:1\n", undefined],
];

Deno.test("parseIdRange() finds the largest range of a user, by name or number", () => {
  for (const [text, range] of rows) assertEquals<unknown>(parseIdRange(text, user), range, text);
});

Deno.test("a user without a name has only the ranges of the number", () => {
  assertEquals(userName("root:x:0:0::/:\nalice:x:1000:1::/:\n", 1000), "alice");
  assertEquals(userName("root:x:0:0::/:\n", 1000), "");
  assertEquals(userHome("root:x:0:0::/:\nalice:x:1000:1::/home/alice:/bin/sh\n", 1000), "/home/alice");
  assertEquals(userHome("alice:x:1000\n", 1000), "");
  assertEquals(parseIdRange(":1:1\n", { uid: 5, name: "" }), undefined);
});
