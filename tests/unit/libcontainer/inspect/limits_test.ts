import { assertEquals } from "@std/assert";
import { limitFilesToRead, limitFindings } from "../../../../lib/libcontainer/inspect/limits.ts";
import type { CgroupView } from "../../../../lib/libcontainer/inspect/kernel_view.ts";
import type { RuncState } from "../../../../lib/libcontainer/state/runc_state.ts";
import type { Resources } from "../../../../lib/specs/config.ts";
import { named, stateOf, viewOf } from "./fixed.ts";

const v1Paths = Object.fromEntries(
  ["memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_prio"].map((
    name,
  ) => [name, `/sys/fs/cgroup/${name}/box`]),
);
const v2Paths = { "": "/sys/fs/cgroup/box" };

function limits(
  resources: Resources,
  files: Readonly<Record<string, string>>,
  { paths = v1Paths, ceilings = {} }: Partial<CgroupView> = {},
) {
  const found = limitFindings(
    stateOf({ linux: { resources } }, paths),
    viewOf({}, { cgroups: { paths, entered: {}, files, ceilings } }),
  );
  return (name: string) => {
    const { config, kernel, verdict, note } = named(found, name);
    return [config, kernel, verdict, note];
  };
}

const ROUNDED = "rounded down to whole pages";

Deno.test("v1: what was written, beside what is in the files", () => {
  const told = limits({
    memory: { limit: 100_000_001, reservation: -1, disableOOMKiller: true },
    cpu: { shares: 512, quota: -1, cpus: "0-1,3" },
    pids: { limit: 20 },
    hugepageLimits: [{ pageSize: "2MB", limit: 4_194_304 }],
  }, {
    "memory/memory.limit_in_bytes": "99999744\n",
    "memory/memory.soft_limit_in_bytes": "9223372036854771712\n",
    "memory/memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n",
    "cpu/cpu.shares": "600\n",
    "cpu/cpu.cfs_quota_us": "-1\n",
    "cpuset/cpuset.cpus": "0,1,3\n",
    "pids/pids.max": "max\n",
    "hugetlb/hugetlb.2MB.limit_in_bytes": "4194304\n",
  });
  assertEquals(told("memory.limit_in_bytes"), ["100000001", "99999744", "same", ROUNDED]);
  assertEquals(told("memory.soft_limit_in_bytes"), ["-1", "9223372036854771712", "same", undefined]);
  assertEquals(told("memory.oom_control"), ["1", "1", "same", undefined]);
  assertEquals(told("cpu.shares"), ["512", "600", "different", undefined]);
  assertEquals(told("cpu.cfs_quota_us"), ["-1", "-1", "same", undefined]);
  assertEquals(told("cpuset.cpus"), ["0-1,3", "0,1,3", "same", undefined]);
  assertEquals(told("pids.max"), ["20", "max", "different", undefined]);
  assertEquals(told("hugetlb.2MB.limit_in_bytes"), ["4194304", "4194304", "same", undefined]);
  assertEquals(told("hugetlb.2MB.rsvd.limit_in_bytes"), [
    "4194304",
    undefined,
    "unknown",
    "the kernel has no such file for this cgroup",
  ]);
});

Deno.test("a memory limit that is more than a page away is another limit", () => {
  const memory = (wanted: number, shown: string) =>
    limits({ memory: { limit: wanted } }, { "memory/memory.limit_in_bytes": shown })("memory.limit_in_bytes")[2];
  assertEquals(memory(1_000_000, "999424\n"), "same");
  assertEquals(memory(1_000_000, "1003520\n"), "different", "more than was written");
  assertEquals(memory(1_000_000, "900000\n"), "different");
  assertEquals(memory(-1, "1000000\n"), "different");
});

Deno.test("files with an entry for each device are compared by the entry", () => {
  const device = { major: 8, minor: 0 };
  const told = limits({
    blockIO: {
      weight: 100,
      throttleReadBpsDevice: [{ ...device, rate: 1000 }],
      throttleWriteBpsDevice: [{ ...device, rate: 2000 }],
      throttleReadIOPSDevice: [{ ...device, rate: 0 }],
    },
    network: { priorities: [{ name: "eth0", priority: 5 }] },
  }, {
    "blkio/blkio.bfq.weight": "100\n",
    "blkio/blkio.throttle.read_bps_device": "7:0 5\n8:0 1000\n",
    "blkio/blkio.throttle.write_bps_device": "80:0 2000\n",
    "blkio/blkio.throttle.read_iops_device": "\n",
    "net_prio/net_prio.ifpriomap": "lo 0\neth0 5\n",
  });
  assertEquals(told("blkio.bfq.weight"), ["100", "100", "same", undefined], "the file that the kernel has");
  assertEquals(told("blkio.throttle.read_bps_device"), ["8:0 1000", "8:0 1000", "same", undefined]);
  assertEquals(told("blkio.throttle.write_bps_device"), ["8:0 2000", "no entry", "different", undefined]);
  assertEquals(told("blkio.throttle.read_iops_device"), ["8:0 0", "no entry", "same", undefined]);
  assertEquals(told("net_prio.ifpriomap"), ["eth0 5", "eth0 5", "same", undefined]);
});

