/** `runc update` on the host's v1 controllers. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, comparing, everyone, execute } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

/** The kernel takes rates for no other disk than one that this host has. */
function someDisk(): { readonly major: number; readonly minor: number } {
  const [disk] = [...Deno.readDirSync("/sys/block")].map(({ name }) => name).sort();
  const [major = 0, minor = 0] = Deno.readTextFileSync(`/sys/block/${disk}/dev`).trim().split(":").map(Number);
  return { major, minor };
}

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

comparing("update lets memory, and memory and swap, grow and shrink together", (box) => {
  start(box);
  const steps: readonly (readonly string[])[] = [
    ["--memory", "64M", "--memory-swap", "96M"],
    ["--memory", "16M", "--memory-swap", "24M"],
    ["--memory", "16M", "--memory-swap", "16M"],
    ["--memory", "128M", "--memory-swap", "-1"],
    ["--memory", "32M", "--memory-swap", "48M"],
    ["--memory-swap", "40M"],
    ["--memory", "24M"],
    // More than both may be: refused, whichever is written first.
    ["--memory", "41M"],
    ["--memory", "-1"],
  ];
  const observed = steps.map((args) => {
    const { code } = box.runc(["update", ...args, box.id]);
    return { args, code, limit: read(box, "memory.limit_in_bytes"), both: read(box, "memory.memsw.limit_in_bytes") };
  });
  assertEquals(observed.map(({ code }) => code), [0, 0, 0, 0, 0, 0, 0, 1, 0]);
  box.remove();
  return observed;
}, everyone);

comparing("update of the other options is in the kernel's files", (box) => {
  start(box);
  const cases: readonly (readonly [args: readonly string[], file: string, value: string])[] = [
    [["--cpuset-mems", "0"], "cpuset.mems", "0"],
    [["--cpu-rt-period", "500000"], "cpu.rt_period_us", "500000"],
    [["--cpu-rt-runtime", "0"], "cpu.rt_runtime_us", "0"],
    [["--blkio-weight", "300"], "blkio.bfq.weight", "300"],
  ];
  for (const [args, file, value] of cases) {
    box.must(["update", ...args, box.id]);
    assertEquals(read(box, file), value, args.join(" "));
  }
  box.remove();
}, everyone);

boxTest("update of what Debian's runc 1.1.5 does not know", (box) => {
  start(box);
  const on = someDisk();
  const rates = (rate: number) => JSON.stringify({ blockIO: { throttleReadBpsDevice: [{ ...on, rate }] } });
  const cases: readonly (readonly [args: readonly string[], file: string, value: string, stdin?: string])[] = [
    [["--cpu-burst", "10000"], "cpu.cfs_burst_us", "10000"],
    [["--cpu-idle", "1"], "cpu.idle", "1"],
    [["--cpu-idle", "0"], "cpu.idle", "0"],
    [["-r", "-"], "blkio.throttle.read_bps_device", `${on.major}:${on.minor} 1000000`, rates(1000000)],
    [["-r", "-"], "blkio.throttle.read_bps_device", `${on.major}:${on.minor} 2000000`, rates(2000000)],
    [["-r", "-"], "blkio.throttle.read_bps_device", "", rates(0)],
  ];
  for (const [args, file, value, stdin] of cases) {
    box.must(["update", ...args, box.id], { stdin });
    assertEquals(read(box, file), value, `${args.join(" ")} ${stdin ?? ""}`);
  }
  const { code, stderr } = box.runc(["update", "--kernel-memory", "1M", "--kernel-memory-tcp", "1M", box.id]);
  assertEquals(code, 0);
  assertMatch(stderr, /Kernel memory settings are ignored and will be removed/);
  const file = `${box.directory}/limits.json`;
  Deno.writeTextFileSync(file, json);
  box.must(["update", "--resources", file, box.id]);
  assertEquals([read(box, "pids.max"), read(box, "memory.limit_in_bytes")], ["30", String(40 << 20)]);
  box.remove();
});

boxTest("what update has saved is what Debian's runc starts from, and the other way round", (box) => {
  start(box);
  const debian = (...args: readonly string[]) => {
    const result = execute(["/usr/sbin/runc", "--root", box.root, ...args]);
    assertEquals([result.code, result.stderr], [0, ""], args.join(" "));
    return result.stdout;
  };
  box.must(["update", "--memory", "64M", "--memory-swap", "96M", "--cpu-burst", "1000", box.id]);
  const [listed] = JSON.parse(debian("list", "--format", "json"));
  assertEquals([listed.id, listed.status], [box.id, "running"]);
  assertEquals(debian("exec", box.id, "echo", "here"), "here\n");
  debian("update", "--pids-limit", "12", box.id);
  // It sets all that is stored: what we have saved.
  assertEquals([read(box, "memory.limit_in_bytes"), read(box, "pids.max")], [String(64 << 20), "12"]);
  box.must(["update", "--cpu-share", "300", box.id]);
  assertEquals([read(box, "memory.memsw.limit_in_bytes"), read(box, "cpu.shares")], [String(96 << 20), "300"]);
  assertEquals(box.must(["exec", box.id, "echo", "still"]), "still\n");
  box.remove();
});

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

boxTest("update sets every file back, also what the container had no limit for", (box) => {
  // Without limits: nothing is stored that could be set again.
  box.startSleeping();
  const names = [
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "memory.oom_control",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.cfs_burst_us",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "blkio.bfq.weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_iops_device",
  ];
  const files = () => Object.fromEntries(names.map((name) => [name, read(box, name)]));
  const [before, state] = [files(), stored(box)];
  const disk = someDisk();
  const everything = {
    memory: { limit: 32 << 20, swap: 48 << 20, reservation: 16 << 20 },
    cpu: { quota: 40000, period: 50000, burst: 10000, shares: 77, cpus: "0", mems: "0" },
    pids: { limit: 30 },
    blockIO: {
      weight: 300,
      throttleReadBpsDevice: [{ ...disk, rate: 1000000 }],
      throttleWriteIOPSDevice: [{ ...disk, rate: 100 }],
    },
  };
  // Block devices come last, and this one is not there.
  const refused = { ...everything.blockIO, throttleWriteIOPSDevice: [{ major: 4095, minor: 7, rate: 1 }] };
  const stdin = JSON.stringify({ ...everything, blockIO: refused });
  assertMatch(box.refused(["update", "-r", "-", box.id], { stdin }).msg, /write_iops_device: no such device/);
  assertEquals([files(), stored(box)], [before, state]);
  box.must(["update", "-r", "-", box.id], { stdin: JSON.stringify(everything) });
  const limited = files();
  assertEquals(limited["pids.max"], "30");
  assertEquals(limited["blkio.throttle.write_iops_device"], `${disk.major}:${disk.minor} 100`);
  // And what was limited has its limits again.
  assertEquals(
    box.refused(["update", "--memory", "64M", "--pids-limit", "9", "--cpu-share", "9", "--cpu-quota", "7", box.id])
      .errno,
    "EINVAL",
  );
  assertEquals(files(), limited);
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
