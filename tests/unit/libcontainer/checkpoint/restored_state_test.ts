import { assertEquals } from "@std/assert";
import { restoredState } from "../../../../lib/libcontainer/checkpoint/restored_state.ts";
import { state } from "./states.ts";

const facts = { descriptors: ["pipe:[1]", "pipe:[2]", "/dev/null"], isInTimeNamespace: true };

Deno.test("restoredState() lists the time namespace that CRIU has made, once", () => {
  const types = (...args: Parameters<typeof restoredState>) =>
    restoredState(...args).config.namespaces!.map(({ type }) => type);
  const before = state().config.namespaces!.map(({ type }) => type);
  assertEquals(types(state(), facts), [...before, "NEWTIME"]);
  assertEquals(types(state(), { ...facts, isInTimeNamespace: false }), before);
  assertEquals(types(state({ namespaces: [{ type: "NEWTIME" }] }), facts), ["NEWTIME"]);
  assertEquals(types(state({ namespaces: null }), facts), ["NEWTIME"]);
});

Deno.test("restoredState() has the time of the saved container, where it is known", () => {
  const created = "2026-01-02T03:04:05.000000006Z";
  assertEquals(restoredState(state(), { ...facts, created }).created, created);
  assertEquals(restoredState(state(), facts).created, state().created);
});

Deno.test("restoredState() has the new streams, and everything else as it was", () => {
  const { external_descriptors, config: { namespaces: _, ...config }, ...rest } = restoredState(state(), facts);
  assertEquals(external_descriptors, facts.descriptors);
  const { external_descriptors: __, config: { namespaces: ___, ...sameConfig }, ...same } = state();
  assertEquals([rest, config], [same, sameConfig] as unknown as [typeof rest, typeof config]);
});
