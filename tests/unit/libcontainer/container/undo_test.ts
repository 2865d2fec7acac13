import { assertEquals, assertThrows } from "@std/assert";
import { Undo } from "../../../../lib/libcontainer/container/undo.ts";

/** An `Undo` whose undos and warnings are written down, in order. */
function recorded(): { undo: Undo; events: string[]; note: (event: string) => () => void } {
  const events: string[] = [];
  const undo = new Undo((level, message) => events.push(`${level}: ${message}`));
  return { undo, events, note: (event) => () => void events.push(event) };
}

function fail(message: string): () => void {
  return () => {
    throw new Error(message);
  };
}

Deno.test("Undo undoes what was done last first, and once", () => {
  const { undo, events, note } = recorded();
  undo.defer(note("first"));
  undo.defer(note("second"));
  undo[Symbol.dispose]();
  undo[Symbol.dispose]();
  assertEquals(events, ["second", "first"]);
});

Deno.test("Undo goes on after an undo that fails, and each failure is a warning", () => {
  const { undo, events, note } = recorded();
  undo.defer(note("first"));
  undo.defer(fail("busy"));
  undo.defer(note("third"));
  undo.defer(fail("gone"));
  undo[Symbol.dispose]();
  assertEquals(events, ["warning: while cleaning up: gone", "third", "warning: while cleaning up: busy", "first"]);
});

Deno.test("Undo.place() undoes what is made later after what was made meanwhile", () => {
  const { undo, events, note } = recorded();
  undo.defer(note("remove the directory"));
  const groups = undo.place();
  undo.defer(note("end the processes"));
  groups.defer(note("remove the cgroup"));
  groups.defer(fail("busy"));
  groups.defer(note("remove the resctrl group"));
  undo[Symbol.dispose]();
  assertEquals(events, [
    "end the processes",
    "remove the resctrl group",
    "warning: while cleaning up: busy",
    "remove the cgroup",
    "remove the directory",
  ]);
});

Deno.test("Undo.keep() undoes nothing, neither in its places", () => {
  const { undo, events, note } = recorded();
  undo.defer(note("first"));
  undo.place().defer(note("second"));
  undo.keep();
  undo[Symbol.dispose]();
  assertEquals(events, []);
});

Deno.test("Undo reports the error that led here, whatever fails on the way back", () => {
  const { undo, events } = recorded();
  assertThrows(
    () => {
      using way = undo;
      way.defer(fail("busy"));
      throw new RangeError("no room");
    },
    RangeError,
    "no room",
  );
  assertEquals(events, ["warning: while cleaning up: busy"]);
});
