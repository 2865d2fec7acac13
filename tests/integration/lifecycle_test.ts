/** create, start, state, kill, delete, list: what each does in each state, and what it says. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { open } from "../../lib/ffi/files.ts";
import {
  afterShell,
  type Box,
  boxTest,
  type Change,
  comparing,
  everyone,
  execute,
  executors,
  kernel,
  type Result,
  Running,
  type Runtime,
  until,
} from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";
import { UnixServer } from "./unix_server.ts";

/** A container whose program writes a line to /out for every start of it, and sleeps. */
function create(box: Box, script = "echo started >> /out; exec sleep 1000"): void {
  box.write((config) => {
    config.process.args = ["sh", "-c", script];
    config.root.readonly = false;
  });
  box.must(["create", box.id]);
}

const output = (box: Box): string => {
  try {
    return Deno.readTextFileSync(`${box.rootfs}/out`);
  } catch {
    return "";
  }
};

const isFile = (path: string): boolean => {
  try {
    return Deno.lstatSync(path).isFile;
  } catch {
    return false;
  }
};

/** Waits until the container is in a state; reaping is the caller's, so a killed one is a zombie until `state` says so. */
function becomes(box: Box, status: string): void {
  until(`state ${status}`, () => box.state().status === status);
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/** Writes the freezer of the box's cgroup; v1 only, as the hosts are that these tests run on. */
function freeze(box: Box, state: "FROZEN" | "THAWED"): void {
  const path = `${cgroupsNamed(box.name).find((one) => one.includes("/freezer/"))}/freezer.state`;
  Deno.writeTextFileSync(path, state);
  until(`${state} cgroup`, () => Deno.readTextFileSync(path) === `${state}\n`);
}

// --- from created to gone ------------------------------------------------------------------------------------------------

comparing("a container goes from created to running to stopped to gone", (box) => {
  create(box);
  assertEquals([box.state().status, output(box)], ["created", ""]);
  assert(isAlive(box.state().pid));
  box.must(["start", box.id]);
  assertEquals(box.state().status, "running");
  until("the program's first words", () => output(box) === "started\n");
  box.must(["kill", box.id, "KILL"]);
  becomes(box, "stopped");
  assertEquals(box.state().pid, 0);
  box.must(["delete", box.id]);
  assertEquals(box.containers(), []);
}, everyone);

comparing("state prints these fields in this order, without a newline at the end", (box) => {
  create(box);
  const text = box.must(["state", box.id]);
  const { ociVersion, pid, created, ...others } = JSON.parse(text);
  assertEquals(Object.keys(JSON.parse(text)), [
    "ociVersion",
    "id",
    "pid",
    "status",
    "bundle",
    "rootfs",
    "created",
    "owner",
  ]);
  assertMatch(ociVersion, /^1\.\d\.\d/);
  assertEquals(Deno.readTextFileSync(`/proc/${pid}/cgroup`).includes(box.cgroup), true);
  assertMatch(created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z$/);
  assert(Math.abs(Date.parse(created) - Date.now()) < 120_000, created);
  assertEquals(others, { id: box.id, status: "created", bundle: box.bundle, rootfs: box.rootfs, owner: "" });
  assert(text.startsWith('{\n  "ociVersion"') && text.endsWith("}"), text);
  box.remove();
}, everyone);

comparing("annotations are in the state", (box) => {
  box.startSleeping((config) => config.annotations = { "org.example.a": "1", b: "<&>" });
  assertEquals(box.state().annotations, { "org.example.a": "1", b: "<&>" });
  box.remove();
}, everyone);

/** The files in the container's directory, without the one that only ours has. */
const filesOf = (box: Box) =>
  [...Deno.readDirSync(`${box.root}/${box.id}`)].map(({ name }) => name).filter((name) => name !== "resident");

comparing("the state directory and its files are as Debian's runc makes them", (box) => {
  create(box);
  const seen = ["", "/exec.fifo", "/state.json"].map((name) => {
    const { mode, uid, isFile, isDirectory, isFifo } = Deno.statSync(`${box.root}/${box.id}${name}`);
    return [name, (mode! & 0o7777).toString(8), uid, isFile, isDirectory, isFifo];
  });
  assertEquals(seen.map(([name, mode]) => [name, mode]), [["", "711"], ["/exec.fifo", "622"], ["/state.json", "600"]]);
  assertEquals((Deno.statSync(box.root).mode! & 0o7777).toString(8), "700");
  box.must(["start", box.id]);
  assertEquals(filesOf(box), ["state.json"]);
  box.remove();
  return seen;
}, everyone);

comparing("the container's process is in its cgroup in every hierarchy, and in no other", (box) => {
  const pid = box.startSleeping();
  const paths = Deno.readTextFileSync(`/proc/${pid}/cgroup`).trimEnd().split("\n").map((line) =>
    box.plain(line.replace(/^\d+:/, ""))
  );
  box.remove();
  return paths.filter((path) => path.endsWith("<cgroup>")).sort();
}, everyone);

comparing("the program inherits the runtime's stdio when it is detached", (box) => {
  box.write((config) => config.process.args = ["sh", "-c", "echo out; echo err >&2; cat"]);
  using running = box.start(["run", "--detach", box.id], { stdin: "in\n" });
  assertEquals(running.wait().code, 0);
  until("the program's output", () => running.stdout === "out\nin\n" && running.stderr === "err\n");
  becomes(box, "stopped");
  box.must(["delete", box.id]);
}, everyone);

comparing("run --keep leaves a stopped container", (box) => {
  box.write((config) => config.process.args = ["sh", "-c", "exit 4"]);
  assertEquals(box.runc(["run", "--keep", box.id]).code, 4);
  assertEquals([box.state().status, box.state().pid], ["stopped", 0]);
  assertEquals(box.refused(["start", box.id]).msg, "cannot start a container that has stopped");
  box.must(["delete", box.id]);
});

comparing("the bundle is where --bundle says, and else the working directory", (box) => {
  const other = `${box.directory}/other`;
  Deno.mkdirSync(other);
  Deno.renameSync(`${box.bundle}/config.json`, `${other}/config.json`);
  Deno.renameSync(box.rootfs, `${other}/rootfs`);
  assertEquals(box.runc(["run", "--bundle", other, box.id]).code, 0);
  assertEquals(box.runc(["run", "--bundle", "../other", box.id]).code, 0);
  assertEquals(box.runc(["run", box.id], { cwd: other }).code, 0);
}, everyone);

comparing("a bundle behind a symlink is where that leads, for state, hooks and relative paths", (box) => {
  Deno.symlinkSync("bundle", `${box.directory}/link`);
  const seen = `${box.directory}/seen`;
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", `pwd -P > ${seen}; cat >> ${seen}`] }] };
  });
  for (const path of [`${box.directory}/link`, "../link/../link/."]) {
    box.must(["create", "--bundle", path, box.id]);
    const { bundle, rootfs } = box.state();
    box.remove();
    const [cwd, state = ""] = Deno.readTextFileSync(seen).split("\n");
    assertEquals([bundle, rootfs, cwd, JSON.parse(state).bundle], [box.bundle, box.rootfs, box.bundle, box.bundle]);
  }
}, everyone);

