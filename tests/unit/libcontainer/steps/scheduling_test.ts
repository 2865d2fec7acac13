import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { ioPrioritySteps, schedulerSteps } from "../../../../lib/libcontainer/steps/scheduling.ts";
import type { Scheduler } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, origins, structArg, structHex } from "../../plan_reader.ts";

const attributes = (scheduler: Scheduler) => {
  const [call] = callsNamed(schedulerSteps(scheduler, { hasCpuset: false }), "sched_setattr");
  return structHex(structArg(call!, 1));
};

Deno.test("the scheduler is struct sched_attr of 56 bytes", () => {
  // size, policy, flags (8 bytes), nice, priority, then runtime, deadline, period of 8 bytes each, and two clamps.
  const zeros = (count: number) => Array(count).fill("00000000").join(" ");
  const cases: readonly [Scheduler, string][] = [
    [{ policy: "SCHED_OTHER" }, `38000000 ${zeros(13)}`],
    [{ policy: "SCHED_BATCH", nice: -20 }, `38000000 03000000 ${zeros(2)} ecffffff ${zeros(9)}`],
    [{ policy: "SCHED_FIFO", priority: 99 }, `38000000 01000000 ${zeros(3)} 63000000 ${zeros(8)}`],
    [
      { policy: "SCHED_RR", flags: ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_UTIL_CLAMP_MAX"] },
      `38000000 02000000 41000000 ${zeros(11)}`,
    ],
    [
      { policy: "SCHED_DEADLINE", runtime: 1, deadline: 2, period: 0x1_0000_0003 },
      `38000000 06000000 ${zeros(4)} 01000000 00000000 02000000 00000000 03000000 01000000 ${zeros(2)}`,
    ],
  ];
  for (const [scheduler, expected] of cases) assertEquals(attributes(scheduler), expected, JSON.stringify(scheduler));
  assertEquals(schedulerSteps(undefined, { hasCpuset: true }), []);
});

Deno.test("every policy, flag and class has the kernel's number", () => {
  // include/uapi/linux/sched.h, include/uapi/linux/ioprio.h
  const policies = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
  const word = (scheduler: Scheduler, index: number) =>
    parseInt(attributes(scheduler).split(" ")[index]!.slice(0, 2), 16);
  assertEquals(policies.map((name) => word({ policy: `SCHED_${name}` }, 1)), [0, 1, 2, 3, 4, 5, 6]);
  const flags = ["RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS", "UTIL_CLAMP_MIN"]
    .concat(["UTIL_CLAMP_MAX"]).map((name) => `SCHED_FLAG_${name}`);
  const bits = (flags: string[]) => word({ policy: "SCHED_OTHER", flags }, 2);
  assertEquals(flags.map((flag) => bits([flag])), [0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40]);
  assertEquals(bits(flags), 0x7f);
});

Deno.test("a refused scheduler is put down to the cpuset where there is one", () => {
  const meaning = (hasCpuset: boolean) =>
    callsNamed(schedulerSteps({ policy: "SCHED_DEADLINE" }, { hasCpuset }), "sched_setattr")[0]!.meaning;
  assertEquals(meaning(true)?.EPERM, "process scheduler can't be used together with AllowedCPUs");
  assertEquals(meaning(false), { "*": "error setting scheduler" });
});

Deno.test("a policy or a flag that no kernel has is refused", () => {
  const cases: readonly [Scheduler, message: string, field: string][] = [
    [{ policy: "SCHED_X" }, "invalid scheduler policy: SCHED_X", "/process/scheduler/policy"],
    [{ policy: "toString" }, "invalid scheduler policy: toString", "/process/scheduler/policy"],
    [
      { policy: "SCHED_RR", flags: ["SCHED_FLAG_RECLAIM", "X"] },
      "invalid scheduler flag: X",
      "/process/scheduler/flags/1",
    ],
  ];
  for (const [scheduler, message, field] of cases) {
    const error = assertThrows(() => schedulerSteps(scheduler, { hasCpuset: false }), RuncError);
    assertEquals([error.code, error.message, error.field], ["config-invalid", message, field]);
  }
});

Deno.test("the I/O priority is the class above 13 bits of priority", () => {
  const line = (ioClass: string, priority: number) => callLines(ioPrioritySteps({ class: ioClass, priority }));
  assertEquals(line("IOPRIO_CLASS_RT", 0), ["ioprio_set(1, 0, 8192)"]);
  assertEquals(line("IOPRIO_CLASS_BE", 4), ["ioprio_set(1, 0, 16388)"]);
  assertEquals(line("IOPRIO_CLASS_IDLE", 7), ["ioprio_set(1, 0, 24583)"]);
  assertEquals(ioPrioritySteps(undefined), []);
  assertEquals(origins(ioPrioritySteps({ class: "IOPRIO_CLASS_BE", priority: 4 })), [
    ["set the I/O priority IOPRIO_CLASS_BE 4", "/process/ioPriority"],
  ]);
});
