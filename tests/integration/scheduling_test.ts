/** What the kernel says of a container's scheduling, personality and memory policy: of its first process, and of exec. */

import { assertEquals, assertMatch } from "@std/assert";
import { type Box, comparing, type TestConfig } from "./harness.ts";

/** exec by `--process` of a file with `fields`. */
function execFile(box: Box, script: string, fields: object, global: readonly string[] = []) {
  const file = `${box.directory}/process.json`;
  const process = { cwd: "/", args: ["sh", "-c", script], env: ["PATH=/bin"], user: { uid: 0, gid: 0 }, ...fields };
  Deno.writeTextFileSync(file, JSON.stringify(process));
  return box.runc([...global, "exec", "--process", file, box.id]);
}

/** Fields 19 (nice) and 41 (policy) of proc_pid_stat(5). */
const schedule = "cut -d ' ' -f 19,41 /proc/self/stat";

comparing("the scheduler is the config's, for exec too unless the process has its own", (box) => {
  const pid = box.startSleeping((config) => config.process.scheduler = { policy: "SCHED_BATCH", nice: 19 });
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(" ");
  assertEquals([fields[18], fields[40]], ["19", "3"]);
  assertEquals(box.must(["exec", box.id, "sh", "-c", schedule]), "19 3\n");
  const idle = execFile(box, schedule, { scheduler: { policy: "SCHED_IDLE" } });
  assertEquals(idle, { code: 0, stdout: "0 5\n", stderr: "" });
  box.remove();
});

type Scheduler = NonNullable<TestConfig["process"]["scheduler"]>;

/** Each policy, what may go with it, and fields 19 (nice), 40 (rt_priority), 41 (policy) of proc_pid_stat(5). */
const policies: readonly [scheduler: Scheduler, seen: string][] = [
  [{ policy: "SCHED_OTHER", nice: 7 }, "7 0 0"],
  [{ policy: "SCHED_BATCH", nice: -3 }, "-3 0 3"],
  [{ policy: "SCHED_IDLE" }, "0 0 5"],
  [{ policy: "SCHED_FIFO", priority: 5 }, "0 5 1"],
  [{ policy: "SCHED_RR", priority: 99 }, "0 99 2"],
];
for (const [scheduler, seen] of policies) {
  comparing(`the scheduler ${JSON.stringify(scheduler)} is what the kernel says`, (box) => {
    const fields = "cut -d ' ' -f 19,40,41 /proc/self/stat";
    const change = (config: TestConfig) => {
      config.process.scheduler = scheduler;
      // A cgroup has no real-time share of its own. Documentation/scheduler/sched-rt-group.rst
      config.linux.resources = {
        ...config.linux.resources,
        cpu: { realtimePeriod: 1_000_000, realtimeRuntime: 100_000 },
      };
    };
    assertEquals(box.sh(fields, change), `${seen}\n`);
  });
}

comparing("with SCHED_FLAG_RESET_ON_FORK what the program starts is scheduled as usual", (box) => {
  const seen = box.sh("echo $(cut -d ' ' -f 19,41 /proc/1/stat) $(cut -d ' ' -f 19,41 /proc/self/stat)", (config) => {
    config.process.scheduler = { policy: "SCHED_OTHER", nice: -5, flags: ["SCHED_FLAG_RESET_ON_FORK"] };
  });
  assertEquals(seen, "-5 0 0 0\n");
});

comparing("SCHED_DEADLINE has its three times, or the kernel's reason is told", (box) => {
  const deadline: Scheduler = { policy: "SCHED_DEADLINE", runtime: 42_000, deadline: 100_000, period: 1_000_000 };
  const { code, stdout, stderr } = box.run((config) => {
    config.process.args = ["cut", "-d", " ", "-f", "41", "/proc/self/stat"];
    config.process.scheduler = { ...deadline, flags: ["SCHED_FLAG_RESET_ON_FORK"] };
  });
  if (code === 0) assertEquals(stdout, "6\n");
  else assertMatch(stderr, /error setting scheduler: (operation not permitted|device or resource busy)/);
  return code;
});

comparing("a scheduler with a word that is none is refused by name", (box) => {
  const { msg } = box.runRefused((config) => config.process.scheduler = { policy: "SCHED_X" });
  assertMatch(msg, /invalid scheduler policy: SCHED_X/);
});

comparing("linux.personality holds for the first process and for exec", (box) => {
  const change = (config: TestConfig) => config.linux.personality = { domain: "LINUX32" };
  box.startSleeping(change);
  assertEquals(box.must(["exec", box.id, "cat", "/proc/self/personality"]), "00000008\n");
  assertEquals(box.must(["exec", box.id, "cat", "/proc/1/personality"]), "00000008\n");
  box.remove();
});

comparing("personality flags are ignored with a warning", (box) => {
  const { code, stderr } = box.run((config) => config.linux.personality = { domain: "LINUX", flags: ["X"] });
  assertEquals(code, 0);
  assertMatch(stderr, /ignoring unsupported personality flags: \[X\]/);
});

comparing("linux.memoryPolicy holds for the first process and for exec", (box) => {
  box.startSleeping((config) => {
    config.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] };
  });
  const policy = (pid: string) =>
    box.must(["exec", box.id, "sh", "-c", `head -n 1 /proc/${pid}/numa_maps | cut -d ' ' -f 2`]);
  assertEquals([policy("1"), policy("self")], ["bind=static:0\n", "bind=static:0\n"]);
  box.remove();
});

comparing("linux.memoryPolicy with a node that the host has not", (box) => {
  const { msg } = box.runRefused((config) => {
    config.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "900" };
  });
  assertMatch(msg, /set_mempolicy/);
});

const allowed = "grep Cpus_allowed_list: /proc/self/status";

comparing(
  "execCPUAffinity is of the container's config, or of the process; the first process has every processor",
  (box) => {
    const everywhere = box.sh(allowed, (config) => config.process.execCPUAffinity = { initial: "0", final: "0" });
    assertEquals(everywhere, `Cpus_allowed_list:\t${Deno.readTextFileSync("/sys/devices/system/cpu/online")}`);
    // Processor 63 makes a mask that state.json must keep exact beyond 53 bits; the kernel leaves out those it has not.
    box.startSleeping((config) => config.process.execCPUAffinity = { initial: "0", final: "1,63" });
    assertEquals(box.must(["exec", box.id, "sh", "-c", allowed]), "Cpus_allowed_list:\t1\n");
    const only = execFile(box, allowed, { execCPUAffinity: { initial: "0" } }, ["--debug"]);
    assertEquals([only.code, only.stdout], [0, "Cpus_allowed_list:\t0\n"]);
    assertMatch(only.stderr, /nsexec.*: affinity: 0x1/);
    box.remove();
  },
);

comparing("ioPriority holds for the first process and for exec", (box) => {
  box.startSleeping((config) => config.process.ioPriority = { class: "IOPRIO_CLASS_BE", priority: 4 });
  assertEquals(box.must(["exec", box.id, "busybox", "ionice", "-p", "1"]), "best-effort: prio 4\n");
  assertEquals(box.must(["exec", box.id, "busybox", "ionice"]), "best-effort: prio 4\n");
  const idle = execFile(box, "busybox ionice", { ioPriority: { class: "IOPRIO_CLASS_IDLE", priority: 0 } });
  assertEquals(idle.stdout, "idle\n");
  box.remove();
});
