import { assert, assertEquals, assertThrows } from "@std/assert";
import { ExecOption, execOptionWords } from "../../../lib/cli/words/known.ts";
import { parse } from "../../../lib/cli/parse.ts";
import { parseSignal } from "../../../lib/cli/words/signal_name.ts";
import { type CommandName, globalOptions, type OptionSpec, specOf } from "../../../lib/cli/table.ts";
import { act } from "../../../lib/libcontainer/plans/parent/act.ts";
import {
  type Controlled,
  deleteActs,
  killActs,
  pauseActs,
  resumeActs,
  startCreatedActs,
} from "../../../lib/libcontainer/plans/parent/control.ts";
import { execActs } from "../../../lib/libcontainer/plans/parent/exec.ts";
import { usualExec } from "../../../lib/libcontainer/plans/parent/known_exec.ts";
import { Trait } from "../../../lib/libcontainer/state/resident.ts";
import type { Op } from "../../../lib/plan/op.ts";
import { execOpsOf } from "../../../tools/snapshot/front/exec.ts";
import { compileFront } from "../../../tools/snapshot/front/front.ts";
import { commandOps, opsOf } from "../../../tools/snapshot/front/verbs.ts";
import { executionNames, executions } from "../libcontainer/parent_plans.ts";
import { options, served, signals } from "../../../tools/snapshot/front/words.ts";

const container: Controlled = { id: "", bundle: "", directory: "", ownsPids: true, hooks: {}, cgroups: [] };
const hooks = [{ path: "/hook" }];

Deno.test("an act that the front cannot carry out is an error when the program is built", () => {
  const wrong = [
    [killActs({ ...container, ownsPids: false }, { signal: 9 }), "the front cannot: kill all processes of the cgroup"],
    [deleteActs({ ...container, rdtGroup: "/g" }, { force: true }), "the front cannot: remove the Intel RDT group"],
    [startCreatedActs({ ...container, hooks: { poststart: hooks } }), "cannot undo: read the exec fifo"],
    [[act("x", "", { verb: "freeze" }, { when: [{ flag: "has schemas", is: true }] })], "whether has schemas"],
  ] as const;
  for (const [acts, message] of wrong) assertThrows(() => opsOf(acts), RangeError, message);
});

Deno.test("a container for which a command has other acts is left to the snapshot", () => {
  /** The traits that are left: the first op of a command. */
  const leftOf = ([first]: readonly Op[]) => first?.op === "and" ? first.right : undefined;
  const { poststartHooks, poststopHooks, sharedPids } = Trait;
  assertEquals(leftOf(commandOps(startCreatedActs)), poststartHooks);
  assertEquals(leftOf(commandOps((each) => killActs(each, { signal: 9 }))), sharedPids);
  assertEquals(leftOf(commandOps((each) => killActs(each, { signal: 15 }))), 0);
  for (const force of [true, false]) {
    assertEquals(leftOf(commandOps((each) => deleteActs(each, { force }))), poststopHooks | sharedPids);
  }
  assertEquals([pauseActs, resumeActs].map((acts) => leftOf(commandOps(acts))), [0, 0]);
});

Deno.test("the front's words mean what they mean to the parser", () => {
  for (const [name, number] of Object.entries(signals)) assertEquals(parseSignal(name), number);
  for (const [name, { option }] of Object.entries(served)) {
    const command = name as CommandName;
    for (const word of option) {
      const parsed = parse([name, word, "box"], () => undefined);
      assertEquals([parsed.kind, parsed.kind === "command" && [...parsed.given].length], ["command", 1], word);
    }
    assertEquals(specOf(command).args.min, 1);
    assertEquals(specOf(command).args.max, { kill: 2, exec: Infinity }[name] ?? 1);
  }
  const types = Object.keys(options).map((name) => (globalOptions as Readonly<Record<string, OptionSpec>>)[name]!.type);
  assertEquals(types, ["string", "string", "string", "bool"]);
});

Deno.test("the front knows of exec what the parser knows", () => {
  for (const [word, kind] of Object.entries(execOptionWords)) {
    const value = kind === ExecOption.flag ? [] : ["1"];
    const parsed = parse(["exec", word, ...value, "box", "true"], () => undefined);
    assertEquals([parsed.kind, parsed.kind === "command" && parsed.args], ["command", ["box", "true"]], word);
  }
});

Deno.test("the usual acts of an exec are carried out, others are an error when the program is built", () => {
  for (const name of executionNames) {
    const acts = execActs(executions[name]);
    if (usualExec(acts) !== undefined) assert(execOpsOf(acts).length > 0, name);
  }
  assertThrows(() => execOpsOf(execActs(executions["user namespace"])), RangeError, "move the stage into the cgroups");
  const listener = execActs(executions["early filter with a listener"]);
  assertThrows(() => execOpsOf(listener), RangeError, "await seccomp of init");
});

Deno.test("the front's code does not depend on where its constants are, except for their addresses", () => {
  const [first, second] = [0x401000, 0x4f0000].map((constants) => compileFront({ constants, zeroed: 0x500000 }));
  assertEquals(first!.rows.length, second!.rows.length);
  assertEquals(first!.constants, second!.constants);
});
