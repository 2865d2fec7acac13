import { assertEquals, assertThrows } from "@std/assert";
import { blockIoLimitsV1, blockIoLimitsV2, ioWeight } from "../../../../lib/cgroups/limits/block_io.ts";
import { cpuLimitsV1, cpuLimitsV2, cpusetLimits } from "../../../../lib/cgroups/limits/cpu.ts";
import { cpuWeight } from "../../../../lib/cgroups/limits/cpu_weight.ts";
import type { LimitWrite } from "../../../../lib/cgroups/limits/limit.ts";
import { hasLimits, limitsV1, limitsV2 } from "../../../../lib/cgroups/limits/limits.ts";
import { memoryLimitsV1, memoryLimitsV2 } from "../../../../lib/cgroups/limits/memory.ts";
import { pidsLimits } from "../../../../lib/cgroups/limits/pids.ts";
import { RuncError } from "../../../../lib/errors.ts";
import { hugetlbLimits } from "../../../../lib/cgroups/limits/hugetlb.ts";
import { networkLimits } from "../../../../lib/cgroups/limits/network.ts";
import { rdmaLimits } from "../../../../lib/cgroups/limits/rdma.ts";
import type { BlockIoResources, CpuResources, MemoryResources, Resources } from "../../../../lib/specs/config.ts";

