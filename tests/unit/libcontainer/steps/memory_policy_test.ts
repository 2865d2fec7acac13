import { assertEquals } from "@std/assert";
import { memoryPolicySteps } from "../../../../lib/libcontainer/steps/memory_policy.ts";
import { memoryPolicyNumbers } from "../../../../lib/libcontainer/config/memory_policy.ts";
import { personalityDomains, personalitySteps } from "../../../../lib/libcontainer/steps/personality.ts";
import type { MemoryPolicy } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed } from "../../plan_reader.ts";

Deno.test("a memory policy is a mode with flags and a set of nodes", () => {
  const cases: readonly [MemoryPolicy, string][] = [
    [{ mode: "MPOL_DEFAULT", nodes: "" }, "set_mempolicy(0x0, NULL, 1025)"],
    [{ mode: "MPOL_PREFERRED", nodes: "", flags: [] }, "set_mempolicy(0x1, NULL, 1025)"],
    [{ mode: "MPOL_INTERLEAVE", nodes: "0-2" }, "set_mempolicy(0x3, [0,1,2], 1025)"],
    [{ mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] }, "set_mempolicy(0x8002, [0], 1025)"],
    [{ mode: "MPOL_LOCAL", nodes: "" }, "set_mempolicy(0x4, NULL, 1025)"],
    [{ mode: "MPOL_PREFERRED_MANY", nodes: "0,3" }, "set_mempolicy(0x5, [0,3], 1025)"],
    [
      { mode: "MPOL_WEIGHTED_INTERLEAVE", nodes: "9", flags: ["MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"] },
      "set_mempolicy(0x6006, [9], 1025)",
    ],
  ];
  for (const [policy, expected] of cases) {
    assertEquals(callLines(memoryPolicySteps(memoryPolicyNumbers(policy))), [expected]);
  }
  const [call] = callsNamed(memoryPolicySteps({ mode: 2, flags: 0, nodes: [9] }), "set_mempolicy");
  const expected = new Uint8Array(128);
  expected[1] = 2;
  assertEquals(call!.args[1], { data: "bytes", bytes: expected, show: "[9]" });
  assertEquals(memoryPolicySteps(undefined), []);
});

Deno.test("a personality is set where one is asked for, the usual one too", () => {
  const lines = (domain?: number) => callLines(personalitySteps(domain));
  const { LINUX, LINUX32 } = personalityDomains;
  assertEquals([lines(), lines(LINUX), lines(LINUX32)], [[], ["personality(0x0)"], ["personality(0x8)"]]);
});
