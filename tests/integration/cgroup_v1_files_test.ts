/**
 * The files of the v1 controllers that few kernels still have: limits and statistics in directories with the files of real cgroups
 * (Linux 5.15), each controller's mounted somewhere of its own.
 */

import { assertEquals, assertThrows } from "@std/assert";
import type { CgroupManager } from "../../lib/cgroups/manager.ts";
import { loadCgroupManager } from "../../lib/cgroups/open.ts";
import { readStats } from "../../lib/cgroups/stats/stats.ts";
import { RuncError } from "../../lib/errors.ts";
import { Kernel } from "../../lib/ffi/kernel.ts";
import { runWaits, type Waits } from "../../lib/ffi/waits.ts";
import type { Resources } from "../../lib/specs/config.ts";

const recorded: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  // Mounted together on most hosts.
  "cpu,cpuacct": {
    "cpu.cfs_burst_us": "0\n",
    "cpu.cfs_period_us": "100000\n",
    "cpu.cfs_quota_us": "-1\n",
    "cpu.shares": "1024\n",
    "cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 2000\n",
    "cpuacct.stat": "user 5\nsystem 2\n",
    "cpuacct.usage": "70000000\n",
    "cpuacct.usage_all": "cpu user system\n0 50000000 20000000\n",
    "cpuacct.usage_percpu": "70000000 \n",
  },
  hugetlb: {
    "hugetlb.2MB.limit_in_bytes": "9223372036852678656\n",
    "hugetlb.2MB.rsvd.limit_in_bytes": "9223372036852678656\n",
    // As kernels before 5.7.
    "hugetlb.1GB.limit_in_bytes": "9223372036854771712\n",
  },
  net_cls: { "net_cls.classid": "0\n" },
  net_prio: { "net_prio.ifpriomap": "lo 0\neth0 0\n" },
  rdma: {
    "rdma.current": "mlx5_0 hca_handle=1 hca_object=20\n",
    "rdma.max": "mlx5_0 hca_handle=max hca_object=max\n",
  },
};

const kernel = new Kernel();
/** What `waits` returns. It blocks. */
const run = <Result>(waits: Waits<Result>): Result => runWaits({ kernel }, waits);

interface Tree {
  readonly paths: Readonly<Record<string, string>>;
  readonly manager: CgroupManager;
  readonly read: (controller: string, file: string) => string;
}

/** Runs `body` with directories of {@link recorded} files, and a manager for them. */
function withTree(body: (tree: Tree) => void): void {
  const top = Deno.makeTempDirSync();
  try {
    const paths: Record<string, string> = {};
    for (const [controllers, files] of Object.entries(recorded)) {
      Deno.mkdirSync(`${top}/${controllers}`);
      for (const controller of controllers.split(",")) paths[controller] = `${top}/${controllers}`;
      for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(`${top}/${controllers}/${name}`, text);
    }
    const manager = loadCgroupManager(paths, { kernel, rootless: false, inUserNamespace: false });
    body({ paths, manager, read: (controller, file) => Deno.readTextFileSync(`${paths[controller]}/${file}`) });
  } finally {
    Deno.removeSync(top, { recursive: true });
  }
}

Deno.test("v1 files: limits", () => {
  const resources: Resources = {
    cpu: { shares: 1024, quota: 20000, period: 50000 },
    hugepageLimits: [{ pageSize: "2MB", limit: 4 << 20 }, { pageSize: "1GB", limit: 0 }],
    network: { classID: 0x100001, priorities: [{ name: "eth0", priority: 5 }] },
    rdma: { mlx5_0: { hcaHandles: 3, hcaObjects: 10000 } },
  };
  const expected: readonly [controller: string, file: string, value: string][] = [
    ["cpuacct", "cpu.shares", "1024"],
    ["cpu", "cpu.cfs_quota_us", "20000"],
    ["cpu", "cpu.cfs_period_us", "50000"],
    ["hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"],
    ["hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304"],
    ["hugetlb", "hugetlb.1GB.limit_in_bytes", "0"],
    ["net_cls", "net_cls.classid", "1048577"],
    ["net_prio", "net_prio.ifpriomap", "eth0 5"],
    ["rdma", "rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"],
  ];
  withTree(({ manager, read }) => {
    run(manager.set(resources));
    for (const [controller, file, value] of expected) assertEquals(read(controller, file), value, file);
  });
});

Deno.test("v1 files: what is refused, and why", () => {
  const cases: readonly (readonly [resources: Resources, message: string])[] = [
    [{ unified: { "memory.high": "1" } }, "invalid configuration: cannot use unified on cgroup v1"],
    [{ pids: { limit: 5 } }, "cannot set pids limit: container could not join or create cgroup"],
    [{ blockIO: { weight: 5 } }, "cannot set blkio limit: container could not join or create cgroup"],
    [{ hugepageLimits: [{ pageSize: "3MB", limit: 1 }] }, "hugetlb.3MB.limit_in_bytes: no such file or directory"],
    [{ memory: { swappiness: 101 } }, "invalid memory swappiness value: 101 (valid range is 0-100)"],
  ];
  for (const [resources, message] of cases) {
    withTree(({ manager }) => {
      const { message: found } = assertThrows(() => run(manager.set(resources)), RuncError);
      assertEquals(found.includes(message), true, `${found}\ndoes not say\n${message}`);
    });
  }
});

Deno.test("v1 files: what was remembered is put back", () => {
  withTree(({ manager, read }) => {
    const resources: Resources = {
      cpu: { shares: 7, quota: 20000, period: 50000 },
      hugepageLimits: [{ pageSize: "2MB", limit: 0 }],
      network: { classID: 9 },
    };
    const back = manager.remember(resources, {});
    run(manager.set(resources));
    run(back());
    assertEquals(
      [
        read("cpu", "cpu.shares"),
        read("cpu", "cpu.cfs_quota_us"),
        read("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes"),
        read("net_cls", "net_cls.classid"),
      ],
      ["1024", "-1", "9223372036852678656", "0"],
    );
  });
});

Deno.test("v1 files: statistics of joined controllers, and of what is not there", () => {
  withTree(({ paths }) => {
    const { version, cpu, rdma, memory, pids } = readStats(paths, { tolerant: false });
    assertEquals([version, memory.memory.usage, pids], [1, 0n, { current: 0n, limit: 0n }]);
    assertEquals(cpu, {
      total: 70000000n,
      user: 50000000n,
      kernel: 20000000n,
      perCpu: [70000000n],
      perCpuUser: [50000000n],
      perCpuKernel: [20000000n],
      periods: 4n,
      throttledPeriods: 3n,
      throttledTime: 2000n,
    });
    assertEquals(rdma, {
      current: [{ device: "mlx5_0", handles: 1n, objects: 20n }],
      limit: [{ device: "mlx5_0", handles: 4294967295n, objects: 4294967295n }],
    });
  });
});
