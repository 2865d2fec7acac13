/** `pause`, `resume`, `ps`, `exec --cgroup`, and what ends a container that is paused. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { readCgroupLayout } from "../../lib/cgroups/layout.ts";
import { type Box, boxTest, type Change, comparing, everyone, kernel, until, withUserNamespace } from "./harness.ts";

const layout = readCgroupLayout(kernel);
const v1 = { ignore: layout.mode === "v2" };

/** A process's state letter. proc_pid_stat(5) */
const isThere = (pid: number) => {
  try {
    return !/^State:\s+[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
};
const shared: Change = (config) => {
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
};

/** Whether the kernel says that no process of the container runs. cgroups(7), "freezer" */
function isSnapshot(box: Box): boolean {
  const hierarchy = layout.hierarchies.find(({ controllers }) =>
    layout.mode === "v2" || controllers.includes("freezer")
  )!;
  const directory = hierarchy.mountPoint + box.cgroup;
  if (layout.mode === "v2") return Deno.readTextFileSync(`${directory}/cgroup.events`).includes("frozen 1\n");
  return Deno.readTextFileSync(`${directory}/freezer.state`) === "FROZEN\n";
}

comparing("pause stops a container, resume lets it go on", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "while :; do echo >> /out; sleep 0.01; done"];
    config.root.readonly = false;
  });
  Deno.writeTextFileSync(`${box.rootfs}/out`, "");
  box.must(["run", "--detach", box.id]);
  const lines = () => Deno.statSync(`${box.rootfs}/out`).size;
  until("its first words", () => lines() > 0);
  assertEquals(isSnapshot(box), false);
  box.must(["pause", box.id]);
  assertEquals(isSnapshot(box), true);
  const before = lines();
  assertEquals(box.state().status, "paused");
  assertEquals(lines(), before);
  box.must(["resume", box.id]);
  assertEquals(isSnapshot(box), false);
  assertEquals(box.state().status, "running");
  until("more words", () => lines() > before);
  box.remove();
}, everyone);

comparing("a created container can be paused, and is created again once resumed", (box) => {
  box.must(["create", box.id]);
  box.must(["pause", box.id]);
  assertEquals(box.state().status, "paused");
  box.must(["resume", box.id]);
  assertEquals(box.state().status, "created");
  box.remove();
}, everyone);

comparing("refused: pause of what is paused or stopped, resume of what is not paused", (box) => {
  box.startSleeping();
  assertEquals(box.refused(["resume", box.id]).msg, "container not paused");
  box.must(["pause", box.id]);
  assertEquals(box.refused(["pause", box.id]).msg, "container not running");
  assertMatch(box.refused(["delete", box.id]).msg, /is not stopped: paused/);
  box.must(["resume", box.id]);
  box.must(["kill", box.id, "KILL"]);
  until("its end", () => box.state().status === "stopped");
  assertEquals(box.refused(["pause", box.id]).msg, "container not running");
  assertEquals(box.refused(["resume", box.id]).msg, "container not paused");
  box.remove();
}, everyone);

for (const [fact, change] of [["its own", () => {}], ["the host's", shared]] as const) {
  boxTest(`delete --force ends a paused container with ${fact} pid namespace, and what exec started`, (box) => {
    const pid = box.startSleeping(change);
    box.must(["exec", "--detach", box.id, "sleep", "1000"]);
    box.must(["pause", box.id]);
    const pids: number[] = JSON.parse(box.must(["ps", "--format", "json", box.id]));
    assertEquals([pids.length, pids.includes(pid)], [2, true]);
    box.remove();
    assertEquals(pids.filter(isThere), []);
  });
}

boxTest("kill KILL of a paused container with the host's pid namespace ends all of it", (box) => {
  box.startSleeping(shared);
  box.must(["exec", "--detach", box.id, "sleep", "1000"]);
  const pids: number[] = JSON.parse(box.must(["ps", "-f", "json", box.id]));
  box.must(["pause", box.id]);
  box.must(["kill", "--all", box.id, "KILL"]);
  until("their end", () => !pids.some(isThere));
  assertEquals(box.state().status, "stopped");
  box.must(["kill", "--all", box.id, "KILL"]);
  box.must(["delete", box.id]);
});

// --- ps ------------------------------------------------------------------------------------------------------------------