// --- pid file ------------------------------------------------------------------------------------------------------------

for (const command of ["create", "run --detach", "run"]) {
  comparing(`${command} --pid-file writes the host's pid and nothing else`, (box) => {
    box.write((config) => config.process.args = command === "run" ? ["true"] : ["sleep", "1000"]);
    box.must([...command.split(" "), "--pid-file", `${box.directory}/pid`, box.id]);
    const text = Deno.readTextFileSync(`${box.directory}/pid`);
    assertMatch(text, /^\d+$/);
    assertEquals([...Deno.readDirSync(box.directory)].map(({ name }) => name).sort(), ["bundle", "pid", "state"]);
    if (command === "run") return;
    assertEquals(Number(text), box.state().pid);
    box.remove();
  }, everyone);
}

comparing("a relative --pid-file is below the caller's directory, not the bundle's", (box) => {
  box.must(["run", "--bundle", box.bundle, "--pid-file", "pid", box.id], { cwd: box.directory });
  assertMatch(Deno.readTextFileSync(`${box.directory}/pid`), /^\d+$/);
}, everyone);

comparing("a pid file takes an old one's place, which nobody sees half written", (box) => {
  const path = `${box.directory}/pid`;
  Deno.writeTextFileSync(path, "the old one, which is longer");
  using old = open(kernel, path, 0);
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["create", "--pid-file", path, box.id]);
  assertEquals(Deno.readTextFileSync(path), String(box.state().pid));
  assertEquals(Deno.readTextFileSync(`/proc/self/fd/${old.number}`), "the old one, which is longer");
  const execPath = `${box.directory}/exec-pid`;
  box.must(["exec", "--pid-file", execPath, box.id, "true"]);
  assertMatch(Deno.readTextFileSync(execPath), /^\d+$/);
  box.remove();
}, everyone);

