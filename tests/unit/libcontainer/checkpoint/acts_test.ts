import { assertEquals, assertThrows } from "@std/assert";
import { type Act, perform } from "../../../../lib/libcontainer/checkpoint/acts.ts";
import type { Waits } from "../../../../lib/ffi/waits.ts";

/** Runs work whose waits are over at once. */
function run(waits: Waits<void>): void {
  let step = waits.next();
  while (!step.done) step = waits.next([true]);
}

/** Acts that say what they do. The one at `failing` fails; some of them wait. */
function acts(said: string[], failing: number, { undoFails = false } = {}): readonly Act[] {
  const say = (text: string, index: number): Waits<void> | void => {
    const speak = () => {
      said.push(text);
      if (text === `do ${failing}`) throw new Error(`act ${failing}`);
      if (undoFails && text === "undo 1") throw new Error("undo");
    };
    if (index % 2 === 0) return speak();
    return (function* () {
      yield { fds: [0], timeoutMs: -1 };
      speak();
    })();
  };
  return [0, 1, 2, 3].map((index) => ({
    label: `act ${index}`,
    // The third only has something to take back.
    does: index === 2 ? undefined : () => say(`do ${index}`, index),
    undo: index === 0 ? undefined : () => say(`undo ${index}`, index),
  }));
}

Deno.test("perform() does all acts in order", () => {
  const said: string[] = [];
  run(perform(acts(said, -1), () => {}));
  assertEquals(said, ["do 0", "do 1", "do 3"]);
});

Deno.test("perform() takes back what was done, last first, whichever act fails", () => {
  const cases: readonly [failing: number, said: string[]][] = [
    [0, ["do 0"]],
    [1, ["do 0", "do 1", "undo 1"]],
    [3, ["do 0", "do 1", "do 3", "undo 3", "undo 2", "undo 1"]],
  ];
  for (const [failing, wanted] of cases) {
    const said: string[] = [];
    assertThrows(() => run(perform(acts(said, failing), () => {})), Error, `act ${failing}`);
    assertEquals(said, wanted);
  }
});

Deno.test("an undo that fails is logged, and the others follow; the error is that of the act", () => {
  const said: string[] = [];
  const warnings: string[] = [];
  const log = (level: string, message: string) => level === "warning" && warnings.push(message);
  assertThrows(() => run(perform(acts(said, 3, { undoFails: true }), log)), Error, "act 3");
  assertEquals(said.slice(-3), ["undo 3", "undo 2", "undo 1"]);
  assertEquals(warnings, ['while cleaning up after "act 1": undo']);
});
