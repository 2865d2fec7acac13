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