comparing("a pid file has no permissions that the caller's umask takes away", (box) => {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  const path = `${box.directory}/pid`;
  const modes = [["create", box.id], ["exec", box.id, "true"], ["exec", box.id, "true"]].map(([command, ...rest]) => {
    box.must([command!, "--pid-file", path, ...rest], { prefix: afterShell("umask 027") });
    return Deno.statSync(path).mode! & 0o777;
  });
  assertEquals(modes, [0o640, 0o640, 0o640]);
  box.remove();
}, everyone);

comparing("a pid file that cannot be written is an error, and no container is left", (box) => {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  for (const command of [["create"], ["run"], ["run", "--detach"]]) {
    assertMatch(
      box.refused([...command, "--pid-file", "/missing/pid", box.id]).msg,
      /\/missing\/\.pid: no such file or directory/,
    );
    assertEquals(box.containers(), []);
  }
}, everyone);

// --- what is refused in which state ---------------------------------------------------------------------------------------

const running = (box: Box) => void box.startSleeping();
const stopped = (box: Box) => {
  box.startSleeping();
  box.must(["kill", box.id, "KILL"]);
  becomes(box, "stopped");
};
const paused = (box: Box) => {
  box.startSleeping();
  freeze(box, "FROZEN");
  assertEquals(box.state().status, "paused");
};

const refusals: readonly [
  fact: string,
  prepare: (box: Box) => void,
  args: string[],
  msg: string,
  by?: readonly Runtime[],
][] = [
  ["start of a running container", running, ["start", "box"], "cannot start an already running container", everyone],
  ["start of a stopped container", stopped, ["start", "box"], "cannot start a container that has stopped", everyone],
  ["start of a paused container", paused, ["start", "box"], "cannot start a container in the paused state", everyone],
  ["kill of a stopped container", stopped, ["kill", "box"], "container not running", everyone],
  [
    "delete of a running container",
    running,
    ["delete", "box"],
    "cannot delete container box that is not stopped: running",
    everyone,
  ],
  ["exec in a stopped container", stopped, ["exec", "box", "true"], "exec failed: cannot exec in a stopped container"],
  [
    "exec in a paused container",
    paused,
    ["exec", "box", "true"],
    "exec failed: cannot exec in a paused container (use --ignore-paused to override)",
  ],
  ["run of an id that is running", running, ["run", "box"], "runc run failed: container with given ID already exists"],
  [
    "create of an id that is stopped",
    stopped,
    ["create", "box"],
    "runc create failed: container with given ID already exists",
  ],
  ["kill with a signal that is none", running, ["kill", "box", "NONSENSE"], 'unknown signal "NONSENSE"', everyone],
];
for (const [fact, prepare, args, msg, by = executors] of refusals) {
  comparing(`refused: ${fact}`, (box) => {
    prepare(box);
    const before = box.state();
    assertEquals(box.refused(args).msg, msg);
    assertEquals(box.state(), before);
    box.remove();
  }, by);
}

for (const args of [["start"], ["state"], ["kill"], ["delete"], ["exec", "true"]]) {
  const [command = "", ...rest] = args;
  boxTest(`refused: ${command} of a container that is not there`, (box) => {
    const { msg, code, exitCode } = box.refused([command, "missing", ...rest]);
    assertMatch(msg, /container does not exist$/);
    assertEquals([code, exitCode], ["container-missing", command === "exec" ? 255 : 1]);
  });
}

