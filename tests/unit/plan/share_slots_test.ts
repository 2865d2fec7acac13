import { assertEquals } from "@std/assert";
import { buffer, call, load, slot, step, store, when } from "../../../lib/plan/build.ts";
import { lower } from "../../../lib/plan/lower.ts";
import type { Op } from "../../../lib/plan/op.ts";
import { carriedSlots, countSlots, shareSlots } from "../../../lib/plan/share_slots.ts";

const [a, b] = [slot("a"), slot("b")];
const set = (out: typeof a, left: number | typeof a = 1): Op => ({ op: "add", left, right: 0, out });
const memory = buffer("memory", 8);

const carried = (...steps: readonly (readonly Op[])[]) =>
  [...carriedSlots({ stage: [], init: steps.map((ops, index) => step(`${index}`, "", ops)) })].sort();

Deno.test("a name is carried where a step reads it without having written it for certain", () => {
  const cases: readonly [fact: string, ops: readonly Op[], carried: readonly string[]][] = [
    ["written, then read", [set(a), call("close", [a])], []],
    ["read, then written", [call("close", [a]), set(a)], ["a"]],
    ["read by what writes it", [set(a, a)], ["a"]],
    ["loaded and stored", [load(memory, 8, a), store(memory, 8, a), store(memory, 8, b)], ["b"]],
    ["a failure that is handled is a result too", [call("setsid", [], { out: a, tolerate: ["EPERM"] }), set(b, a)], []],
    [
      "what handles a failure sees the result",
      [call("setsid", [], { out: a, onError: [{ errnos: ["EPERM"], ops: [set(b, a)] }] })],
      [],
    ],
    [
      "written where a failure is handled alone",
      [call("setsid", [], { onError: [{ errnos: ["EPERM"], ops: [set(a)] }] }), call("close", [a])],
      ["a"],
    ],
    ["written in one branch", [set(b), when(b, "==", 1, [set(a)]), call("close", [a])], ["a"]],
    ["written in both branches", [set(b), when(b, "==", 1, [set(a)], [set(a)]), call("close", [a])], []],
    ["compared", [when(a, "==", b, [])], ["a", "b"]],
    ["a loop's body is run once at least", [
      { op: "repeat", body: [set(a)], until: { left: a, right: 0 } },
      call("close", [a]),
    ], []],
    ["known on both sides of a fork", [
      { op: "fork", flags: 17, out: a, child: [set(b, a)], parent: [set(b, a)] },
      call("close", [a]),
    ], []],
    ["written by the child alone", [
      { op: "fork", flags: 17, out: a, child: [set(b)], parent: [] },
      call("close", [b]),
    ], ["b"]],
    ["warned of, failed with", [{ op: "warn", value: a, why: "" }, { op: "fail", value: b, why: "" }], ["a", "b"]],
  ];
  for (const [fact, ops, expected] of cases) assertEquals(carried(ops), expected, fact);
});

Deno.test("a name that one step hands to another is carried, one that each writes anew is not", () => {
  assertEquals(carried([set(a)], [call("close", [a])]), ["a"]);
  assertEquals(carried([set(a), call("close", [a])], [set(a), call("close", [a])]), []);
});

Deno.test("shareSlots() gives steps the same numbers for what lives in them, and leaves what is carried", () => {
  const plan = {
    stage: [],
    init: [
      step("one", "", [set(a), set(slot("x"), a), call("close", [slot("x")])]),
      step("other", "", [set(slot("y")), call("close", [slot("y")]), call("close", [a])]),
    ],
  };
  const { instructions } = shareSlots(plan, lower(plan));
  const names = instructions.map(({ out, args }) => [out?.slot, ...args.map((arg) => (arg as { slot?: string }).slot)]);
  assertEquals(names, [
    ["a", undefined, undefined],
    ["shared 0", "a", undefined],
    [undefined, "shared 0"],
    ["shared 0", undefined, undefined],
    [undefined, "shared 0"],
    [undefined, "a"],
  ]);
  assertEquals([countSlots(lower(plan).instructions), countSlots(instructions)], [3, 2]);
  // What people read is what it was.
  assertEquals(instructions.map(({ op }) => op), plan.init.flatMap(({ ops }) => ops));
});