comparing("ps shows the container's processes as the host's ps does, and a header alone once it has stopped", (box) => {
  const pid = box.startSleeping();
  const rows = (...args: string[]) => box.must(["ps", box.id, ...args]).trimEnd().split("\n");
  assertEquals(rows().length, 2);
  assertMatch(rows()[0]!, /^UID +PID +PPID/);
  assertMatch(rows()[1]!, new RegExp(` ${pid} .* sleep 1000$`));
  assertEquals(rows("-e", "-o", "pid,comm").map((row) => row.trim()), ["PID COMMAND", `${pid} sleep`]);
  assertEquals(JSON.parse(box.must(["ps", "-f", "json", box.id])), [pid]);
  assertMatch(box.refused(["ps", box.id, "-e", "-o", "comm"]).msg, /couldn't find PID field in ps output/i);
  assertMatch(box.refused(["ps", box.id, "--nonsense"]).msg, /^exit status 1: error: /);
  assertEquals(box.refused(["ps", "-f", "xml", box.id]).msg, "invalid format option");
  box.must(["kill", box.id, "KILL"]);
  until("its end", () => box.state().status === "stopped");
  assertEquals([rows().length, box.must(["ps", "-f", "json", box.id])], [1, "null\n"]);
  box.remove();
}, everyone);

// --- exec --cgroup -------------------------------------------------------------------------------------------------------

/** The directories of the container's cgroup in the hierarchies of a v1 controller, or of all. */
function cgroupsOf(box: Box, controller?: string): string[] {
  return layout.hierarchies
    .filter(({ controllers }) => controller === undefined || controllers.includes(controller))
    .map(({ mountPoint }) => mountPoint + box.cgroup).filter((path) => {
      try {
        return Deno.statSync(path).isDirectory;
      } catch {
        return false;
      }
    });
}

/** Makes the cgroup `sub` below `path`, so that a process can be in it: a new cpuset of v1 has no processors. */
function makeSub(path: string): void {
  Deno.mkdirSync(`${path}/sub`);
  for (const name of v1.ignore ? [] : ["cpuset.cpus", "cpuset.mems"]) {
    if (!path.includes("/cpuset/")) continue;
    Deno.writeTextFileSync(`${path}/sub/${name}`, Deno.readTextFileSync(`${path}/${name}`), { create: false });
  }
}

/** What a process started by exec with `options` finds in /proc/self/cgroup: the paths that end in `/sub`. */
function inSub(box: Box, ...options: string[]): string[] {
  const lines = box.must(["exec", ...options, box.id, "cat", "/proc/self/cgroup"]).trimEnd().split("\n");
  return lines.filter((line) => line.endsWith("/sub")).map((line) => line.split(":")[1]!);
}

for (const [fact, change] of [["", () => {}], [", also with a user namespace", withUserNamespace()]] as const) {
  boxTest(`exec --cgroup starts in cgroups below the container's${fact}`, (box) => {
    box.startSleeping(change);
    for (const path of cgroupsOf(box)) makeSub(path);
    assertEquals([inSub(box), inSub(box, "--cgroup", "/")], [[], []]);
    assertEquals(inSub(box, "--cgroup", "sub").length, cgroupsOf(box).length);
    if (!v1.ignore) {
      assertEquals(inSub(box, "--cgroup", "memory:sub"), ["memory"]);
      assertEquals(inSub(box, "--cgroup", "memory:sub", "--cgroup", "pids:/sub").toSorted(), ["memory", "pids"]);
    }
    box.remove();
    assertEquals(cgroupsOf(box), []);
  });
}

boxTest("refused: exec --cgroup out of the container's, into none, or of an unknown controller", (box) => {
  box.startSleeping();
  const refusal = (value: string) => box.refused(["exec", "--cgroup", value, box.id, "true"]);
  assertEquals(refusal("..").msg, "exec failed: bad sub cgroup path: ..");
  assertMatch(refusal("none").msg, /error adding pid \d+ to cgroups: open .*\/none\/cgroup\.procs: no such file/);
  assertEquals(refusal("whaaat:/").msg, "exec failed: unknown controller whaaat in SubCgroupPaths");
  assertEquals(refusal(":a").exitCode, 255);
  assert(box.state().status === "running");
  box.remove();
});