// --- kill ----------------------------------------------------------------------------------------------------------------

const signals: readonly [argument: string, name: string][] = [
  ["TERM", "TERM"],
  ["SIGUSR1", "USR1"],
  ["usr2", "USR2"],
  ["sighup", "HUP"],
  ["2", "INT"],
];
comparing("kill sends the signal that it is told, by name or number, SIGTERM by default", (box) => {
  create(
    box,
    'for name in TERM USR1 USR2 HUP INT; do trap "echo $name >> /out" $name; done; echo ready >> /out; while :; do sleep 0.01; done',
  );
  box.must(["start", box.id]);
  let expected = "ready\n";
  until("the traps", () => output(box) === expected);
  for (const [argument, name] of [...signals, ["", "TERM"]]) {
    box.must(["kill", box.id, ...(argument === "" ? [] : [argument!])]);
    expected += `${name}\n`;
    until(`signal ${argument}`, () => output(box) === expected);
  }
  box.must(["kill", box.id, "0"]);
  box.remove();
}, everyone);

comparing("a created container can be killed, and is stopped then", (box) => {
  create(box);
  box.must(["kill", box.id, "KILL"]);
  becomes(box, "stopped");
  assertEquals(output(box), "");
  box.must(["delete", box.id]);
}, everyone);

comparing("KILL with a shared pid namespace ends every process of the container", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000"];
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
  });
  box.must(["run", "--detach", box.id]);
  const procs = `${cgroupsNamed(box.name).find((path) => path.includes("/pids/"))}/cgroup.procs`;
  const pids = () => Deno.readTextFileSync(procs).trimEnd().split("\n").filter((line) => line !== "").map(Number);
  until("three processes", () => pids().length === 3);
  const all = pids();
  box.must(["kill", box.id, "KILL"]);
  until("their end", () => !all.some(isAlive));
  box.must(["delete", box.id]);
});

comparing("of a container in another one's pid namespace every process ends with the first one", (box) => {
  const host = box.startSleeping();
  const write = (script: string) =>
    box.write((config) => {
      config.process.args = ["sh", "-c", script];
      config.linux.cgroupsPath = `${box.cgroup}-guest`;
      config.linux.namespaces = config.linux.namespaces.map((one) =>
        one.type === "pid" ? { ...one, path: `/proc/${host}/ns/pid` } : one
      );
    });
  const pids = () =>
    cgroupsNamed(`${box.name}-guest`).flatMap((path) =>
      Deno.readTextFileSync(`${path}/cgroup.procs`).trim().split("\n").filter((line) => line !== "").map(Number)
    );
  write("sleep 1000 > /dev/null 2>&1 < /dev/null & exit 5");
  assertEquals(box.runc(["run", "guest"]), { code: 5, stdout: "", stderr: "" });
  write("sleep 1000 & exec sleep 1000");
  box.must(["run", "--detach", "guest"]);
  until("two processes", () => new Set(pids()).size === 2);
  const all = pids();
  box.must(["kill", "guest", "KILL"]);
  until("their end", () => !all.some(isAlive));
  box.must(["delete", "guest"]);
  assertEquals(box.state().status, "running");
  box.remove();
});

comparing("KILL ends a frozen container too", (box) => {
  paused(box);
  const { pid } = box.state();
  box.must(["kill", box.id, "KILL"]);
  until("its end", () => !isAlive(pid));
  box.remove();
}, everyone);

/** Runs `body` with a container whose second process alone is frozen, in a cgroup below the container's. */
function withFrozenBelow(box: Box, body: (pids: { init: number; below: number }) => void, change: Change = () => {}) {
  const init = box.startSleeping((config) => {
    config.process.args = ["sh", "-c", "sleep 1000 & exec sleep 1000"];
    change(config);
  });
  const freezer = cgroupsNamed(box.name).find((one) => one.includes("/freezer/"))!;
  const pids = () => Deno.readTextFileSync(`${freezer}/cgroup.procs`).trim().split("\n").map(Number);
  until("two processes", () => pids().length === 2);
  const below = pids().find((pid) => pid !== init)!;
  // Two levels: whatever is below counts.
  const frozen = `${freezer}/outer/inner`;
  Deno.mkdirSync(frozen, { recursive: true });
  Deno.writeTextFileSync(`${frozen}/cgroup.procs`, `${below}`);
  Deno.writeTextFileSync(`${frozen}/freezer.state`, "FROZEN");
  until("a frozen cgroup", () => Deno.readTextFileSync(`${frozen}/freezer.state`) === "FROZEN\n");
  try {
    body({ init, below });
  } catch (error) {
    Deno.writeTextFileSync(`${frozen}/freezer.state`, "THAWED");
    throw error;
  }
}

