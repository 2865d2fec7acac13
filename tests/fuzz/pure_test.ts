/**
 * Some inputs for each target. The seed is fixed, so that a change of the program is what makes a test fail, and chance is not:
 * inputs of other seeds are for `deno task fuzz`. What that finds becomes a unit test with the input's own name.
 */

import { assert, assertEquals } from "@std/assert";
import { inputsOf } from "./fuzz.ts";
import { kindOf } from "./pure.ts";
import { runPure } from "./run_pure.ts";
import { targets } from "./targets/targets.ts";

const SEED = 1;
/** About a minute of work for one processor. */
const INPUTS = 100_000;

const counts = inputsOf(targets.map(({ name }) => name), INPUTS);

for (const { name } of targets) {
  const inputs = counts.get(name)!;
  Deno.test(`${name}: ${inputs} inputs of seed ${SEED} are taken or refused`, async () => {
    const { taken, refused, faults } = await runPure({
      target: name,
      seed: SEED,
      from: 0,
      to: inputs,
      limitMs: Infinity,
    });
    const again = (seed: number, index: number) => `deno task fuzz ${name} --seed ${seed} --inputs ${index + 1}`;
    assertEquals(faults.map((fault) => `${again(fault.seed, fault.index)}\n${kindOf(fault)}`), []);
    assertEquals(taken + refused, inputs);
    // Or the inputs are too wrong to say anything.
    assert(taken > inputs / 100, `only ${taken} of ${inputs} are taken`);
  });
}
