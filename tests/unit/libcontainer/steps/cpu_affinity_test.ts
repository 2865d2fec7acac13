import { assertEquals } from "@std/assert";
import {
  affinityText,
  finalAffinitySteps,
  initialAffinitySteps,
  maskBytes,
  maskMembers,
  maskWords,
  resetAffinitySteps,
} from "../../../../lib/libcontainer/steps/cpu_affinity.ts";
import type { CpuAffinity } from "../../../../lib/specs/config.ts";
import { callLines, origins } from "../../plan_reader.ts";

Deno.test("a set is 16 words, exact to the last bit, and its bytes are the same words", () => {
  const members = [0, 1, 53, 63, 64, 1023];
  const words = maskWords(members);
  assertEquals([words.length, words[0], words[1], words[15]], [16, (1n << 63n) + (1n << 53n) + 3n, 1, 1n << 63n]);
  assertEquals(maskMembers(words), members);
  const view = new DataView(maskBytes(members).buffer);
  assertEquals(words.map(BigInt), words.map((_, index) => view.getBigUint64(8 * index, true)));
});

Deno.test("a set with larger numbers has as many words as it needs", () => {
  for (const [largest, count] of [[1024, 17], [2000, 32], [65536, 1025]] as const) {
    const members = [0, 63, largest];
    assertEquals([maskWords(members).length, maskBytes(members).length], [count, 8 * count]);
    assertEquals(maskMembers(maskWords(members)), members);
  }
  const [step] = initialAffinitySteps({ initial: "0,2000" });
  assertEquals(callLines([step!]), ["sched_setaffinity(0, 256, [0,2000])"]);
});

Deno.test("the affinity of exec: the first one, every processor where there is none, the last one", () => {
  const all = "sched_setaffinity(0, 128, [all])";
  const first = "sched_setaffinity(0, 128, [0-1])";
  const last = "sched_setaffinity(0, 128, [3])";
  const cases: readonly [affinity: CpuAffinity | undefined, initial: string[], reset: string[], final: string[]][] = [
    [undefined, [], [all], []],
    [{}, [], [all], []],
    [{ initial: "", final: "" }, [], [all], []],
    [{ initial: "0-1" }, [first], [], []],
    [{ final: "3" }, [], [], [last]],
    [{ initial: "0-1", final: "3" }, [first], [], [last]],
  ];
  for (const [affinity, ...expected] of cases) {
    const steps = [
      initialAffinitySteps(affinity),
      resetAffinitySteps(affinity, { processorSetBytes: 128 }),
      finalAffinitySteps(affinity),
    ];
    assertEquals(steps.map(callLines), expected, JSON.stringify(affinity));
  }
  assertEquals(origins([...initialAffinitySteps({ initial: "0" }), ...finalAffinitySteps({ final: "1" })]), [
    ["run on processors 0 at first", "/process/execCPUAffinity/initial"],
    ["run on processors 1", "/process/execCPUAffinity/final"],
  ]);
});

Deno.test("affinityText() is a number of the first 64 processors", () => {
  assertEquals(["0", "0-1,4", "63,64"].map(affinityText), ["0x1", "0x13", "0x8000000000000000"]);
});