comparing("delete --force ends what is frozen in a cgroup below the container's", (box) => {
  withFrozenBelow(box, ({ init, below }) => {
    box.must(["delete", "--force", box.id]);
    assertEquals([isAlive(init), isAlive(below), cgroupsNamed(box.name)], [false, false, []]);
  });
});

comparing("KILL ends what is frozen in a cgroup below the container's", (box) => {
  withFrozenBelow(box, ({ init, below }) => {
    box.must(["kill", "--all", box.id, "KILL"]);
    until("their end", () => !isAlive(init) && !isAlive(below));
  });
  box.must(["delete", box.id]);
  assertEquals(cgroupsNamed(box.name), []);
});

comparing("delete ends what is frozen below where the pid namespace is the host's and init has ended", (box) => {
  withFrozenBelow(box, ({ init, below }) => {
    Deno.kill(init, "SIGKILL");
    until("its end", () => !isAlive(init));
    assertEquals([box.state().status, isAlive(below)], ["stopped", true]);
    box.must(["delete", box.id]);
    until("its end", () => !isAlive(below));
    assertEquals(cgroupsNamed(box.name), []);
  }, ({ linux }) => linux.namespaces = linux.namespaces.filter(({ type }) => type !== "pid"));
});

// --- delete --------------------------------------------------------------------------------------------------------------

comparing("delete of a created container kills it", (box) => {
  create(box);
  const { pid } = box.state();
  box.must(["delete", box.id]);
  assertEquals([isAlive(pid), output(box)], [false, ""]);
}, everyone);

comparing("delete --force ends a running container, and one that is not there is fine", (box) => {
  const pid = box.startSleeping();
  box.must(["delete", "--force", box.id]);
  assertEquals(isAlive(pid), false);
  box.must(["delete", "--force", box.id]);
}, everyone);

comparing("options may stand after the id", (box) => {
  box.startSleeping();
  box.must(["delete", box.id, "-f"]);
}, everyone);

comparing("delete removes what a killed create left, a directory without a state", (box) => {
  Deno.mkdirSync(`${box.root}/${box.id}`, { recursive: true });
  box.must(["delete", "--force", box.id]);
  assertEquals(box.containers(), []);
}, everyone);

// --- list ----------------------------------------------------------------------------------------------------------------

comparing("list shows no containers as a header alone, as null, or as nothing", (box) => {
  Deno.mkdirSync(box.root);
  assertEquals(
    box.must(["list"]),
    `${["ID", "PID", "STATUS", "BUNDLE", "CREATED"].map((one) => one.padEnd(12)).join("")}OWNER\n`,
  );
  assertEquals(box.must(["list", "--format", "json"]).trimEnd(), "null");
  assertEquals(box.must(["list", "--quiet"]), "");
}, everyone);

