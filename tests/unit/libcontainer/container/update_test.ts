import { assertEquals } from "@std/assert";
import { updatedLimits } from "../../../../lib/libcontainer/container/update.ts";
import { limitsOf } from "../../../../lib/libcontainer/state/limits_state.ts";
import type { RuncCgroup } from "../../../../lib/libcontainer/state/runc_state.ts";
import { withLimits } from "../../../../lib/libcontainer/state/to_runc_state.ts";
import type { Resources } from "../../../../lib/specs/config.ts";

/** Without fields that are undefined, or objects and lists that are empty after that. */
const compact = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const kept = Object.entries(value).map(([key, inner]) => [key, compact(inner)] as const).filter(([, inner]) =>
    inner !== undefined && (typeof inner !== "object" || inner === null || Object.keys(inner).length > 0)
  );
  return Object.fromEntries(kept);
};

Deno.test("updatedLimits() keeps what is not given, but for what runc forgets", () => {
  const device = { major: 8, minor: 0 };
  const cases: readonly [why: string, stored: Resources, given: Resources, expected: unknown][] = [
    ["memory", { memory: { limit: 1, swap: 2 } }, { memory: { limit: 5 } }, { memory: { limit: 5, swap: 2 } }],
    ["no memory limit is none for both", { memory: { limit: 1, swap: 2 } }, { memory: { limit: -1 } }, {
      memory: { limit: -1, swap: 0 },
    }],
    ["swappiness stays", { memory: { swappiness: 5 } }, {}, { memory: { swappiness: 5 } }],
    ["period alone", { cpu: { quota: 5, period: 6 } }, { cpu: { period: 7 } }, { cpu: { quota: 5, period: 7 } }],
    ["quota alone", { cpu: { quota: 5, period: 6 } }, { cpu: { quota: -1 } }, { cpu: { quota: -1, period: 6 } }],
    ["both", { cpu: { quota: 5, period: 6 } }, { cpu: { quota: 1, period: 2 } }, { cpu: { quota: 1, period: 2 } }],
    ["neither: not set again", { cpu: { quota: 5, period: 6 } }, {}, {}],
    ["idle has no shares", { cpu: { shares: 5 } }, { cpu: { idle: 1 } }, { cpu: { shares: 0, idle: 1 } }],
    ["shares stay", { cpu: { shares: 5, burst: 1, idle: 0, cpus: "0", mems: "0" } }, {}, { cpu: { shares: 5 } }],
    ["pids are forgotten", { pids: { limit: 5 } }, {}, {}],
    ["pids", { pids: { limit: 5 } }, { pids: { limit: 0 } }, { pids: { limit: 0 } }],
    ["unified", { unified: { a: "1" } }, { unified: { b: "2" } }, { unified: { b: "2" } }],
    [
      "rates by device",
      { blockIO: { throttleReadBpsDevice: [{ ...device, rate: 1 }, { ...device, rate: 2 }] } },
      { blockIO: { throttleReadBpsDevice: [{ ...device, rate: 3 }, { major: 9, minor: 0, rate: 4 }] } },
      {
        blockIO: {
          throttleReadBpsDevice: [{ ...device, rate: 1 }, { ...device, rate: 3 }, { major: 9, minor: 0, rate: 4 }],
        },
      },
    ],
    [
      "weights by device",
      { blockIO: { weightDevice: [{ ...device, weight: 10, leafWeight: 20 }] } },
      { blockIO: { weightDevice: [{ ...device, weight: 30 }, { major: 9, minor: 0, leafWeight: 5 }] } },
      {
        blockIO: {
          weightDevice: [{ ...device, weight: 30, leafWeight: 20 }, { major: 9, minor: 0, weight: 0, leafWeight: 5 }],
        },
      },
    ],
    [
      "huge pages, network and rdma stay",
      {
        hugepageLimits: [{ pageSize: "2MB", limit: 1 }],
        network: { classID: 1 },
        rdma: { mlx: { hcaHandles: 1 } },
      },
      {},
      {
        hugepageLimits: [{ pageSize: "2MB", limit: 1 }],
        network: { classID: 1 },
        rdma: { mlx: { hcaHandles: 1 } },
      },
    ],
  ];
  for (const [why, stored, given, expected] of cases) {
    const { memory: { checkBeforeUpdate: _, ...memory } = {}, ...rest } = updatedLimits(stored, given);
    assertEquals(compact({ ...rest, memory }), compact(expected), why);
  }
});

Deno.test("updatedLimits() checks before an update only where that update asks", () => {
  const check = (stored?: boolean, given?: boolean) =>
    updatedLimits({ memory: { checkBeforeUpdate: stored } }, { memory: { checkBeforeUpdate: given } }).memory
      ?.checkBeforeUpdate;
  assertEquals([check(true), check(false, true), check()], [false, true, false]);
});

Deno.test("limits survive the way into state.json and back", () => {
  const device = { major: 8, minor: 0 };
  const resources: Resources = {
    memory: { limit: 9007199254740993n, reservation: 2, swap: -1, swappiness: 0, disableOOMKiller: true },
    cpu: {
      shares: 3,
      quota: 4,
      burst: 0,
      period: 5,
      realtimeRuntime: 6,
      realtimePeriod: 7,
      cpus: "0",
      mems: "0",
      idle: 0,
    },
    pids: { limit: 0 },
    blockIO: {
      weight: 10,
      leafWeight: 11,
      weightDevice: [{ ...device, weight: 1, leafWeight: 2 }],
      throttleReadBpsDevice: [{ ...device, rate: 3 }],
      throttleWriteBpsDevice: [{ ...device, rate: 4 }],
      throttleReadIOPSDevice: [{ ...device, rate: 5 }],
      throttleWriteIOPSDevice: [{ ...device, rate: 6 }],
    },
    hugepageLimits: [{ pageSize: "2MB", limit: 1 }],
    network: { classID: 5, priorities: [{ name: "lo", priority: 6 }] },
    rdma: { mlx: { hcaHandles: 0, hcaObjects: 8 } },
    unified: { "memory.high": "max" },
  };
  const cgroup: RuncCgroup = { path: "/a", devices: [], Systemd: true };
  const written = withLimits(cgroup, resources);
  assertEquals([written.path, written.Systemd, written.cpu_weight], ["/a", true, 2]);
  assertEquals(compact(limitsOf({ config: { cgroups: written } })), compact(resources));
  // A file of runc 1.1 has zeros and null in their place.
  const old = { memory: 0, pids_limit: 0, cpu_burst: null, blkio_weight_device: null, rdma: null, unified: null };
  assertEquals(compact(limitsOf({ config: { cgroups: old } })), { memory: { limit: 0 }, pids: { limit: 0 } });
});
