/** Acts run in order, and are taken back in reverse. */

import { immediate } from "../../../../lib/ffi/immediate.ts";
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { readable, runWaits, runWaitsAsync, type Waits } from "../../../../lib/ffi/waits.ts";
import { type Performers, runActs, type World } from "../../../../lib/libcontainer/launch/run_acts.ts";
import { type Act, act, type Flag, type Undo, within } from "../../../../lib/libcontainer/plans/parent/act.ts";
import { Clock, recorder } from "../../trace/fixed.ts";
import { fakeKernel, pids } from "../fake_host.ts";
import { type FakeMessage, fakeMessage } from "../fake_message.ts";

/** A world whose verbs `debug` are written down; the text `fail…` fails. */
class Notes implements World {
  readonly notes: string[] = [];
  readonly warnings: string[] = [];
  readonly flags = new Set<Flag>();
  readonly sent: FakeMessage[];
  readonly performers: Performers;
  explain?: World["explain"];
  trace?: World["trace"];

  constructor(more: Performers = {}, sent: readonly FakeMessage[] = []) {
    this.sent = [...sent];
    this.performers = { debug: ({ text }) => this.note(text), ...more };
  }

  note(text: string): void {
    this.notes.push(text);
    if (text.startsWith("fail")) throw new RuncError("syscall-failed", text);
  }

  log(_level: string, text: string): void {
    this.warnings.push(text);
  }

  *receive(): Waits<FakeMessage> {
    yield* readable([1]);
    const message = this.sent.shift();
    if (message === undefined) throw new RuncError("interrupted", "nothing comes");
    return message;
  }
}

const say = (text: string): Undo["does"] => ({ verb: "debug", text });
const note = (text: string, more: Parameters<typeof act>[3] = {}) => act(`do ${text}`, `/${text}`, say(text), more);
const undoes = (...texts: readonly string[]) => ({ undo: texts.map((text) => ({ label: text, does: say(text) })) });

function run(acts: readonly Act[], world: World): void {
  runWaits({ kernel: fakeKernel() }, runActs(acts, world));
}

function failing(acts: readonly Act[], world: World): RuncError {
  return assertThrows(() => run(acts, world), RuncError);
}

Deno.test("runActs() carries out acts in order, and undoes none of them", () => {
  const world = new Notes();
  run([note("one", undoes("not one")), note("two"), note("three", undoes("not three"))], world);
  assertEquals(world.notes, ["one", "two", "three"]);
});

Deno.test("runActs() takes back what was done last first, an act's parts in their order, and not the failed act", () => {
  const world = new Notes();
  const acts = [
    note("one", undoes("not one", "nor this")),
    note("two"),
    note("three", undoes("not three")),
    note("fail", undoes("not fail")),
    note("five", undoes("not five")),
  ];
  assertEquals(failing(acts, world).message, "fail");
  assertEquals(world.notes, ["one", "two", "three", "fail", "not three", "not one", "nor this"]);
  assertEquals(world.warnings, []);
});

Deno.test("runActs() goes on after an undo that fails, warns of it, and throws the first error", () => {
  const world = new Notes();
  const acts = [note("one", undoes("not one")), note("two", undoes("fail back", "then this")), note("fail")];
  assertEquals(failing(acts, world).message, "fail");
  assertEquals(world.notes, ["one", "two", "fail", "fail back", "then this", "not one"]);
  assertEquals(world.warnings, ["while cleaning up: fail back"]);
});

Deno.test("runActs() leaves an act out, and its undo with it, unless all of its conditions hold", () => {
  const cases: readonly (readonly [readonly Flag[], readonly string[]])[] = [
    [[], ["neither"]],
    [["paused"], ["paused"]],
    [["paused", "has schemas"], ["paused", "both"]],
    [["has schemas"], []],
  ];
  const acts = [
    note("paused", { when: [{ flag: "paused", is: true }], ...undoes("-paused") }),
    note("both", { when: [{ flag: "paused", is: true }, { flag: "has schemas", is: true }], ...undoes("-both") }),
    note("neither", {
      when: [{ flag: "paused", is: false }, { flag: "has schemas", is: false }],
      ...undoes("-neither"),
    }),
  ];
  for (const [flags, expected] of cases) {
    const world = new Notes();
    flags.forEach((flag) => world.flags.add(flag));
    failing([...acts, note("fail")], world);
    assertEquals(world.notes, [...expected, "fail", ...expected.toReversed().map((text) => `-${text}`)]);
  }
});