const lines = (writes: readonly LimitWrite[]) =>
  writes.map(({ controller, file, value, tolerate = [], otherwise, againAfter, readBack }) =>
    [
      `${file.replace(`${controller}.`, "")}=${value}`,
      ...(otherwise === undefined ? [] : [`| ${otherwise.file}=${otherwise.value}`]),
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

Deno.test("blockIoLimitsV1() falls back to BFQ's files, and leaves out weights of 0", () => {
  const device = { major: 8, minor: 16 };
  const cases: readonly [blockIO: BlockIoResources, expected: readonly string[]][] = [
    [{}, []],
    [{ weight: 0, leafWeight: 0, weightDevice: [] }, []],
    [{ weight: 500, leafWeight: 300 }, ["weight=500 | blkio.bfq.weight=500", "leaf_weight=300"]],
    [{ weightDevice: [{ ...device, weight: 20, leafWeight: 30 }, { ...device, weight: 0 }] }, [
      "weight_device=8:16 20 | blkio.bfq.weight_device=8:16 20",
      "leaf_weight_device=8:16 30",
    ]],
    [
      {
        throttleWriteIOPSDevice: [{ ...device, rate: 4 }],
        throttleReadIOPSDevice: [{ ...device, rate: 3 }],
        throttleWriteBpsDevice: [{ ...device, rate: 18446744073709551615n }],
        throttleReadBpsDevice: [{ ...device, rate: 1 }, { major: 8, minor: 0, rate: 0 }],
      },
      [
        "throttle.read_bps_device=8:16 1",
        "throttle.read_bps_device=8:0 0",
        "throttle.write_bps_device=8:16 18446744073709551615",
        "throttle.read_iops_device=8:16 3",
        "throttle.write_iops_device=8:16 4",
      ],
    ],
  ];
  for (const [blockIO, expected] of cases) assertEquals(lines(blockIoLimitsV1(blockIO)), expected);
});

Deno.test("blockIoLimitsV2() converts weights where there is no BFQ, and has one file for all rates", () => {
  const device = { major: 8, minor: 0 };
  const cases: readonly [blockIO: BlockIoResources, expected: readonly string[]][] = [
    [{ leafWeight: 500 }, []],
    [{ weight: 10 }, ["bfq.weight=10 | io.weight=1"]],
    [{ weight: 1000, weightDevice: [{ ...device, weight: 20 }] }, [
      "bfq.weight=1000 | io.weight=10000",
      "bfq.weight=8:0 20 !ENOENT",
    ]],
    [
      {
        throttleReadBpsDevice: [{ ...device, rate: 1 }],
        throttleWriteBpsDevice: [{ ...device, rate: 2 }],
        throttleReadIOPSDevice: [{ ...device, rate: 3 }],
        throttleWriteIOPSDevice: [{ ...device, rate: 4 }],
      },
      ["max=8:0 rbps=1", "max=8:0 wbps=2", "max=8:0 riops=3", "max=8:0 wiops=4"],
    ],
  ];
  const shown = (blockIO: BlockIoResources) => lines(blockIoLimitsV2(blockIO));
  for (const [blockIO, expected] of cases) assertEquals(shown(blockIO), expected);
  for (const [weight, expected] of [[10, 1], [100, 910], [500, 4950], [1000, 10000]] as const) {
    assertEquals(ioWeight(weight), expected);
  }
});

Deno.test("hugetlb, network and rdma: one write an entry", () => {
  const hugepageLimits = [{ pageSize: "2MB", limit: 209715200 }, { pageSize: "1GB", limit: 0 }];
  assertEquals(lines(hugetlbLimits(hugepageLimits, "max")), [
    "2MB.max=209715200",
    "2MB.rsvd.max=209715200 !ENOENT",
    "1GB.max=0",
    "1GB.rsvd.max=0 !ENOENT",
  ]);
  assertEquals(lines(hugetlbLimits(hugepageLimits.slice(1), "limit_in_bytes")), [
    "1GB.limit_in_bytes=0",
    "1GB.rsvd.limit_in_bytes=0 !ENOENT",
  ]);
  const priorities = [{ name: "eth0", priority: 500 }, { name: "lo", priority: 0 }];
  assertEquals(lines(networkLimits({ classID: 1048577, priorities })), [
    "classid=1048577",
    "ifpriomap=eth0 500",
    "ifpriomap=lo 0",
  ]);
  assertEquals(lines(networkLimits({ classID: 0 })), []);
  assertEquals(lines(rdmaLimits({ mlx5_1: { hcaHandles: 3, hcaObjects: 10000 }, mlx4_0: { hcaObjects: 0 } })), [
    "max=mlx5_1 hca_handle=3 hca_object=10000",
    "max=mlx4_0 hca_object=0",
  ]);
});

Deno.test("limitsV1() and limitsV2() put the controllers in runc's order", () => {
  const everything: Resources = {
    rdma: { mlx5_0: { hcaHandles: 1 } },
    network: { classID: 1, priorities: [{ name: "lo", priority: 1 }] },
    hugepageLimits: [{ pageSize: "2MB", limit: 1 }],
    blockIO: { weight: 10 },
    pids: { limit: 1 },
    cpu: { shares: 2, cpus: "0" },
    memory: { limit: 1 },
  };
  const controllers = (writes: readonly LimitWrite[]) => [...new Set(writes.map(({ controller }) => controller))];
  const facts = { currentLimit: 0n, swapAccounting: false };
  assertEquals(controllers(limitsV1(everything, facts)), [
    "cpuset",
    "memory",
    "cpu",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "rdma",
  ]);
  assertEquals(controllers(limitsV2(everything)), ["pids", "memory", "io", "cpu", "cpuset", "hugetlb", "rdma"]);
  assertEquals([...limitsV1({}, facts), ...limitsV2({})], []);
});

Deno.test("hasLimits() is true for anything but device rules", () => {
  const cases: readonly [resources: Resources | undefined, expected: boolean][] = [
    [undefined, false],
    [{}, false],
    [{ devices: [{ allow: false, access: "rwm" }] }, false],
    [{ memory: {}, cpu: undefined, hugepageLimits: [], unified: {}, rdma: {} }, false],
    [{ memory: { limit: 1 } }, true],
    [{ cpu: { cpus: "0" } }, true],
    [{ pids: { limit: 0 } }, true],
    [{ blockIO: { weight: 10 } }, true],
    [{ hugepageLimits: [{ pageSize: "2MB", limit: 0 }] }, true],
    [{ network: { classID: 1 } }, true],
    [{ rdma: { mlx5_0: {} } }, true],
    [{ unified: { "memory.high": "1" } }, true],
  ];
  for (const [resources, expected] of cases) assertEquals(hasLimits(resources), expected, JSON.stringify(resources));
});