comparing("list shows every container, sorted by id", (box) => {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  for (const id of ["b", "a"]) {
    box.write((config) => {
      config.process.args = ["sleep", "1000"];
      config.linux.cgroupsPath = `${box.cgroup}-${id}`;
    });
    box.must(["create", id]);
  }
  box.must(["start", "a"]);
  assertEquals(box.must(["list", "-q"]), "a\nb\n");
  const [a, b] = JSON.parse(box.must(["list", "-f", "json"]));
  assertEquals([a.id, a.status, a.owner, b.id, b.status, b.bundle], [
    "a",
    "running",
    "root",
    "b",
    "created",
    box.bundle,
  ]);
  const table = box.must(["list"]).trimEnd().split("\n").map((line) => line.split(/ {2,}/));
  const row = ({ id, pid, status, bundle, created }: typeof a) => [id, String(pid), status, bundle, created, "root"];
  assertEquals(table, [["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], row(a), row(b)]);
  for (const id of ["a", "b"]) box.remove(id);
}, everyone);

boxTest("list tells of a container that it cannot read, and shows the others", (box) => {
  box.startSleeping();
  Deno.mkdirSync(`${box.root}/broken`);
  const { code, stdout, stderr } = box.runc(["list", "-q"]);
  assertEquals([code, stdout], [0, "box\n"]);
  assertMatch(stderr, /load container broken: /);
  Deno.removeSync(`${box.root}/broken`);
  box.remove();
});

boxTest("list refuses a --root that is not there, and a format that is none", (box) => {
  assertMatch(box.refused(["list"]).msg, /state: no such file or directory/);
  Deno.mkdirSync(box.root);
  assertEquals(box.refused(["list", "--format", "xml"]).msg, "invalid format option");
});

// --- at the same time -----------------------------------------------------------------------------------------------------

comparing("of several starts at once one wins, and the program runs once", (box) => {
  create(box);
  const starts = Array.from({ length: 5 }, () => box.start(["start", box.id]));
  const codes = starts.map((start) => start.wait().code);
  starts.forEach((start) => start[Symbol.dispose]());
  until("the program's first words", () => output(box) !== "");
  assertEquals([codes.toSorted(), output(box)], [[0, 1, 1, 1, 1], "started\n"]);
  box.remove();
});

comparing("of several runs of one id at once one wins, and the others leave it alone", (box) => {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  const runs = Array.from({ length: 5 }, () => box.start(["run", "--detach", box.id]));
  const results = runs.map((run) => run.wait());
  runs.forEach((run) => run[Symbol.dispose]());
  assertEquals(results.map(({ code }) => code).sort(), [0, 1, 1, 1, 1]);
  for (const { code, stderr } of results) if (code === 1) assertMatch(stderr, /container with given ID already exists/);
  assertEquals(box.state().status, "running");
  box.remove();
});

/** A lock on the container that somebody else holds, as long as it lives. */
function lockedBy(box: Box): Running {
  const holder = new Running([
    "/usr/bin/flock",
    "--no-fork",
    `${box.root}/${box.id}`,
    "sh",
    "-c",
    "echo locked; exec sleep 1000",
  ]);
  holder.says("locked");
  return holder;
}

/** How many wait for the container's lock. proc_locks(5) */
function waiting(box: Box): number {
  const inode = Deno.statSync(`${box.root}/${box.id}`).ino;
  const lines = Deno.readTextFileSync("/proc/locks").split("\n");
  return lines.filter((line) => line.includes("-> FLOCK ") && line.includes(`:${inode} `)).length;
}

/** Runs several command lines at once, as far as nobody is kept by another's lock; returns what came of each. */
function atOnce(box: Box, lines: readonly (readonly string[])[]): Result[] {
  using holder = lockedBy(box);
  const running = lines.map((line) => box.start(line));
  try {
    until("all wait for the lock", () => waiting(box) === lines.length);
    holder.signal(9);
    return running.map((one) => one.wait());
  } finally {
    for (const one of running) one[Symbol.dispose]();
  }
}

/** A config with a poststop hook that writes a line to a file; returns the lines. */
function withPoststop(box: Box, args: readonly string[]): () => string {
  const path = `${box.directory}/poststop`;
  box.write((config) => {
    config.process.args = [...args];
    config.hooks = { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `echo ran >>${path}`] }] };
  });
  return () => Deno.readTextFileSync(path);
}

boxTest("of several deletes at once one removes the container: its poststop hooks run once", (box) => {
  const hooks = withPoststop(box, ["sleep", "1000"]);
  box.must(["create", box.id]);
  const results = atOnce(box, Array.from({ length: 4 }, () => ["delete", "--force", box.id]));
  assertEquals(results.map(({ code, stderr }) => [code, stderr]), Array(4).fill([0, ""]));
  assertEquals([hooks(), box.containers()], ["ran\n", []]);
});

