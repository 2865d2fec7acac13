/** `runc update` on the host's v1 controllers. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, comparing, everyone } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

/** Files of the container's cgroup, whichever hierarchy they are in. */
function readFiles(box: Box): Readonly<Record<string, string>> {
  const names = [
    "memory.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpuset.cpus",
    "pids.max",
  ];
  return Object.fromEntries(names.map((name) => [name, read(box, name)]));
}

function read(box: Box, name: string): string {
  for (const directory of cgroupsNamed(box.name)) {
    try {
      return Deno.readTextFileSync(`${directory}/${name}`).trim();
    } catch {
      // Another controller's directory.
    }
  }
  throw new Error(`${name} is nowhere`);
}

function start(box: Box): void {
  box.startSleeping((config) => {
    config.linux.resources = {
      ...config.linux.resources,
      memory: { limit: 32 << 20, reservation: 16 << 20 },
      cpu: { shares: 100, quota: 500000, period: 1000000 },
      pids: { limit: 20 },
    };
  });
}

/** The limits in state.json: what the next update starts from. Those of 0 and null are what newer versions leave out. */
function stored(box: Box): Readonly<Record<string, unknown>> {
  const { config } = JSON.parse(Deno.readTextFileSync(`${box.root}/${box.id}/state.json`));
  const kept = Object.entries(config.cgroups as Record<string, unknown>).filter(([name, value]) =>
    /^(memory|cpu|cpuset|pids)(_|$)/.test(name) && value !== 0 && value !== null && value !== "" && value !== false
  );
  return Object.fromEntries(kept.sort());
}

const json = JSON.stringify({
  memory: { limit: 40 << 20, reservation: 24 << 20 },
  cpu: { shares: 200, quota: 400000, period: 900000, cpus: "0" },
  pids: { limit: 30 },
});

comparing("update changes what is given, by options and by JSON", (box) => {
  start(box);
  const steps: readonly (readonly [args: readonly string[], stdin?: string])[] = [
    [["--memory", "64M", "--memory-swap", "96M"]],
    [["--memory", "50m", "--memory-reservation", "33554432"]],
    [["--memory-swap", "-1"]],
    [["--memory", "-1"]],
    [["--pids-limit", "10"]],
    [["--pids-limit", "-1"]],
    [["--cpu-period", "900000"]],
    [["--cpu-quota", "600000"]],
    [["--cpu-quota", "-1", "--cpu-share", "300"]],
    [["--cpuset-cpus", "0"]],
    [["--resources", "-"], json],
    [["--memory", "30M", "--pids-limit", "40", "-r", "-"], json],
  ];
  const observed = steps.map(([args, stdin]) => {
    box.must(["update", ...args, box.id], { stdin });
    return { args, files: readFiles(box) };
  });
  box.remove();
  return observed;
}, everyone);

boxTest("update keeps in the state what it does not change", (box) => {
  start(box);
  const initial = { cpu_shares: 100, cpu_weight: 17, memory_reservation: 16 << 20 };
  const quota = { cpu_period: 1000000, cpu_quota: 500000 };
  assertEquals(stored(box), { ...initial, ...quota, memory: 32 << 20, pids_limit: 20 });
  box.must(["update", "--memory", "64M", box.id]);
  // What was not given is not set again: as in runc, a quota and a limit of pids are then forgotten.
  assertEquals(stored(box), { ...initial, memory: 64 << 20 });
  box.must(["update", "--cpu-quota", "7000", "--pids-limit", "5", box.id]);
  assertEquals(stored(box), { ...initial, memory: 64 << 20, cpu_quota: 7000, pids_limit: 5 });
  // Debian's runc 1.1.5 takes 0 for no limit.
  box.must(["update", "--pids-limit", "0", box.id]);
  assertEquals(read(box, "pids.max"), "1");
  box.remove();
});

boxTest("update sets everything back when the kernel refuses something", (box) => {
  start(box);
  const [files, state] = [readFiles(box), stored(box)];
  // The memory limit is set before the quota, which no period can have.
  const { msg, errno } = box.refused(["update", "--memory", "64M", "--pids-limit", "30", "--cpu-quota", "7", box.id]);
  assertMatch(msg, /cpu\.cfs_quota_us: invalid argument/);
  assertEquals(errno, "EINVAL");
  assertEquals([readFiles(box), stored(box)], [files, state]);
  box.remove();
});

boxTest("update tells what is in use where a memory limit is too low", (box) => {
  start(box);
  const { msg } = box.refused(["update", "--memory", "4096", box.id]);
  assertMatch(msg, /^unable to set memory limit to 4096 \(current usage: \d+, peak usage: \d+\)$/);
  box.remove();
});

boxTest("update leaves device rules alone, and a paused container paused", (box) => {
  start(box);
  const devices = cgroupsNamed(box.name).find((directory) => directory.startsWith("/sys/fs/cgroup/devices/"));
  assert(devices !== undefined);
  Deno.writeTextFileSync(`${devices}/devices.allow`, "c 1:11 r", { create: false });
  box.must(["pause", box.id]);
  box.must(["update", "--pids-limit", "30", box.id]);
  assertEquals(box.state().status, "paused");
  assertEquals(read(box, "pids.max"), "30");
  assertMatch(Deno.readTextFileSync(`${devices}/devices.list`), /^c 1:11 r$/m);
  box.remove();
});

comparing("update of a stopped container is refused", (box) => {
  box.write();
  box.must(["run", "--keep", box.id]);
  const { code, stderr } = box.runc(["update", "--pids-limit", "30", box.id]);
  assertMatch(stderr, /container not running/);
  box.remove();
  return code;
}, everyone);

boxTest("update refuses what it cannot read", (box) => {
  start(box);
  const cases: readonly (readonly [args: readonly string[], message: string, stdin?: string])[] = [
    [["--memory", "much"], "invalid value for memory: invalid size: 'much'"],
    [["-r", "/nowhere"], "open /nowhere: no such file or directory"],
    [["-r", "-"], '-:1:2: expected a field name or "}", found the end', "{"],
    [["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT: l3 cache schema is not enabled"],
    [["--mem-bw-schema", "MB:0=20"], "Intel RDT/MBA: memory bandwidth schema is not enabled"],
  ];
  for (const [args, message, stdin] of cases) {
    assertEquals(box.refused(["update", ...args, box.id], { stdin }).msg, message);
  }
  box.remove();
});
