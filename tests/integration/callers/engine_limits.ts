/** What Docker and Podman do with cgroups, which users who are not root have only where those were delegated. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Case, type Engine, must, printed, run, status, withSleeper } from "./engine.ts";

/** A shell command that prints limits, as the container sees them. */
const limits = [
  ["memory/memory.limit_in_bytes", "memory.max"],
  ["pids/pids.max", "pids.max"],
  ["cpu/cpu.cfs_quota_us", "cpu.max"],
  ["cpuset/cpuset.cpus", "cpuset.cpus"],
].map(([v1, v2]) => `cd /sys/fs/cgroup && cut -d" " -f1 ${v1} 2>/dev/null || cut -d" " -f1 ${v2}`).join("; ");

const given = ["--memory=64m", "--pids-limit=20", "--cpus=0.5", "--cpuset-cpus=0"];

/** What `stats` tells of a container. */
const statsOf = (engine: Engine, name: string) =>
  must(engine, "stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", name);

/** What works for root. */
export const cgroupCases: readonly Case[] = [
  ["pause and unpause", (engine) => {
    withSleeper(engine, [], (name) => {
      must(engine, "pause", name);
      assertEquals(status(engine, name), "paused");
      assert(engine.call(["exec", name, "true"]).code !== 0);
      must(engine, "unpause", name);
      assertEquals([status(engine, name), must(engine, "exec", name, "echo", "on")], ["running", "on"]);
    });
  }],
  ["a paused container can be removed", (engine) => withSleeper(engine, [], (name) => must(engine, "pause", name))],
  ["limits are those of the cgroup", (engine) => {
    assertEquals(printed(engine, given, "sh", "-c", limits), `${64 << 20}\n20\n50000\n0\n`);
  }],
  ["stats tells of limits, and update changes them", (engine) => {
    withSleeper(engine, given, (name) => {
      // Docker counts in MiB, Podman in MB.
      assertMatch(statsOf(engine, name), /^1 .* (64MiB|67\.11MB)$/);
      must(engine, "update", "--memory=128m", "--memory-swap=256m", "--cpus=0.25", name);
      assertEquals(must(engine, "exec", name, "sh", "-c", limits), `${128 << 20}\n20\n25000\n0`);
    });
  }],
  ["too many processes, and too much memory", (engine) => {
    const { code, stderr } = run(engine, ["--pids-limit=3"], "sh", "-c", "sleep 0 | sleep 0 | sleep 0 | sleep 0");
    assert(code !== 0);
    assertMatch(stderr, /can't fork/);
    assertEquals(run(engine, ["--memory=16m", "--memory-swap=16m"], "tail", "/dev/zero").code, 137);
  }],
];
