/** `inspect`: a container beside its config, and what somebody has changed since. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { InspectFinding, Verdict } from "../../mod.ts";
import { engineProfile } from "../fixtures/seccomp_profile.ts";
import { openPty } from "../fixtures/pty.ts";
import {
  type Box,
  boxTest,
  type Change,
  comparing,
  execute,
  inBox,
  kernel,
  program,
  until,
  withUserNamespace,
} from "./harness.ts";
import { userTest } from "./rootless_harness.ts";

interface Inspected {
  readonly id: string;
  readonly status: string;
  readonly pid: number;
  readonly differences: number;
  readonly findings: readonly InspectFinding[];
}

/** What ours says about the box's container, whoever made it. */
function inspect(box: Box, ...args: string[]): Inspected {
  const { code, stdout, stderr } = execute([program, "--root", box.root, "inspect", "-f", "json", ...args, box.id]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return JSON.parse(stdout);
}

/** The names of the findings with this verdict. */
function namesOf({ findings }: Inspected, wanted: Verdict): string[] {
  return findings.filter(({ verdict }) => verdict === wanted).map(({ name }) => name);
}

/** The one finding with this name. */
function named({ findings }: Inspected, name: string): InspectFinding {
  const found = findings.filter((finding) => finding.name === name);
  assertEquals(found.length, 1, name);
  return found[0]!;
}

/** The file of a v1 controller in the box's cgroup, or in the one above `below`. */
function cgroupFile(box: Box, controller: string, file: string): string {
  return `/sys/fs/cgroup/${controller}${box.cgroup}/${file}`;
}

const everything: Change = (config) => {
  config.process.user = { uid: 0, gid: 7, additionalGids: [5, 6], umask: 0o27 };
  config.process.oomScoreAdj = 100;
  config.process.rlimits = [
    { type: "RLIMIT_NOFILE", soft: 100, hard: 200 },
    { type: "RLIMIT_CORE", soft: 0, hard: 1_000_000 },
  ];
  config.mounts.push(
    { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "noexec", "size=1m", "mode=1777"] },
    { destination: "/mnt", type: "bind", source: "/usr", options: ["rbind", "ro", "nosuid", "rslave"] },
    { destination: "/again", type: "bind", source: "/usr", options: ["bind", "rro"] },
  );
  config.linux.maskedPaths.push("/mnt/bin", "/mnt/none");
  config.linux.readonlyPaths.push("/tmp");
  config.linux.seccomp = engineProfile as typeof config.linux.seccomp;
  config.linux.rootfsPropagation = "slave";
  config.linux.resources = {
    memory: { limit: 100_000_001, reservation: 50_000_000 },
    cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0" },
    pids: { limit: 20 },
    devices: [{ allow: false, access: "rwm" }, { allow: true, type: "c", major: 10, minor: 229, access: "rw" }],
  };
};

const device: Change = ({ linux }) => {
  linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o640, uid: 3, gid: 4 }];
};

/** Containers in which everything is as the config says. */
const faithful: readonly [what: string, Change][] = [
  ["the usual container", () => {}],
  ["a container with everything", (config) => (everything(config), device(config))],
  ["a container in a user namespace", (config) => (everything(config), withUserNamespace()(config))],
  ["a container in the host's namespaces", (config) => {
    const { linux } = config;
    delete config.hostname;
    linux.namespaces = linux.namespaces.filter(({ type }) => type === "mount");
  }],
];
for (const [what, change] of faithful) {
  comparing(`${what} has no difference`, (box) => {
    // Root of a user namespace may make no directory in the rootfs.
    for (const name of ["mnt", "again"]) Deno.mkdirSync(`${box.rootfs}/${name}`);
    box.startSleeping(change);
    const inspected = inspect(box);
    assertEquals(inspected.findings.filter(({ verdict }) => verdict === "different"), []);
    assertEquals([inspected.differences, inspected.status], [0, "running"]);
    // The processors of one limit may be named in other words, so texts are left out.
    box.remove();
    return inspected.findings.map(({ topic, name, verdict }) => `${topic} ${name} ${verdict}`.replace(box.name, ""));
  });
}

