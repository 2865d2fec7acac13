import { assertEquals } from "@std/assert";
import type { Spec } from "../../../../lib/libcontainer/container/bundle.ts";
import { creatingState, neverStartedState, writeHookStates } from "../../../../lib/libcontainer/container/new_state.ts";
import type { HookStateFiles } from "../../../../lib/libcontainer/container/stage_descriptors.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import type { State } from "../../../../lib/specs/state.ts";

function optionsOf(config: Partial<Config>): { id: string; spec: Spec } {
  return { id: "a", spec: { bundle: "/bundle", config } as Spec };
}

Deno.test("creatingState() has the annotations only where there are some", () => {
  const state = { ociVersion: "1.3.0", id: "a", status: "creating", pid: 7, bundle: "/bundle" } as const;
  assertEquals(creatingState(optionsOf({}), 7), state);
  assertEquals(creatingState(optionsOf({ annotations: {} }), 7), state);
  const annotations = { "org.example": "1" };
  assertEquals(creatingState(optionsOf({ annotations }), 7), { ...state, annotations });
});

Deno.test("neverStartedState() is stopped, and has no pid", () => {
  const state = { ociVersion: "1.3.0", id: "a", status: "stopped", bundle: "/bundle" } as const;
  assertEquals(neverStartedState(optionsOf({})), state);
});

for (const [kind, namespaces, pid] of [["its own", [{ type: "pid" }], 1], ["the host's", [], 7]] as const) {
  Deno.test(`writeHookStates() tells hooks in the container init's pid in ${kind} pid namespace`, () => {
    const written: Record<string, State> = {};
    const fileOf = (name: string) => ({ write: (state: State) => void (written[name] = state) });
    const files = {
      createContainer: fileOf("createContainer"),
      startContainer: fileOf("startContainer"),
    } as unknown as HookStateFiles;
    const config = { linux: { namespaces } } as unknown as Config;
    const state = creatingState(optionsOf(config), 7);
    writeHookStates(files, state, config);
    assertEquals(written, {
      createContainer: { ...state, pid, status: "creating" },
      startContainer: { ...state, pid, status: "created" },
    });
  });
}
