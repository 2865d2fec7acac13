import { assertEquals, assertThrows } from "@std/assert";
import { cpuLimitsV1, cpuLimitsV2, cpusetLimits, cpuWeight } from "../../../lib/cgroups/cpu.ts";
import type { LimitWrite } from "../../../lib/cgroups/limit.ts";
import { memoryLimitsV1, memoryLimitsV2 } from "../../../lib/cgroups/memory.ts";
import { pidsLimits } from "../../../lib/cgroups/pids.ts";
import { RuncError } from "../../../lib/errors.ts";
import type { CpuResources, MemoryResources } from "../../../lib/specs/config.ts";

const lines = (writes: readonly LimitWrite[]) =>
  writes.map(({ controller, file, value, tolerate = [], againAfter, readBack }) =>
    [
      `${file.replace(`${controller}.`, "")}=${value}`,
      ...tolerate.map((name) => `!${name}`),
      ...(againAfter ? ["again"] : []),
      ...(readBack ? ["read"] : []),
    ].join(" ")
  );

Deno.test("memoryLimitsV1() writes what may grow first, and both for no limit", () => {
  const mega = 1n << 20n;
  const cases: readonly [memory: MemoryResources, currentLimit: bigint, expected: readonly string[]][] = [
    [{}, 9n * mega, []],
    [{ limit: 0, swap: 0, reservation: 0 }, 9n * mega, []],
    [{ limit: 10 }, 9n * mega, ["limit_in_bytes=10"]],
    [{ limit: 10, swap: 20 }, 30n, ["limit_in_bytes=10", "memsw.limit_in_bytes=20"]],
    [{ limit: 10, swap: 20 }, 5n, ["memsw.limit_in_bytes=20", "limit_in_bytes=10"]],
    [{ limit: 10, swap: -1 }, 30n, ["memsw.limit_in_bytes=-1", "limit_in_bytes=10"]],
    [{ limit: -1 }, 30n, ["memsw.limit_in_bytes=-1", "limit_in_bytes=-1"]],
    [
      { limit: 9223372036854771712n, reservation: 7, disableOOMKiller: true, swappiness: 0 },
      30n,
      ["limit_in_bytes=9223372036854771712", "soft_limit_in_bytes=7", "oom_control=1", "swappiness=0"],
    ],
  ];
  for (const [memory, currentLimit, expected] of cases) {
    assertEquals(lines(memoryLimitsV1(memory, { currentLimit, swapAccounting: true })), expected);
  }
  assertEquals(lines(memoryLimitsV1({ limit: -1 }, { currentLimit: 1n, swapAccounting: false })), [
    "limit_in_bytes=-1",
  ]);
  assertThrows(
    () => memoryLimitsV1({ swappiness: 101 }, { currentLimit: 1n, swapAccounting: true }),
    RuncError,
    "invalid memory swappiness value: 101 (valid range is 0-100)",
  );
});

Deno.test("memoryLimitsV2() takes the memory from the sum", () => {
  const cases: readonly [memory: MemoryResources, expected: readonly string[]][] = [
    [{}, []],
    [{ limit: 10 }, ["max=10"]],
    [{ limit: -1 }, ["swap.max=max !ENOENT", "max=max"]],
    [{ limit: 10, swap: 30 }, ["swap.max=20", "max=10"]],
    [{ limit: 10, swap: 10 }, ["swap.max=0 !ENOENT", "max=10"]],
    [{ limit: 10, swap: -1, reservation: 5 }, ["swap.max=max !ENOENT", "max=10", "low=5"]],
    [{ swappiness: 5, disableOOMKiller: true }, []],
  ];
  for (const [memory, expected] of cases) assertEquals(lines(memoryLimitsV2(memory)), expected);
  const refused: readonly [memory: MemoryResources, message: string][] = [
    [{ swap: 10 }, "unable to set swap limit without memory limit"],
    [{ limit: 10, swap: 9 }, "memory+swap limit should be >= memory limit"],
  ];
  for (const [memory, message] of refused) assertThrows(() => memoryLimitsV2(memory), RuncError, message);
});

Deno.test("cpuLimitsV1() tries a period and a burst again after the quota", () => {
  const cases: readonly [cpu: CpuResources, expected: readonly string[]][] = [
    [{}, []],
    [{ shares: 0, quota: 0, period: 0 }, []],
    [{ shares: 100 }, ["shares=100 read"]],
    [{ period: 5000 }, ["cfs_period_us=5000"]],
    [{ period: 5000, quota: -1, burst: 0 }, [
      "cfs_period_us=5000 again",
      "cfs_burst_us=0 !ENOENT again",
      "cfs_quota_us=-1",
    ]],
    [{ idle: 1, realtimePeriod: 2, realtimeRuntime: 1 }, ["idle=1", "rt_period_us=2 again", "rt_runtime_us=1"]],
  ];
  for (const [cpu, expected] of cases) assertEquals(lines(cpuLimitsV1(cpu)), expected);
});

Deno.test("cpuLimitsV2() converts shares, and joins quota and period", () => {
  const cases: readonly [cpu: CpuResources, expected: readonly string[]][] = [
    [{}, []],
    [{ shares: 1024, idle: 0 }, ["idle=0", "weight=100"]],
    [{ quota: 5000 }, ["max=5000 100000"]],
    [{ period: 5000 }, ["max=max 5000"]],
    [{ quota: -1, period: 5000, burst: 3 }, ["max.burst=3 again", "max=max 5000"]],
    [{ realtimePeriod: 2, realtimeRuntime: 1 }, []],
  ];
  for (const [cpu, expected] of cases) assertEquals(lines(cpuLimitsV2(cpu)), expected);
  const weights = [[1, 1], [2, 1], [1024, 100], [262144, 10000], [300000, 10000]] as const;
  for (const [shares, weight] of weights) assertEquals(cpuWeight(shares), weight, `${shares}`);
});

Deno.test("cpusetLimits() and pidsLimits() write one file a field", () => {
  assertEquals(lines(cpusetLimits({ cpus: "0-1", mems: "0" })), ["cpus=0-1", "mems=0"]);
  assertEquals(lines(cpusetLimits({ cpus: "", mems: "" })), []);
  const pids = [[undefined, []], [5, ["max=5"]], [0, ["max=1"]], [-1, ["max=max"]]] as const;
  for (const [limit, expected] of pids) assertEquals(lines(pidsLimits({ limit })), [...expected]);
});