Deno.test("a container of Debian's runc has no difference, from its state.json", () => {
  inBox("debian", (box) => {
    box.startSleeping();
    assertEquals(namesOf(inspect(box), "different"), []);
    box.remove();
    // Its runc gives root the whole bounding set by way of execve, like the kernel does for any program.
    box.startSleeping((config) => (everything(config), config.linux.seccomp = undefined));
    assertEquals(namesOf(inspect(box), "different"), []);
    box.remove();
  });
});

boxTest("created, paused and stopped containers are inspected, too", (box) => {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["create", box.id]);
  assertEquals([inspect(box).status, inspect(box).differences], ["created", 0]);
  box.must(["start", box.id]);
  box.must(["pause", box.id]);
  assertEquals([inspect(box).status, inspect(box).differences], ["paused", 0]);
  box.must(["resume", box.id]);
  box.must(["kill", box.id, "KILL"]);
  until("its end", () => box.state().status === "stopped");
  const stopped = inspect(box);
  assertEquals([stopped.status, stopped.pid, stopped.differences], ["stopped", 0, 0]);
  // Its cgroup is still there, its process is not.
  assertEquals([named(stopped, "pid").verdict, named(stopped, "pids.max").verdict], ["unknown", "unset"]);
  assertMatch(box.must(["inspect", box.id]), /^box: stopped, only its cgroup can be compared, no differences\n/);
  box.remove();
});

boxTest("what the program did to itself is told", (box) => {
  box.write((config) => {
    everything(config);
    config.linux.seccomp = undefined;
    for (const set of Object.values(config.process.capabilities!)) set.push("CAP_SYS_ADMIN");
    config.process.args = [
      "sh",
      "-c",
      "umask 0; ulimit -n 50; umount /tmp; mount -o remount,bind,rw,nosuid /mnt; mount -t tmpfs none /again; exec sleep 1000",
    ];
  });
  box.must(["run", "--detach", box.id]);
  until("sleep", () => Deno.readTextFileSync(`/proc/${box.state().pid}/comm`) === "sleep\n");
  const inspected = inspect(box, "--diff-only");
  assertEquals(inspected.findings.map(({ name }) => name).toSorted(), [
    "/again",
    "/mnt",
    // The read-only mount on top is gone, the mount itself is not.
    "/tmp",
    "RLIMIT_NOFILE",
    "umask",
  ]);
  assertEquals(inspected.differences, inspected.findings.length);
  assertEquals([named(inspected, "umask").config, named(inspected, "umask").kernel], ["0027", "0000"]);
  assertEquals(named(inspected, "/mnt").note, "not ro");
  assertEquals(named(inspected, "RLIMIT_NOFILE").kernel, "50 50");
  const text = box.must(["inspect", "--diff-only", box.id]);
  assertStringIncludes(text, "\nids\n ! umask: 0027\n     kernel: 0000\n");
  box.remove();
});

boxTest("what others did to its cgroup and its process is told", (box) => {
  const pid = box.startSleeping((config) => (everything(config), config.linux.seccomp = undefined));
  Deno.writeTextFileSync(cgroupFile(box, "cpu", "cpu.shares"), "600");
  Deno.writeTextFileSync(cgroupFile(box, "devices", "devices.allow"), "c 10:230 r");
  Deno.writeTextFileSync(`/proc/${pid}/oom_score_adj`, "500");
  Deno.writeTextFileSync("/sys/fs/cgroup/freezer/cgroup.procs", String(pid));
  try {
    const inspected = inspect(box);
    assertEquals(namesOf(inspected, "different").toSorted(), ["OOM score", "access", "cpu.shares", "freezer"]);
    const { config, kernel: shown, field } = named(inspected, "cpu.shares");
    assertEquals([config, shown, field], ["512", "600", "/linux/resources/cpu"]);
    assertEquals(named(inspected, "freezer").kernel, "/sys/fs/cgroup/freezer");
    // As written, and as in force.
    const memory = named(inspected, "memory.limit_in_bytes");
    assertEquals([memory.config, memory.kernel, memory.verdict], ["100000001", "99999744", "same"]);
  } finally {
    Deno.writeTextFileSync(cgroupFile(box, "freezer", "cgroup.procs"), String(pid));
  }
  box.remove();
});

