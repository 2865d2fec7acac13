/**
 * The files of cgroup v2 controllers: limits and statistics in a directory that has the files of a real cgroup (Linux 6.1), for this
 * suite also runs on hosts that keep their controllers for v1; and the kinds of cgroups on the real cgroup2 mount.
 */

import { assertEquals, assertThrows } from "@std/assert";
import { readCgroupLayout } from "../../lib/cgroups/layout.ts";
import type { CgroupManager } from "../../lib/cgroups/manager.ts";
import { createCgroupManager, loadCgroupManager } from "../../lib/cgroups/open.ts";
import { readStats } from "../../lib/cgroups/stats/stats.ts";
import { RuncError } from "../../lib/errors.ts";
import { Kernel } from "../../lib/ffi/kernel.ts";
import { runWaits, type Waits } from "../../lib/ffi/waits.ts";
import type { Resources } from "../../lib/specs/config.ts";

const recorded: Readonly<Record<string, string>> = {
  "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
  "cgroup.events": "populated 1\nfrozen 0\n",
  "cgroup.procs": "71\n72\n",
  "cpu.idle": "0\n",
  "cpu.max": "max 100000\n",
  "cpu.max.burst": "0\n",
  "cpu.pressure":
    "some avg10=0.12 avg60=0.00 avg300=0.00 total=3000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
  "cpu.stat":
    "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnr_periods 7\nnr_throttled 2\nthrottled_usec 55\nnr_bursts 0\n",
  "cpu.weight": "100\n",
  "cpuset.cpus": "\n",
  "cpuset.mems": "\n",
  "io.max": "",
  "io.stat": "8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n",
  "io.weight": "default 100\n",
  "memory.current": "1048576\n",
  "memory.events": "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n",
  "memory.high": "max\n",
  "memory.low": "0\n",
  "memory.max": "33554432\n",
  "memory.peak": "2097152\n",
  "memory.stat": "anon 40960\nfile 8192\nkernel 1000\n",
  "memory.swap.current": "4096\n",
  "memory.swap.max": "max\n",
  "misc.current": "sev 3\n",
  "misc.events": "sev.max 1\n",
  "pids.current": "2\n",
  "pids.max": "max\n",
  "rdma.current": "mlx5_0 hca_handle=1 hca_object=2\n",
  "rdma.max": "mlx5_0 hca_handle=max hca_object=10\n",
};

const kernel = new Kernel();
/** What `waits` returns. It blocks. */
const run = <Result>(waits: Waits<Result>): Result => runWaits({ kernel }, waits);

interface Tree {
  readonly directory: string;
  readonly manager: CgroupManager;
  readonly read: (file: string) => string;
}

