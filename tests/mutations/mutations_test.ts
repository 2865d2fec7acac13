/**
 * What protects the host is taken out, one thing at a time, and a test of the usual ones has to fail, for that reason.
 *
 *     deno test -A tests/mutations/mutations_test.ts
 *     deno test -A tests/mutations/mutations_test.ts -- sealed /proc     those with one of the words in their names
 */

import { assert, assertMatch } from "@std/assert";
import { inLanes } from "../../tools/lanes.ts";
import { checkEdit, type Edit, type Run, Workshop } from "./mutant.ts";
import { type Mutation, mutations } from "./mutations.ts";

const chosen = mutations.filter(({ name }) => Deno.args.length === 0 || Deno.args.some((word) => name.includes(word)));

/** A test of the library runs the code that it imports, so it has to be the copy's. */
async function runTests(
  workshop: Workshop,
  { tests, filter, library, snapshot, patienceMs }: Mutation,
  edits: readonly Edit[],
): Promise<Run> {
  const file = `tests/${tests}`;
  if (library) return await workshop.test("/usr/bin/false", file, filter, { cwd: await workshop.copy(edits) });
  return await workshop.test(await workshop.build(edits, { snapshot }), file, filter, { patienceMs });
}

/** @throws where no test fails, or one for another reason. */
async function notice(workshop: Workshop, mutation: Mutation): Promise<void> {
  const edits = [mutation, ...(mutation.also ?? [])];
  for (const edit of edits) checkEdit(edit);
  const { code, output } = await runTests(workshop, mutation, edits);
  const passed = Number(/ \| (\d+) passed/.exec(output)?.[1]);
  assert(code !== 0, `no test fails: ${passed} passed`);
  assert(/ \| \d+ passed.* \| [1-9]\d* failed/.test(output), `the tests did not run:\n${output}`);
  assertMatch(output, mutation.says);
}

Deno.test({
  name: "a protection that is taken out is missed by a test",
  // Some steps run at the same time.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(test) {
    using workshop = new Workshop();
    await inLanes(chosen, navigator.hardwareConcurrency, (mutation) =>
      test.step({
        name: mutation.name,
        fn: () => notice(workshop, mutation),
        sanitizeOps: false,
        sanitizeResources: false,
        sanitizeExit: false,
      }));
  },
});
