import { assertEquals } from "@std/assert";
import { linesBack } from "../../../../lib/cgroups/limits/remember_files.ts";

Deno.test("linesBack() writes what has changed, in the form that the file takes", () => {
  const cases: readonly [file: string, before: string, now: string, expected: readonly string[]][] = [
    ["pids.max", "max\n", "20\n", ["max"]],
    ["cpu.max", "max 100000\n", "5000 100000\n", ["max 100000"]],
    ["cpuset.cpus", "0-1\n", "0\n", ["0-1"]],
    ["cpuset.cpus", "\n", "0\n", ["\n"]],
    ["memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "oom_kill_disable 1\nunder_oom 0\n", ["0"]],
    ["blkio.throttle.read_bps_device", "", "8:0 100\n", ["8:0 0"]],
    ["blkio.throttle.read_bps_device", "8:0 5\n8:16 7\n", "8:0 100\n8:16 7\n8:32 9\n", ["8:0 5", "8:32 0"]],
    ["blkio.bfq.weight_device", "", "8:0 100\n", ["8:0 0"]],
    ["io.max", "8:0 rbps=1 wbps=max riops=max wiops=max\n", "8:16 rbps=2 wbps=max riops=max wiops=max\n", [
      "8:0 rbps=1 wbps=max riops=max wiops=max",
      "8:16 rbps=max wbps=max riops=max wiops=max",
    ]],
    ["net_prio.ifpriomap", "lo 0\neth0 0\n", "lo 0\neth0 5\n", ["eth0 0"]],
  ];
  for (const [file, before, now, expected] of cases) assertEquals(linesBack(file, before, now), expected, file);
});
