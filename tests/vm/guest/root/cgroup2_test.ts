/** Containers on unified cgroup v2, by the cgroup files alone. Runs in the virtual machine, as root. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { attachedPrograms, bpfCall } from "../../../../lib/cgroups/devices/bpf.ts";
import { openFlag } from "../../../../lib/ffi/constants.ts";
import { open } from "../../../../lib/ffi/files.ts";
import { runWaits } from "../../../../lib/ffi/waits.ts";
import {
  type Box,
  boxTest,
  type Change,
  comparing,
  execute,
  kernel,
  program,
  type TestConfig,
  until,
} from "../../../integration/harness.ts";
import { MACHINE_VARIABLE } from "../../machine.ts";

const mountPoint = "/sys/fs/cgroup";
const read = (path: string) => Deno.readTextFileSync(path).trim();
/** A process's cgroup. cgroups(7) */
const cgroupOf = (pid: number) => read(`/proc/${pid}/cgroup`).replace("0::", "");
const isThere = (path: string) => {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
};

const ownCgroupNamespace: Change = (config) => {
  config.linux.namespaces.push({ type: "cgroup" });
};
const hostPids: Change = (config) => {
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
};
/** The cgroup mount is the container's, and it may write there. */
const writableCgroup: Change = (config: TestConfig) => {
  ownCgroupNamespace(config);
  const mount = { destination: mountPoint, type: "cgroup", source: "cgroup", options: ["nosuid", "rw"] };
  config.mounts = [...config.mounts.filter(({ destination }) => destination !== mountPoint), mount];
};

Deno.test({
  name: "the program is a snapshot that was taken in this machine (not in qemu, which is too slow)",
  ignore: Deno.env.get(MACHINE_VARIABLE) === "qemu",
  fn: () => assertMatch(execute([program, "--version"]).stdout, /^program: snapshot$/m),
});

Deno.test("the machine has cgroup v2 alone, and systemd is its first process", () => {
  const [top] = read("/proc/self/mountinfo").split("\n").filter((line) => line.includes(` ${mountPoint} `));
  assert(top?.includes(" - cgroup2 "));
  assertEquals(read("/proc/1/comm"), "systemd");
});

comparing("the program is born in its cgroup, and with a namespace sees that as the top", (box) => {
  const inside = box.sh("cat /proc/self/cgroup", ownCgroupNamespace);
  const outside = box.sh("cat /proc/self/cgroup");
  assertEquals([inside, outside], ["0::/\n", `0::${box.cgroup}\n`]);
  assert(!isThere(mountPoint + box.cgroup));
});

boxTest("the host's cgroup mount keeps its options, whatever the container mounts", (box) => {
  box.sh("grep -q ' /sys/fs/cgroup ' /proc/self/mountinfo");
  const [top = ""] = read("/proc/self/mountinfo").split("\n").filter((line) => line.includes(` ${mountPoint} `));
  assert(top.includes("nsdelegate") && top.includes("memory_recursiveprot"), top);
});

boxTest("create, start, state, kill and delete", (box) => {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
  });
  box.must(["create", box.id]);
  assertEquals([box.state().status, cgroupOf(box.state().pid)], ["created", box.cgroup]);
  box.must(["start", box.id]);
  assertEquals(box.state().status, "running");
  box.must(["kill", box.id, "KILL"]);
  until("its end", () => box.state().status === "stopped");
  box.must(["delete", box.id]);
  assert(!isThere(mountPoint + box.cgroup));
});

for (const [file, below] of [["cgroup.max.descendants", "box"], ["cgroup.max.depth", "a/box"]] as const) {
  boxTest(`where ${file} of a cgroup above is reached, create says so and leaves nothing`, (box) => {
    const full = `/full-${Deno.pid}`;
    box.write((config) => {
      config.process.args = ["sleep", "1000"];
      config.linux.cgroupsPath = `${full}/${below}`;
    });
    Deno.mkdirSync(mountPoint + full);
    try {
      // Room for the cgroup between them, and not for the container's.
      Deno.writeTextFileSync(`${mountPoint}${full}/${file}`, below === "box" ? "0" : "1");
      const { code, errno, msg, hint } = box.refused(["create", box.id]);
      assertEquals([code, errno], ["cgroup-failed", "EAGAIN"], msg);
      assertMatch(hint!, /cgroup\.max\.descendants or cgroup\.max\.depth/);
      assertEquals([...Deno.readDirSync(mountPoint + full)].filter(({ isDirectory }) => isDirectory), []);
      assertMatch(box.refused(["state", box.id]).msg, /does not exist/);
      Deno.writeTextFileSync(`${mountPoint}${full}/${file}`, "max");
      box.must(["create", box.id]);
      box.must(["delete", "--force", box.id]);
    } finally {
      for (const path of [`${full}/a`, full]) {
        if (isThere(mountPoint + path)) Deno.removeSync(mountPoint + path);
      }
    }
  });
}

comparing("a process of exec joins the container's cgroup", (box) => {
  box.startSleeping();
  assertEquals(box.must(["exec", box.id, "cat", "/proc/self/cgroup"]), `0::${box.cgroup}\n`);
  box.remove();
});