Deno.test("runActs() looks at a condition when the act's turn comes", () => {
  const world = new Notes({ thaw: () => void world.flags.add("paused") });
  const when = [{ flag: "paused", is: true }] as const;
  run([note("before", { when }), act("find out", "", { verb: "thaw" }), note("after", { when })], world);
  assertEquals(world.notes, ["after"]);
});

Deno.test("an error gets its act's label and field, and its prefixes from the innermost to the outermost", () => {
  const acts = within("outer", [...within("inner", [note("fail", { within: ["own"] })]), note("other")]);
  const { message, step, field, code } = failing(acts, new Notes());
  assertEquals({ message, step, field, code }, {
    message: "outer: inner: own: fail",
    step: "do fail",
    field: "/fail",
    code: "syscall-failed",
  });
});

Deno.test("an error keeps the step and the field that it has, its cause and its other facts", () => {
  const cause = new Error("cause");
  const given = new RuncError("cgroup-failed", "no", {
    step: "a step",
    field: "/a",
    call: "write()",
    errno: 1,
    errnoName: "EPERM",
    hint: "try",
    signal: 15,
    cause,
  });
  const world = new Notes({
    thaw: () => {
      throw given;
    },
  });
  const error = failing([act("thaw", "/other", { verb: "thaw" })], world);
  assertEquals({ ...error }, { ...given });
  assertEquals(error.cause, cause);
});

Deno.test("what is no RuncError is thrown as it is", () => {
  const thrown = new TypeError("a bug");
  const world = new Notes({
    thaw: () => {
      throw thrown;
    },
  });
  const error = assertThrows(() => run([note("one", undoes("not one")), act("thaw", "", { verb: "thaw" })], world));
  assertEquals([error === thrown, world.notes], [true, ["one", "not one"]]);
});

Deno.test("the world explains an error before anything is undone", () => {
  const world = new Notes();
  world.explain = (_, { label }) => {
    world.notes.push(`why ${label}`);
    return { error: new RuncError("step-failed", "out of memory") };
  };
  const acts = within("start", [note("one", undoes("not one")), note("fail")]);
  assertEquals(failing(acts, world).message, "start: out of memory");
  assertEquals(world.notes, ["one", "fail", "why do fail", "not one"]);
});

Deno.test("what was done is taken back, even if the reason of the failure cannot be found out", () => {
  const world = new Notes();
  world.explain = () => {
    throw new RuncError("cgroup-failed", "too many open files");
  };
  const error = failing(within("start", [note("one", undoes("not one")), note("fail")]), world);
  assertMatch(error.message, /^start: /);
  assertEquals(world.notes, ["one", "fail", "not one"]);
});

Deno.test("an explained error may have other prefixes than its act", () => {
  const world = new Notes();
  world.explain = () => ({ error: new RuncError("step-failed", "out of memory"), within: ["inner", "outer"] });
  assertEquals(failing(within("start", [note("fail")]), world).message, "outer: inner: out of memory");
});

Deno.test("a verb that the world does not have is a bug", () => {
  const error = failing([act("thaw", "", { verb: "thaw" })], new Notes());
  assertEquals([error.code, error.message], ["internal", 'nothing here carries out "thaw"']);
});

Deno.test("each act and undo is a span under its label", () => {
  const trace = recorder(new Clock());
  const world = new Notes();
  world.trace = trace;
  failing([note("one", undoes("not one")), note("fail")], world);
  const spans = trace.finish().spans.slice(1).map(({ name, error }) =>
    error === undefined ? name : `${name}: ${error}`
  );
  assertEquals(spans, ["do one", "do fail: fail", "not one"]);
});

// --- the conversation -----------------------------------------------------------------------------------------------

const created = act("wait for init", "/b", { verb: "await", kind: "created", by: "init" });
// A conversation that runActs() makes itself knows no stage: nobody is init, and all messages come early.
const acts: readonly Act[] = [note("begin", undoes("not begin")), created, note("end")];

function hearing(sent: readonly FakeMessage[]): { world: Notes; error: RuncError } {
  const world: Notes = new Notes({
    fail: ({ value }) => world.note(`failed ${value}`),
    died: () => world.note("fail: dead"),
  }, sent);
  return { world, error: failing(acts, world) };
}

