/** linux.resources on the host's v1 controllers: limits read back, and really enforced. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boxTest, comparing, everyone } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

comparing("limits are what the kernel then says", (box) => {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.resources = {
      ...config.linux.resources,
      memory: { limit: 32 << 20, reservation: 16 << 20 },
      cpu: { shares: 512, quota: 20000, period: 50000, cpus: "0", mems: "0" },
      pids: { limit: 20 },
    };
  });
  box.must(["create", box.id]);
  const directories = cgroupsNamed(box.name);
  const read = (file: string) => {
    for (const directory of directories) {
      try {
        return Deno.readTextFileSync(`${directory}/${file}`).trim();
      } catch {
        // Another controller's directory.
      }
    }
  };
  const files = [
    ["memory.limit_in_bytes", "33554432"],
    ["memory.soft_limit_in_bytes", "16777216"],
    ["cpu.shares", "512"],
    ["cpu.cfs_quota_us", "20000"],
    ["cpu.cfs_period_us", "50000"],
    ["cpuset.cpus", "0"],
    ["cpuset.mems", "0"],
    ["pids.max", "20"],
  ] as const;
  for (const [file, value] of files) assertEquals(read(file), value, file);
  box.remove();
}, everyone);

boxTest("a fork beyond the limit of processes is refused", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & echo all"];
    config.linux.resources = { ...config.linux.resources, pids: { limit: 4 } };
  });
  const { stdout, stderr } = box.runc(["run", box.id]);
  assert(!stdout.includes("all"), stdout);
  assertMatch(stderr, /can't fork/);
});

boxTest("a process beyond the memory limit is killed", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "tail -c 200000000 /dev/zero; echo $?"];
    config.linux.resources = { ...config.linux.resources, memory: { limit: 32 << 20 } };
  });
  assertMatch(box.runc(["run", box.id]).stdout, /137/);
});