boxTest("without force the other deletes find no container", (box) => {
  const hooks = withPoststop(box, ["true"]);
  box.must(["run", "--detach", box.id]);
  becomes(box, "stopped");
  const results = atOnce(box, Array.from({ length: 4 }, () => ["delete", box.id]));
  assertEquals(results.map(({ code }) => code).sort(), [0, 1, 1, 1]);
  for (const { code, stderr } of results) if (code !== 0) assertMatch(stderr, /container does not exist/);
  assertEquals([hooks(), box.containers()], ["ran\n", []]);
});

boxTest("a delete of what runs in the foreground: the hooks run once, and both end well", (box) => {
  const hooks = withPoststop(box, ["sleep", "1000"]);
  using running = box.start(["run", box.id]);
  until("it runs", () => box.containers().length > 0 && box.runc(["state", box.id]).stdout.includes("running"));
  assertEquals(atOnce(box, [["delete", "--force", box.id]]), [{ code: 0, stdout: "", stderr: "" }]);
  assertEquals([running.wait().code, running.stderr], [137, ""]);
  assertEquals([hooks(), box.containers()], ["ran\n", []]);
});

boxTest("of several updates at once each takes effect, and is kept", (box) => {
  box.startSleeping();
  const changes: readonly [option: string, value: string, key: string, kept: number][] = [
    ["--memory", "64m", "memory", 64 << 20],
    ["--memory-reservation", "32m", "memory_reservation", 32 << 20],
    ["--cpu-share", "512", "cpu_shares", 512],
    ["--cpu-rt-period", "900000", "cpu_rt_period", 900_000],
  ];
  const lines = changes.map(([option, value]) => ["update", option, value, box.id]);
  for (const { code, stderr } of atOnce(box, lines)) assertEquals([code, stderr], [0, ""]);
  const { config } = JSON.parse(Deno.readTextFileSync(`${box.root}/${box.id}/state.json`));
  for (const [option, , key, kept] of changes) assertEquals(config.cgroups[key], kept, option);
  assertEquals(filesOf(box), ["state.json"]);
  box.remove();
});

boxTest("a delete amid updates leaves nothing of the container", (box) => {
  for (let round = 0; round < 3; round++) {
    box.startSleeping();
    const update = ["update", "--memory", "64m", box.id], remove = ["delete", "--force", box.id];
    const [removed, ...updated] = atOnce(box, [remove, update, update, update]);
    assertEquals([removed!.code, removed!.stderr, box.containers()], [0, "", []]);
    for (const { code, stderr } of updated) {
      if (code !== 0) assertMatch(stderr, /container does not exist|container not running/);
    }
  }
});

boxTest("a delete that had to wait does not remove another container that has the name by then", (box) => {
  box.startSleeping();
  using holder = lockedBy(box);
  using remove = box.start(["delete", "--force", box.id]);
  until("delete waits", () => waiting(box) === 1);
  Deno.renameSync(`${box.root}/${box.id}`, `${box.root}/first`);
  box.startSleeping((config) => config.linux.cgroupsPath = `${box.cgroup}-second`);
  holder.signal(9);
  assertEquals(remove.wait(), { code: 0, stdout: "", stderr: "" });
  assertEquals([box.state().status, box.state("first").status], ["running", "running"]);
  for (const id of ["first", box.id]) box.remove(id);
});

boxTest("whoever only looks, or runs something in the container, does not wait for those who change it", (box) => {
  box.startSleeping();
  using holder = lockedBy(box);
  assertEquals([box.state().status, box.must(["list", "--quiet"])], ["running", "box\n"]);
  for (const line of [["exec", box.id, "true"], ["ps", box.id], ["events", "--stats", box.id]]) box.must(line);
  using update = box.start(["update", "--memory", "64m", box.id]);
  until("update waits", () => waiting(box) === 1);
  // What hangs can be ended.
  box.must(["kill", box.id, "KILL"]);
  becomes(box, "stopped");
  holder.signal(9);
  assertMatch(update.wait().stderr, /container not running/);
  box.remove();
});

boxTest("a poststop hook may call for the container that was", (box) => {
  box.write((config) => {
    const args = ["sh", "-c", `"$@" delete --force ${box.id}; "$@" state ${box.id}; test $? = 1`, "sh", ...box.argv()];
    config.hooks = { poststop: [{ path: "/bin/sh", args, timeout: 60 }] };
  });
  box.must(["run", box.id]);
});

