import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { findHook, listHooks, stateAt } from "../../../../lib/libcontainer/inspect/hooks.ts";
import type { Hooks } from "../../../../lib/specs/config.ts";
import { stateOf } from "./fixed.ts";

const hook = (path: string) => ({ path });
const hooks: Hooks = {
  poststop: [hook("/last")],
  prestart: [hook("/first"), hook("/second")],
  createContainer: [hook("/inside")],
  startContainer: [hook("/inside, too")],
};

Deno.test("listHooks() has the hooks in the order in which they run", () => {
  assertEquals(listHooks(hooks).map(({ name, index, path }) => [name, index, path]), [
    ["prestart", 0, "/first"],
    ["prestart", 1, "/second"],
    ["createContainer", 0, "/inside"],
    ["startContainer", 0, "/inside, too"],
    ["poststop", 0, "/last"],
  ]);
});

Deno.test("findHook() finds a hook of the host, and refuses the others with what there is", () => {
  assertEquals(findHook(hooks, "prestart", 1).path, "/second");
  const cases: readonly [name: string, index: number, code: string, hint: RegExp][] = [
    ["prestart", 2, "usage", /it has 2, counted from 0/],
    ["poststart", 0, "usage", /has no poststart hook/],
    ["Prestart", 0, "usage", /one of prestart, /],
    ["createContainer", 0, "unsupported", /runc exec/],
    ["startContainer", 0, "unsupported", /runc exec/],
  ];
  for (const [name, index, code, hint] of cases) {
    const error = assertThrows(() => findHook(hooks, name, index), RuncError);
    assertEquals([error.code, hint.test(error.hint ?? "")], [code, true], `${name} ${index}: ${error.hint}`);
  }
});

Deno.test("stateAt() is what the hook read when it ran: the status of then, the pid unless it was over", () => {
  const state = stateOf({ annotations: { colour: "blue" } });
  const common = { ociVersion: "1.3.0", id: "box", bundle: "/bundle", annotations: { colour: "blue" } };
  assertEquals(stateAt(state, "prestart"), { ...common, status: "creating", pid: 42 });
  assertEquals(stateAt(state, "createRuntime"), { ...common, status: "creating", pid: 42 });
  assertEquals(stateAt(state, "poststart"), { ...common, status: "running", pid: 42 });
  assertEquals(stateAt(state, "poststop"), { ...common, status: "stopped" });
  assertEquals("annotations" in stateAt(stateOf(), "poststop"), false);
});
