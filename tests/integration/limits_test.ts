/** linux.resources on the host's v1 controllers: limits read back, and really enforced. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, comparing, everyone, type TestConfig, until } from "./harness.ts";
import { cgroupsNamed, mounts } from "./leftovers.ts";

type Resources = NonNullable<TestConfig["linux"]["resources"]>;

/** Adds to the usual device rules. */
function limit(config: TestConfig, resources: Resources): void {
  config.linux.resources = { ...config.linux.resources, ...resources };
}

/** The content of a file of the container's cgroup, whichever hierarchy it is in. */
function read(box: Box, file: string): string | undefined {
  for (const directory of cgroupsNamed(box.name)) {
    try {
      return Deno.readTextFileSync(`${directory}/${file}`).trim();
    } catch {
      // Another controller's directory.
    }
  }
}

/** `major:minor` of a disk that this host has: the kernel takes rates for no other. */
function someDisk(): { major: number; minor: number } {
  const [disk] = [...Deno.readDirSync("/sys/block")].map(({ name }) => name).sort();
  assert(disk !== undefined, "this host has no block device");
  const [major = 0, minor = 0] = Deno.readTextFileSync(`/sys/block/${disk}/dev`).trim().split(":").map(Number);
  return { major, minor };
}

comparing("limits are what the kernel then says", (box) => {
  const disk = someDisk();
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    limit(config, {
      memory: { limit: 32 << 20, reservation: 16 << 20, swap: 48 << 20, swappiness: 7, disableOOMKiller: true },
      cpu: { shares: 512, quota: 20000, period: 50000, cpus: "0", mems: "0" },
      pids: { limit: 20 },
      blockIO: {
        throttleReadBpsDevice: [{ ...disk, rate: 1000001 }],
        throttleWriteBpsDevice: [{ ...disk, rate: 1000002 }],
        throttleReadIOPSDevice: [{ ...disk, rate: 103 }],
        throttleWriteIOPSDevice: [{ ...disk, rate: 104 }],
      },
    });
  });
  box.must(["create", box.id]);
  const on = `${disk.major}:${disk.minor}`;
  const files = {
    "memory.limit_in_bytes": "33554432",
    "memory.memsw.limit_in_bytes": "50331648",
    "memory.soft_limit_in_bytes": "16777216",
    "memory.swappiness": "7",
    "memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 0",
    "cpu.shares": "512",
    "cpu.cfs_quota_us": "20000",
    "cpu.cfs_period_us": "50000",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "pids.max": "20",
    "blkio.throttle.read_bps_device": `${on} 1000001`,
    "blkio.throttle.write_bps_device": `${on} 1000002`,
    "blkio.throttle.read_iops_device": `${on} 103`,
    "blkio.throttle.write_iops_device": `${on} 104`,
  };
  for (const [file, value] of Object.entries(files)) assertEquals(read(box, file), value, file);
  box.remove();
}, everyone);

comparing("cgroups above the container's that are new get CPUs and memory nodes too", (box) => {
  const above = `${box.cgroup}/above`;
  box.startSleeping((config) => config.linux.cgroupsPath = `${above}/box`);
  const cpuset = mounts().find(({ line, type }) => type === "cgroup" && /[ ,]cpuset(,|$)/.test(line))!.place;
  const values = [box.cgroup, above, `${above}/box`].map((path) =>
    ["cpuset.cpus", "cpuset.mems"].map((file) => Deno.readTextFileSync(`${cpuset}${path}/${file}`))
  );
  const top = ["cpuset.cpus", "cpuset.mems"].map((file) => Deno.readTextFileSync(`${cpuset}/${file}`));
  assertEquals(values, [top, top, top]);
  box.remove();
  // Whoever asks for a path removes what is above the container's part of it.
  for (const path of cgroupsNamed(box.name)) {
    Deno.removeSync(`${path}/above`);
    Deno.removeSync(path);
  }
}, everyone);

boxTest("a burst and the idle class are set", (box) => {
  box.startSleeping((config) => limit(config, { cpu: { quota: 20000, period: 50000, burst: 10000, idle: 1 } }));
  assertEquals([read(box, "cpu.cfs_burst_us"), read(box, "cpu.idle")], ["10000", "1"]);
  box.remove();
});

comparing("a CPU that the cgroup above does not have is refused", (box) => {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    limit(config, { cpu: { cpus: "900" } });
  });
  const { code, stderr } = box.runc(["create", box.id]);
  assertMatch(stderr, /cpuset\.cpus: (numerical result out of range|invalid argument)/);
  assertEquals(box.containers(), []);
  return code;
}, everyone);

comparing("a limit of a controller that the host does not have is refused", (box) => {
  const isThere = cgroupsNamed("hugetlb").some((directory) => directory.endsWith("/hugetlb"));
  assert(!isThere, "this test is for a host without the v1 hugetlb controller");
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    limit(config, { hugepageLimits: [{ pageSize: "2MB", limit: 0 }] });
  });
  const { code, stderr } = box.runc(["create", box.id]);
  assertMatch(stderr, /cannot set hugetlb limit: container could not join or create cgroup/);
  return code;
}, everyone);

boxTest("limits of the kernel's memory are ignored with a warning", (box) => {
  const { code, stderr } = box.run((config) => limit(config, { memory: { limit: 32 << 20, kernel: 1 << 20 } }));
  assertEquals(code, 0);
  assertMatch(stderr, /Kernel memory settings are ignored and will be removed/);
});

boxTest("a fork beyond the limit of processes is refused", (box) => {
  const { stdout, stderr } = box.run((config) => {
    config.process.args = ["sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo all"];
    limit(config, { pids: { limit: 4 } });
  });
  assert(!stdout.includes("all"), stdout);
  assertMatch(stderr, /can't fork/);
});

boxTest("a process beyond the memory limit is killed", (box) => {
  const { stdout } = box.run((config) => {
    config.process.args = ["sh", "-c", "tail -c 200000000 /dev/zero; echo $?"];
    limit(config, { memory: { limit: 32 << 20 } });
  });
  assertMatch(stdout, /137/);
});

boxTest("a process beyond its CPU time waits", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "while :; do :; done"];
    limit(config, { cpu: { quota: 1000, period: 100000 } });
  });
  box.must(["run", "--detach", box.id]);
  until("a throttled period", () => Number(/^nr_throttled (\d+)$/m.exec(read(box, "cpu.stat") ?? "")?.[1]) > 0);
  box.remove();
});

boxTest("a container that is short of memory before it has started is told apart", (box) => {
  const { msg, code, field } = box.runRefused((config) => {
    config.hooks = { createContainer: [{ path: "/usr/bin/tail", args: ["tail", "-c", "200000000", "/dev/zero"] }] };
    limit(config, { memory: { limit: 16 << 20 } });
  });
  assertEquals(
    msg,
    "runc run failed: unable to start container process: container init was OOM-killed (memory limit too low?)",
  );
  assertEquals([code, field], ["step-failed", "/linux/resources/memory/limit"]);
});