boxTest("a lower limit of a cgroup above is told", (box) => {
  const above = cgroupFile(box, "pids", "pids.max");
  box.startSleeping(({ linux }) => {
    linux.cgroupsPath = `${box.cgroup}/inner`;
    linux.resources = { pids: { limit: 20 } };
  });
  Deno.writeTextFileSync(above, "10");
  const finding = named(inspect(box), "pids.max");
  assertEquals([finding.verdict, finding.note], ["same", `${above.replace("/pids.max", "")} allows only 10`]);
  box.remove();
  for (const { name, isDirectory } of Deno.readDirSync("/sys/fs/cgroup")) {
    if (isDirectory) removeIfThere(`/sys/fs/cgroup/${name}${box.cgroup}`);
  }
});

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

boxTest("update is what the config says from then on", (box) => {
  box.startSleeping(({ linux }) => linux.resources = { pids: { limit: 20 }, cpu: { shares: 512 } });
  box.must(["update", "--cpu-share", "256", "--pids-limit", "30", box.id]);
  const inspected = inspect(box);
  assertEquals(named(inspected, "cpu.shares").config, "256");
  assertEquals(inspected.differences, 0);
  box.remove();
});

boxTest("a config.json that was changed or removed is told, and does not make differences of its own", (box) => {
  box.startSleeping();
  const argv = box.argv("inspect", "-f", "json", box.id);
  const path = `${box.bundle}/config.json`;
  const text = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, text.replace('"uid": 0', '"uid": 5'));
  const changed = execute(argv);
  assertMatch(changed.stderr, /level=warning msg="config\.json is newer than the container/);
  assertEquals(namesOf(JSON.parse(changed.stdout), "different"), ["uid"]);
  Deno.removeSync(path);
  const removed = execute(argv);
  assertMatch(removed.stderr, /level=warning msg="user and rlimits are not compared: .*config\.json not found/);
  const inspected: Inspected = JSON.parse(removed.stdout);
  assertEquals([inspected.differences, named(inspected, "uid").verdict], [0, "unknown"]);
  box.remove();
});

boxTest("without rights nothing is changed, and what cannot be read is unknown", (box) => {
  box.startSleeping(everything);
  const before = [execute(["/usr/bin/find", box.root, "-printf", "%p %C@\n"]).stdout, box.must(["state", box.id])];
  const { code, stdout, stderr } = box.runc(["inspect", "-f", "json", box.id], {
    prefix: ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"],
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  const inspected: Inspected = JSON.parse(stdout);
  assertEquals(inspected.differences, 0);
  assert(namesOf(inspected, "unknown").includes("/proc"), stdout);
  assertEquals(named(inspected, "noNewPrivileges").verdict, "same");
  inspect(box);
  assertEquals(
    [execute(["/usr/bin/find", box.root, "-printf", "%p %C@\n"]).stdout, box.must(["state", box.id])],
    before,
  );
  box.remove();
});

boxTest("a terminal gets colours, unless NO_COLOR is set; anything else gets none", (box) => {
  box.startSleeping(({ linux }) => linux.resources = { cpu: { shares: 512 } });
  Deno.writeTextFileSync(cgroupFile(box, "cpu", "cpu.shares"), "600");
  const args = ["inspect", "--diff-only", box.id];
  const screen = (env: Readonly<Record<string, string>>): string => {
    const { master, slave } = openPty(kernel);
    using terminal = master;
    using stdout = slave;
    using running = box.start(args, { stdout, env });
    assertEquals(running.wait().code, 0);
    const bytes = new Uint8Array(65536);
    return new TextDecoder().decode(bytes.subarray(0, kernel.call("read", terminal.number, bytes, bytes.length)));
  };
  assertStringIncludes(screen({}), "\x1b[31m ! cpu.shares: 512\x1b[0m");
  assertEquals(screen({ NO_COLOR: "1" }).includes("\x1b"), false);
  assertStringIncludes(screen({ NO_COLOR: "" }), "\x1b[31m");
  assertEquals(box.must(args).includes("\x1b"), false);
  box.remove();
});

boxTest("no such container", (box) => {
  assertEquals(box.refused(["inspect", "nobody"]).code, "container-missing");
});

userTest("a user inspects a container of their own", (user) => {
  user.write((config) => config.process.args = ["sleep", "1000"]);
  user.must(["run", "--detach", "box"]);
  const inspected: Inspected = JSON.parse(user.must(["inspect", "-f", "json", "box"]));
  assertEquals(namesOf(inspected, "different"), []);
  assertEquals([named(inspected, "/proc").verdict, named(inspected, "user").verdict], ["same", "same"]);
  user.must(["delete", "--force", "box"]);
});