// --- devices -----------------------------------------------------------------------------------------------------------

/** What a container says that opens the kernel's log, which is a device that no container has by itself. */
function opensLog(box: Box, change: Change): string {
  return box.sh("mknod /dev/log c 1 11 && : < /dev/log && echo opened; : < /dev/null && echo null", (config) => {
    const { capabilities } = config.process;
    for (const set of ["bounding", "effective", "permitted"] as const) capabilities![set]!.push("CAP_MKNOD");
    config.process.args![2] = config.process.args![2]!.replace(": < /dev/log", "(: < /dev/log) 2>&-");
    config.linux.resources = { devices: [{ allow: false, access: "rwm" }] };
    change(config);
  });
}

comparing("a device that no rule allows can be made and not opened", (box) => {
  assertEquals(opensLog(box, () => {}), "null\n");
});

comparing("a device that a rule allows can be opened", (box) => {
  const allow: Change = (config) => {
    config.linux.resources!.devices!.push({ allow: true, type: "c", major: 1, minor: 11, access: "rw" });
  };
  assertEquals(opensLog(box, allow), "opened\nnull\n");
});

boxTest("one program filters a container's devices", (box) => {
  box.startSleeping();
  using directory = open(kernel, mountPoint + box.cgroup, openFlag(kernel.arch).O_DIRECTORY);
  const programs = runWaits({ kernel }, attachedPrograms(bpfCall(kernel), directory.number));
  assertEquals(programs.length, 1);
  box.remove();
});

// --- freezer, kill, processes --------------------------------------------------------------------------------------------

boxTest("pause freezes the cgroup, resume thaws it", (box) => {
  box.startSleeping();
  const frozen = () => /^frozen (\d)$/m.exec(read(`${mountPoint}${box.cgroup}/cgroup.events`))?.[1];
  box.must(["pause", box.id]);
  assertEquals([box.state().status, frozen()], ["paused", "1"]);
  assertEquals(box.refused(["exec", box.id, "true"]).msg.includes("paused container"), true);
  box.must(["resume", box.id]);
  assertEquals([box.state().status, frozen()], ["running", "0"]);
  box.remove();
});

for (const paused of [false, true]) {
  boxTest(`kill ends all of a ${paused ? "paused" : "running"} container without a pid namespace`, (box) => {
    box.startSleeping(hostPids);
    box.must(["exec", "--detach", box.id, "sleep", "1000"]);
    const pids: number[] = JSON.parse(box.must(["ps", "--format", "json", box.id]));
    assertEquals(pids.length, 2);
    if (paused) box.must(["pause", box.id]);
    box.must(["kill", box.id, "KILL"]);
    until("their end", () => read(`${mountPoint}${box.cgroup}/cgroup.events`).includes("populated 0"));
    until("its end", () => box.state().status === "stopped");
    box.must(["delete", box.id]);
  });
}

boxTest("ps shows processes in cgroups below the container's", (box) => {
  box.startSleeping(writableCgroup);
  box.must(["exec", box.id, "mkdir", `${mountPoint}/below`]);
  box.must(["exec", "--detach", "--cgroup", "below", box.id, "sleep", "1000"]);
  const pids: number[] = JSON.parse(box.must(["ps", "--format", "json", box.id]));
  assertEquals(pids.map(cgroupOf).sort(), [box.cgroup, `${box.cgroup}/below`]);
  box.remove();
  assert(!isThere(mountPoint + box.cgroup));
});

boxTest("exec follows init out of a cgroup that passes controllers on", (box) => {
  box.startSleeping(writableCgroup);
  const move =
    "mkdir init && echo 1 > init/cgroup.procs && echo $$ > init/cgroup.procs && echo +memory > cgroup.subtree_control";
  box.must(["exec", box.id, "sh", "-c", `cd ${mountPoint} && ${move}`]);
  assertEquals(cgroupOf(box.state().pid), `${box.cgroup}/init`);
  box.must(["exec", "--detach", box.id, "sleep", "1000"]);
  const pids: number[] = JSON.parse(box.must(["ps", "--format", "json", box.id]));
  assertEquals(pids.map(cgroupOf), [`${box.cgroup}/init`, `${box.cgroup}/init`]);
  // One that is asked for by its name is that one or none.
  // Without the option --init, an exec may be carried out as the one before.
  const where = () =>
    execute([program, "--root", box.root, "exec", box.id, "cat", "/proc/self/cgroup"], { stdin: "" }).stdout;
  assertEquals([where(), where()], ["0::/init\n", "0::/init\n"]);
  box.must(["exec", box.id, "sh", "-c", `cd ${mountPoint} && mkdir next && echo 1 > next/cgroup.procs`]);
  assertEquals([where(), where()], ["0::/next\n", "0::/next\n"]);
  const { msg } = box.refused(["exec", "--cgroup", "/", box.id, "true"]);
  assertMatch(msg, /error adding pid \d+ to cgroups: .*device or resource busy$/);
  box.remove();
});
