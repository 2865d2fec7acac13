/** Limits of cgroup v2 in force, changed, counted and told of. Runs in the virtual machine, as root. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, type Change, execute, until } from "../../../integration/harness.ts";
import { directoryOf, drivers, mountPoint, read, start } from "./drivers.ts";

const MEGABYTE = 1 << 20;

/** Twelve MB of memory, no swap. */
const small: Change = (config) => {
  config.linux.resources = { memory: { limit: 12 * MEGABYTE, swap: 12 * MEGABYTE }, pids: { limit: 12 } };
};
/** Takes all the memory that there is. */
const takesMemory = ["tail", "-c", "200000000", "/dev/zero"];

for (const driver of drivers) {
  const withDriver = (name: string, body: (box: Box) => void) => boxTest(`${driver.driver}: ${name}`, body);

  withDriver("a process that wants more memory is killed, and others are not forked", (box) => {
    start(box, driver, small);
    assertEquals(["memory.max", "memory.swap.max", "pids.max"].map((name) => read(box, name)), ["12582912", "0", "12"]);
    assertEquals(box.runc(["exec", box.id, ...takesMemory]).code, 137);
    assertMatch(read(box, "memory.events"), /^oom_kill [1-9]/m);
    // More than there may be; the shell ends with the first that is refused.
    const forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done";
    box.must(["exec", "--detach", box.id, "sh", "-c", `(${forks}) > /dev/null 2>&1`]);
    until("a refusal", () => /^max [1-9]/m.test(read(box, "pids.events")));
    assertMatch(read(box, "pids.events"), /^max [1-9]/m);
    box.remove();
  });

  withDriver("a process that wants more of the processor waits", (box) => {
    start(box, driver, (config) => config.linux.resources = { cpu: { quota: 10_000, period: 100_000 } });
    assertEquals(read(box, "cpu.max"), "10000 100000");
    box.must(["exec", "--detach", box.id, "sh", "-c", "while :; do :; done"]);
    until("throttling", () => /^nr_throttled [1-9]/m.test(read(box, "cpu.stat")));
    box.remove();
  });

  withDriver("unified is written as it is", (box) => {
    const unified = { "memory.high": "33554432", "memory.min": "4096", "memory.oom.group": "1", "cpu.weight": "77" };
    start(box, driver, (config) => config.linux.resources = { unified });
    assertEquals(
      Object.fromEntries(Object.keys(unified).map((name) => [name, read(box, name)])),
      unified,
    );
    box.remove();
  });

  withDriver("an update that is refused changes nothing", (box) => {
    start(box, driver, small);
    const files = ["memory.max", "pids.max", "cpu.max", "cpu.weight"];
    const before = files.map((name) => read(box, name));
    // The burst is larger than the quota.
    box.refused(["update", "--pids-limit", "30", "--cpu-quota", "20000", "--cpu-burst", "900000", box.id]);
    const after = files.map((name) => read(box, name));
    assertEquals([after[0], after[1], after[3]], [before[0], before[1], before[3]]);
    box.must(["update", "--pids-limit", "30", box.id]);
    assertEquals([read(box, "pids.max"), read(box, "memory.max")], ["30", before[0]]);
    box.remove();
  });

  withDriver("events, top and the metrics count what the kernel counts", (box) => {
    start(box, driver, small);
    // This kernel counts whole ticks: work until it has counted one.
    until("a tick", () => {
      box.must(["exec", box.id, "sh", "-c", "for i in $(seq 1000); do :; done"]);
      return /^usage_usec [1-9]/m.test(read(box, "cpu.stat"));
    });
    const { type, data } = JSON.parse(box.must(["events", "--stats", box.id]));
    assertEquals([type, data.memory.usage.limit, data.pids], ["stats", 12 * MEGABYTE, { current: 1, limit: 12 }]);
    assert(data.cpu.usage.total > 0 && data.memory.usage.usage > 0);
    assertMatch(box.must(["top", "--once"]), new RegExp(`\\b${box.id}\\b`));
    const metrics = box.must(["events", "--format", "prometheus", box.id]);
    assertMatch(metrics, /memory\w*\{[^}]*\} 12582912$/m);
    // Debian's kernel has no pressure files.
    assertEquals("psi" in data.memory, isThere(`${directoryOf(box)}/memory.pressure`));
    box.remove();
  });

  withDriver("events tells of a lack of memory, and ends with the container", (box) => {
    start(box, driver, small);
    using events = box.start(["events", "--interval", "10s", box.id]);
    // It tells of itself first; from then on it is watching.
    until("the watch", () => watches(events.pid));
    assertEquals(box.runc(["exec", box.id, ...takesMemory]).code, 137);
    events.says('{"type":"oom","id":"box"}\n');
    box.remove();
    assertEquals(events.wait().code, 0);
  });
}

/** Whether a process, or one that it runs, has asked the kernel to tell of changed files. inotify(7) */
function watches(pid: number): boolean {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].some(({ name }) => {
    try {
      return Deno.readTextFileSync(`/proc/${pid}/fdinfo/${name}`).includes("inotify wd:");
    } catch {
      return false;
    }
  });
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}

boxTest("systemd: an idle container takes no weight, with a warning; a weight ends it", (box) => {
  start(box, drivers[1], () => {});
  const { code, stderr } = box.runc(["update", "--cpu-share", "200", "--cpu-idle", "1", box.id]);
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight/);
  assertEquals(read(box, "cpu.idle"), "1");
  box.must(["update", "--cpu-share", "200", box.id]);
  assertEquals(read(box, "cpu.idle"), "0");
  const unified = JSON.stringify({ unified: { "cpu.idle": "1", "cpu.weight": "8" } });
  const mixed = box.runc(["update", "--resources", "-", box.id], { stdin: unified });
  assertEquals([mixed.code, read(box, "cpu.idle")], [0, "1"]);
  assertMatch(mixed.stderr, /ignoring cpu\.weight/);
  box.remove();
});

boxTest("cgroupfs: a threaded cgroup takes no domain controllers, and says so", (box) => {
  const parent = `${mountPoint}${box.cgroup}`;
  Deno.mkdirSync(`${parent}/threaded`, { recursive: true });
  try {
    Deno.writeTextFileSync(`${parent}/threaded/cgroup.type`, "threaded");
    box.write((config) => {
      config.linux.cgroupsPath = `${box.cgroup}/threaded/below`;
      config.linux.resources = { memory: { limit: 12 * MEGABYTE } };
    });
    const { msg } = box.refused(["run", box.id]);
    assertMatch(
      msg,
      /cannot enter cgroupv2 ".*" with domain controllers -- it is in ((domain )?threaded mode|an invalid state)/,
    );
  } finally {
    execute(["/usr/bin/find", parent, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
  }
});