Deno.test("messages that come before init is known are disposed of at the end", () => {
  const early = [fakeMessage("created", pids.stranger), fakeMessage("target", pids.init)];
  const { world, error } = hearing(early);
  assertEquals(error.message, "nothing comes");
  assertEquals(early.map(({ disposals }) => disposals), [1, 1]);
  assertEquals(world.notes, ["begin", "not begin"]);
});

Deno.test("too many early messages are refused, and each is disposed of once", () => {
  const early = Array.from({ length: 200 }, () => fakeMessage("target", pids.stranger));
  assertEquals(hearing(early).error.code, "protocol");
  assertEquals(early.map(({ disposals }) => disposals), [...Array(129).fill(1), ...Array(71).fill(0)]);
});

Deno.test("the error of a dead sender names the message that was awaited", () => {
  const { world, error } = hearing([fakeMessage("end", 0)]);
  assertEquals([error.message, error.step, error.field], ["fail: dead", "wait for init", "/b"]);
  assertEquals(world.notes, ["begin", "fail: dead", "not begin"]);
});

Deno.test("an early error that explains the end is reported, and the message is disposed of", () => {
  const told = fakeMessage("error", pids.stranger, { value: 13n });
  const { world } = hearing([told, fakeMessage("end", 0)]);
  assertEquals([world.notes, told.disposals], [["begin", "failed 13", "not begin"], 1]);
});

// --- both drivers ---------------------------------------------------------------------------------------------------

/** Acts that wait, one of which may fail. */
function waiting(last: string): { acts: readonly Act[]; world: Notes } {
  const world: Notes = new Notes({
    thaw: function* () {
      world.note(`ready: ${yield* readable([3])}`);
    },
  });
  return { world, acts: [note("one", undoes("not one")), act("thaw", "", { verb: "thaw" }), note(last)] };
}

Deno.test("both drivers run the same acts, waits and undos in the same order", async () => {
  for (const last of ["two", "fail"]) {
    const [blocking, later] = [waiting(last), waiting(last)];
    const kernel = fakeKernel();
    const first = () => runWaits({ kernel }, runActs(blocking.acts, blocking.world));
    const second = () => runWaitsAsync({ kernel }, runActs(later.acts, later.world));
    if (last === "fail") {
      assertThrows(first, RuncError, "fail");
      await assertRejects(second, RuncError, "fail");
    } else {
      first();
      await second();
    }
    const expected = ["one", "ready: true", last, ...(last === "fail" ? ["not one"] : [])];
    assertEquals([blocking.world.notes, later.world.notes], [expected, expected]);
  }
});

Deno.test("the asynchronous driver lets others work between acts", async () => {
  const world = new Notes();
  const acts = Array.from({ length: 50 }, (_, index) => note(String(index)));
  const calls: string[] = [];
  let isOver = false;
  let turns = 0;
  let nowMs = 0;
  // It goes on by 0.1 ms with each look: after 1 ms others get their turn.
  const clock = Object.defineProperty(performance, "now", { value: () => nowMs += 0.1, configurable: true });
  try {
    const work = runWaitsAsync({ kernel: fakeKernel(calls) }, runActs(acts, world)).finally(() => isOver = true);
    for (; !isOver; turns++) await immediate();
    await work;
  } finally {
    Reflect.deleteProperty(clock, "now");
  }
  assertEquals(world.notes.length, 50);
  assertEquals([turns > 4, calls.includes("usleep")], [true, true]);
});

Deno.test("an interrupted wait ends the acts, which are taken back", () => {
  const world = new Notes({
    thaw: function* () {
      yield* readable([3]);
    },
  });
  const interrupts = {
    fd: 9,
    check: () => {
      throw new RuncError("interrupted", "signal 15", { signal: 15 });
    },
  };
  const kernel = fakeKernel();
  const only9 = {
    ...kernel,
    call: (_: string, table: Uint8Array<ArrayBuffer>) => {
      new DataView(table.buffer).setInt16(table.length - 2, 1, true);
      return 1;
    },
  };
  const acts = [note("one", undoes("not one")), act("thaw", "", { verb: "thaw" })];
  const run = () => runWaits({ kernel: only9 as never, interrupts }, runActs(acts, world));
  assertEquals(assertThrows(run, RuncError).code, "interrupted");
  assertEquals(world.notes, ["one", "not one"]);
});