boxTest("delete --force ends a creation that waits for a seccomp agent, which does not answer", (box) => {
  using agent = new UnixServer(`${box.directory}/agent.sock`);
  box.write((config) => {
    config.process.noNewPrivileges = false;
    config.linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      listenerPath: `${box.directory}/agent.sock`,
      // A call of init's, between the state and `created`.
      syscalls: [{ names: ["chdir"], action: "SCMP_ACT_NOTIFY" }],
    };
  });
  using create = box.start(["create", box.id]);
  const { fds: [listener] } = agent.receive({ andNoMore: false, isHopeless: () => create.isOver });
  using _listener = listener;
  assertEquals(box.state().status, "created");
  // A delete that waits for the creation would never end.
  using remove = box.start(["delete", "--force", box.id]);
  assertEquals(remove.wait(), { code: 0, stdout: "", stderr: "" });
  assertEquals([create.wait().code, box.containers()], [1, []]);
});

boxTest("a creation that was removed while its hook hung leaves alone what has its name by then", (box) => {
  const gate = `${box.directory}/gate`;
  execute(["/usr/bin/mkfifo", gate]);
  box.write((config) => {
    config.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", `touch ${gate}.reached; cat ${gate}`] }] };
  });
  using create = box.start(["create", box.id]);
  until("the hook runs", () => isFile(`${gate}.reached`));
  assertEquals(box.runc(["delete", "--force", box.id]).code, 0);
  const pid = box.startSleeping();
  Deno.writeTextFileSync(gate, "");
  assertEquals(create.wait().code, 1);
  assertEquals([box.state().status, isAlive(pid)], ["running", true]);
  box.remove();
});

// --- a cgroup that is there already ----------------------------------------------------------------------------------------

comparing("a cgroup of another container that runs is refused", (box) => {
  const pid = box.startSleeping();
  const { msg } = box.refused(["run", "other"]);
  assertMatch(msg, /container's cgroup is not empty: 1 process\(es\) found/);
  assert(isAlive(pid));
  box.remove();
});

comparing("containers without a cgroupsPath have one named for them, removed with them", (box) => {
  const id = `runc-deno-test-${box.name}`;
  box.write((config) => {
    delete config.linux.cgroupsPath;
    config.process.args = ["cat", "/proc/self/cgroup"];
  });
  const paths = box.must(["run", id]).replaceAll(/^\d+:/gm, "").replaceAll(id, "<id>").trimEnd().split("\n").sort();
  assertEquals(cgroupsNamed(box.name), []);
  return paths;
}, everyone);

// --- a pid that became another's -----------------------------------------------------------------------------------------

for (const sharesPids of [false, true]) {
  const where = sharesPids ? "the host's pid namespace" : "a pid namespace of its own";
  comparing(`in ${where}: a process that has the pid of an init that is gone is never signalled or entered`, (box) => {
    using other = new Running(["/usr/bin/sleep", "1000"]);
    box.startSleeping((config) => {
      if (sharesPids) config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    });
    box.must(["kill", box.id, "KILL"]);
    becomes(box, "stopped");
    // What the start time tells apart: the kernel gives the pid away once more. proc_pid_stat(5), starttime
    const file = `${box.root}/${box.id}/state.json`;
    const state = Deno.readTextFileSync(file);
    const recycled = state.replace(/"init_process_pid":\d+/, `"init_process_pid":${other.pid}`);
    assert(recycled !== state);
    Deno.writeTextFileSync(file, recycled);
    assertEquals([box.state().status, box.state().pid], ["stopped", 0]);
    assertMatch(box.runc(["kill", box.id, "TERM"]).stderr, /container not running/);
    // Without a pid namespace SIGKILL is for all that is in the cgroup, and there is nothing.
    assertEquals(box.runc(["kill", box.id, "KILL"]).stderr === "", sharesPids);
    assertMatch(box.runc(["exec", box.id, "true"]).stderr, /cannot exec in a stopped container/);
    box.must(["delete", "--force", box.id]);
    assertEquals([isAlive(other.pid), other.isOver], [true, false]);
  }, sharesPids ? executors : everyone);
}