/** Runs `body` with a directory of {@link recorded} files less those in `without`, and a manager for it. */
function withTree(without: readonly string[], body: (tree: Tree) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    for (const [name, text] of Object.entries(recorded)) {
      if (!without.includes(name)) Deno.writeTextFileSync(`${directory}/${name}`, text);
    }
    const manager = loadCgroupManager({ "": directory }, { kernel, rootless: false, inUserNamespace: false });
    body({ directory, manager, read: (file) => Deno.readTextFileSync(`${directory}/${file}`) });
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("v2 files: limits", () => {
  const device = { major: 8, minor: 0 };
  const resources: Resources = {
    memory: { limit: 64 << 20, swap: 96 << 20, reservation: 1 << 20 },
    cpu: { shares: 1024, quota: 5000, burst: 100, idle: 0, cpus: "0-1", mems: "0" },
    pids: { limit: 0 },
    blockIO: {
      weight: 100,
      weightDevice: [{ ...device, weight: 10 }],
      throttleReadBpsDevice: [{ ...device, rate: 1 }],
    },
    rdma: { mlx5_0: { hcaHandles: 3 } },
    unified: { "memory.high": "1000000\n", "cpu.weight": "16" },
  };
  withTree([], ({ manager, read }) => {
    run(manager.set(resources));
    const expected = {
      "memory.max": "67108864",
      "memory.swap.max": "33554432",
      "memory.low": "1048576",
      "memory.high": "1000000",
      "cpu.weight": "16",
      "cpu.max": "5000 100000",
      "cpu.max.burst": "100",
      "cpuset.cpus": "0-1",
      "cpuset.mems": "0",
      "pids.max": "1",
      "io.weight": "910",
      "io.max": "8:0 rbps=1",
      "rdma.max": "mlx5_0 hca_handle=3",
    };
    for (const [file, value] of Object.entries(expected)) assertEquals(read(file), value, file);
  });
});

Deno.test("v2 files: what is refused, and why", () => {
  const cases: readonly (readonly [resources: Resources, message: string | RegExp, without?: readonly string[]])[] = [
    [{ unified: { "../x": "1" } }, 'unified resource "../x" must be a file name (no slashes)'],
    [{ unified: { nothing: "1" } }, 'unified resource "nothing" must be in the form CONTROLLER.PARAMETER'],
    [{ unified: { "gpu.max": "1" } }, 'unified resource "gpu.max" can\'t be set: controller "gpu" not available'],
    [{ unified: { "memory.x": "1" } }, 'unable to set unified resource "memory.x": write "1" to'],
    [{ memory: { limit: 1048576, checkBeforeUpdate: true } }, "rejecting memory limit 1048576 <= usage 1048576"],
    [
      { memory: { limit: 2097152, swap: 5, checkBeforeUpdate: true } },
      "rejecting memory+swap limit 5 <= usage 1048576",
    ],
    [{ memory: { limit: 10, swap: 30 } }, "memory.swap.max: no such file or directory", ["memory.swap.max"]],
    [{ pids: { limit: 1 } }, "pids.max: no such file or directory", ["pids.max"]],
  ];
  for (const [resources, message, without = []] of cases) {
    withTree(without, ({ manager }) => {
      const { message: found } = assertThrows(() => run(manager.set(resources)), RuncError);
      assertEquals(found.includes(String(message)), true, `${found}\ndoes not say\n${message}`);
    });
  }
  // No swap is what a kernel without swap gives.
  withTree(["memory.swap.max"], ({ manager }) => run(manager.set({ memory: { limit: 10, swap: 10 } })));
});

Deno.test("v2 files: statistics", () => {
  withTree([], ({ directory }) => {
    const { cpu, memory, pids, blockIo, rdma, misc, pressure } = readStats({ "": directory }, { tolerant: false });
    assertEquals([cpu.total, cpu.user, cpu.kernel], [1_234_000n, 1_000_000n, 234_000n]);
    assertEquals([cpu.periods, cpu.throttledPeriods, cpu.throttledTime], [7n, 2n, 55_000n]);
    assertEquals([memory.cache, memory.oomKills, memory.raw["anon"]], [8192n, 1n, 40960n]);
    assertEquals(memory.memory, { usage: 1048576n, peak: 2097152n, limit: 33554432n, failures: 0n });
    assertEquals(memory.withSwap, { usage: 1052672n, peak: 0n, limit: 18446744073709551615n, failures: 0n });
    assertEquals(pids, { current: 2n, limit: 0n });
    assertEquals(blockIo.serviced.map(({ op, value }) => `${op} ${value}`), ["Read 2", "Write 1"]);
    assertEquals(rdma.limit, [{ device: "mlx5_0", handles: 4294967295n, objects: 10n }]);
    assertEquals(misc, { sev: { usage: 3n, events: 1n } });
    assertEquals([pressure.cpu?.some.avg10, pressure.memory], [0.12, undefined]);
  });
});

Deno.test("v2 files: statistics without controllers, and with a broken one", () => {
  withTree(["pids.current", "memory.stat", "io.stat"], ({ directory }) => {
    const { memory, pids } = readStats({ "": directory }, { tolerant: false });
    assertEquals([memory.memory.limit, pids], [0n, { current: 2n, limit: 0n }]);
    Deno.writeTextFileSync(`${directory}/cpu.stat`, "broken\n");
    const { message } = assertThrows(() => readStats({ "": directory }, { tolerant: false }), RuncError);
    const why = `unable to parse ${directory}/cpu.stat: line "broken" is not in "key value" format`;
    assertEquals(message, `error while statting cgroup v2: [${why}]`);
    assertEquals(readStats({ "": directory }, { tolerant: true }).cpu.total, 0n);
  });
});

const layout = readCgroupLayout(kernel);
const unified = layout.hierarchies.find(({ controllers }) => controllers.length === 0);

Deno.test({
  name: "v2 (root): a threaded cgroup takes a container without memory, cpu and io limits only",
  ignore: Deno.uid() !== 0 || unified === undefined,
  fn: () => {
    const name = `/runc-deno-test-${Deno.pid}-threaded`;
    const top = `${unified!.mountPoint}${name}`;
    Deno.mkdirSync(`${top}/threads`, { recursive: true });
    try {
      Deno.writeTextFileSync(`${top}/threads/cgroup.type`, "threaded", { create: false });
      const make = () =>
        createCgroupManager(
          { mode: "v2", hierarchies: [unified!] },
          { id: "box", cgroupsPath: `${name}/threads/box` },
          {
            kernel,
            rootless: false,
            inUserNamespace: false,
          },
        );
      const { message } = assertThrows(
        () => run(make().create({ memory: { limit: 1 << 20 } })),
        RuncError,
      );
      const why = `cannot enter cgroupv2 "${top}" with domain controllers -- it is in domain threaded mode`;
      assertEquals(message, why);
      const manager = make();
      run(manager.create({ pids: { limit: 5 } }));
      assertEquals(Deno.readTextFileSync(`${top}/threads/box/cgroup.type`), "threaded\n");
      run(manager.destroy());
    } finally {
      Deno.removeSync(`${top}/threads`);
      Deno.removeSync(top);
    }
  },
});

Deno.test("a cgroup whose processes do not freeze is thawed again", () => {
  withTree([], ({ directory, manager, read }) => {
    Deno.writeTextFileSync(`${directory}/cgroup.freeze`, "0\n");
    // Nobody freezes these: the waits are over at once, so that the test need not wait for the limit.
    const freezing = manager.freeze();
    let wasFrozen = false;
    const frozen = () => {
      let step = freezing.next();
      while (!step.done) {
        const { value } = step;
        step = freezing.next("call" in value ? kernel.call(value.call, ...value.args) : []);
        wasFrozen ||= read("cgroup.freeze") === "1";
      }
    };
    assertThrows(frozen, RuncError, "waiting for the cgroup to freeze");
    assertEquals([wasFrozen, read("cgroup.freeze")], [true, "0"]);
  });
});
