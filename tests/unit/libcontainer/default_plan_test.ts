/** The default config's plan as a whole: its text, and the size of its image. */

import { assert, assertEquals } from "@std/assert";
import text from "../../fixtures/default_plan.txt" with { type: "text" };
import svg from "../../../docs/actors.svg" with { type: "text" };
import { defaultPlanPicture, defaultPlanText } from "../../fixtures/default_plan.ts";
import { planCreate } from "../../../lib/libcontainer/plans/create.ts";
import { encode } from "../../../lib/plan/native/encode.ts";
import { descriptorsOf } from "../plan_reader.ts";
import { config, facts, request } from "./fixed.ts";

Deno.test("the default config's plan is default_plan.txt (meant to be another? run tests/fixtures/default_plan.ts)", () => {
  // Two texts of 600 lines: the lines that differ say enough.
  const [found, wanted] = [defaultPlanText().split("\n"), text.split("\n")];
  const first = wanted.findIndex((line, index) => line !== found[index]);
  const around = (lines: readonly string[]) => first < 0 ? [] : lines.slice(Math.max(first - 3, 0), first + 10);
  assertEquals(around(found), around(wanted), `line ${first + 1}`);
  assertEquals(found.length, wanted.length);
});

Deno.test("docs/actors.svg is the picture of that plan", () => {
  assertEquals(defaultPlanPicture(), svg);
});

Deno.test("the text of a plan does not depend on when or how often it is made", () => {
  assertEquals(defaultPlanText(), defaultPlanText());
});

for (const arch of ["x86_64", "aarch64"] as const) {
  Deno.test(`the ${arch} image of the default config on a host with nine hierarchies has at most 12 KiB`, () => {
    assertEquals(facts.cgroupMounts.length, 9);
    const plan = planCreate(config(), { ...facts, arch }, request);
    const { image } = encode(plan, { arch, fds: descriptorsOf(plan) });
    assert(image.length <= 12 * 1024, `${image.length} bytes`);
  });
}