Deno.test("v2: the files have other names, and unified is compared by its lines", () => {
  const told = limits({
    memory: { limit: 1_048_576, swap: 2_097_152 },
    cpu: { quota: 50_000, period: 100_000 },
    blockIO: { weight: 10, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1000 }] },
    unified: { "memory.high": "max\n", "cpu.uclamp.min": "10" },
  }, {
    "memory/memory.max": "1048576\n",
    "memory/memory.swap.max": "1048576\n",
    "cpu/cpu.max": "max 100000\n",
    "io/io.weight": "default 1\n8:0 5\n",
    "io/io.max": "8:0 rbps=1000 wbps=max riops=max wiops=max\n",
    "memory/memory.high": "max\n",
    "cpu/cpu.uclamp.min": "0.00\n",
    "pids/pids.max": "max\n",
  }, { paths: v2Paths });
  assertEquals(told("memory.max"), ["1048576", "1048576", "same", undefined]);
  assertEquals(told("memory.swap.max"), ["1048576", "1048576", "same", undefined]);
  assertEquals(told("cpu.max"), ["50000 100000", "max 100000", "different", undefined]);
  assertEquals(told("io.weight"), ["1", "1", "same", undefined]);
  assertEquals(told("io.max"), [
    "8:0 rbps=1000",
    "8:0 rbps=1000 wbps=max riops=max wiops=max",
    "same",
    undefined,
  ]);
  assertEquals(told("memory.high"), ["max", "max", "same", undefined]);
  assertEquals(told("cpu.uclamp.min"), ["10", "0.00", "different", undefined]);
  assertEquals(told("pids.max"), [undefined, "max", "unset", undefined]);
});

Deno.test("a lower limit above the container's cgroup is told, a higher one is not", () => {
  const ceiling = (value: string) =>
    limits({ memory: { limit: 1_048_576 } }, {
      "memory/memory.limit_in_bytes": "1048576\n",
      "pids/pids.max": "max\n",
    }, {
      ceilings: {
        "memory/memory.limit_in_bytes": { directory: "/above", value },
        "pids/pids.max": { directory: "/above", value },
      },
    });
  assertEquals(ceiling("4096")("memory.limit_in_bytes")[3], "/above allows only 4096");
  assertEquals(ceiling("4096")("pids.max"), [undefined, "max", "unset", "/above allows only 4096"]);
  assertEquals(ceiling("2097152")("memory.limit_in_bytes")[3], undefined);
  assertEquals(ceiling("max")("pids.max")[3], undefined);
});

Deno.test("without a cgroup of the controller, a limit is unknown", () => {
  const [, , verdict, note] = limits({ pids: { limit: 5 } }, {}, { paths: {} })("pids.max");
  assertEquals([verdict, note], ["unknown", "the container has no cgroup of pids"]);
});

Deno.test("0 is no limit of pids in a state of runc 1.1, which writes all limits, and 1 in any other", () => {
  const state = stateOf({ linux: { resources: { pids: { limit: 0 } } } }, v1Paths);
  const old = { ...state, config: { ...state.config, cgroups: { ...state.config.cgroups, memory: 0 } } } as RuncState;
  const view = viewOf({}, {
    cgroups: { paths: v1Paths, entered: {}, files: { "pids/pids.max": "max\n" }, ceilings: {} },
  });
  assertEquals(named(limitFindings(state, view), "pids.max").config, "1");
  assertEquals(named(limitFindings(old, view), "pids.max").verdict, "unset");
});

Deno.test("every file that is compared is read", () => {
  const blockIO = { weight: 100 };
  const names = (paths: Readonly<Record<string, string>>) =>
    limitFilesToRead(stateOf({ linux: { resources: { blockIO } } }, paths), paths).map(({ file }) => file);
  assertEquals(names(v1Paths).slice(0, 3), ["blkio.weight", "blkio.bfq.weight", "memory.limit_in_bytes"]);
  assertEquals(names(v2Paths).slice(0, 3), ["io.bfq.weight", "io.weight", "memory.max"]);
});
