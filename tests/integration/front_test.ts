/**
 * Commands that are carried out without resuming the snapshot: they do what the snapshot would do, and everything that is
 * not known for sure is left to it.
 *
 * With `--init native`, an option that the front does not know, the snapshot carries out a command. The first part of the
 * program's file is a front without a snapshot: what the front leaves to the snapshot ends with an error.
 */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import type { Fd } from "../../lib/ffi/fd.ts";
import { open, pipe } from "../../lib/ffi/files.ts";
import { Flock, openFlag } from "../../lib/ffi/constants.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { RESIDENT, residentOffsets, residentTexts } from "../../lib/libcontainer/state/resident.ts";
import { contentOf } from "./foreground_harness.ts";
import {
  bring,
  type By,
  callsOf,
  cgroupsOf,
  filesOf,
  frontOf,
  frontTest,
  isV1,
  left,
  runBy,
  sleeping,
  statuses,
  strace,
  type TestedStatus,
  withContainer,
} from "./front_harness.ts";
import {
  afterShell,
  type Box,
  type Change,
  execute,
  isSnapshot,
  kernel,
  program,
  type Result,
  Running,
  type StartOptions,
  until,
} from "./harness.ts";

/** Everything that a command line leaves and says. Its log is the file `log` of the box. */
function observe(box: Box, by: By, args: readonly string[], options?: StartOptions): Result & { log?: string } {
  const log = `${box.directory}/log`;
  const { code, stdout, stderr } = runBy(box, by, ["--log", log, "--log-format", "json", ...args], options);
  const plain = (text: string) =>
    box.plain(text).replace(/"pid": [1-9]\d*/, '"pid": 1').replace(/"(created|time)": ?"[^"]*"/g, '"$1":""');
  const seen = {
    code,
    stdout: plain(stdout),
    stderr: plain(stderr),
    log: existsSync(log) ? plain(contentOf(log)) : undefined,
    mode: existsSync(log) ? Deno.statSync(log).mode : undefined,
    files: filesOf(box),
    cgroups: cgroupsOf(box),
    status: filesOf(box) === undefined ? "gone" : settledStatus(box),
  };
  if (existsSync(log)) Deno.removeSync(log);
  return seen;
}

/** A killed process takes a moment to end. */
function settledStatus(box: Box): string {
  execute(["/usr/bin/sleep", "0.1"]);
  return box.state().status;
}

/** Command lines after the global options, and with which statuses the front carries them out. */
const commands: readonly [args: (id: string) => readonly string[], served: readonly TestedStatus[]][] = [
  [(id) => ["state", id], isV1 ? statuses : ["created", "running", "stopped"]],
  [(id) => ["start", id], ["created"]],
  [(id) => ["kill", id], ["created", "running", "paused"]],
  [(id) => ["kill", id, "SIGWINCH"], ["created", "running", "paused"]],
  [(id) => ["kill", id, "9"], ["created", "running", "paused"]],
  [(id) => ["kill", "--all", id, "KILL"], ["created", "running", "paused"]],
  [(id) => ["delete", id], ["created", "stopped"]],
  [(id) => ["delete", "--force", id], isV1 ? statuses : ["created", "running", "stopped"]],
  [(id) => ["pause", id], isV1 ? ["created", "running"] : []],
  [(id) => ["resume", id], isV1 ? ["paused"] : []],
];

for (const [argsOf, served] of commands) {
  const words = argsOf("<id>").join(" ");
  for (const status of statuses) {
    /** What comes of the command in a box of its own. */
    const observeIn = (by: By) =>
      withContainer((box) => {
        bring(box, status);
        return observe(box, by, argsOf(box.id));
      });
    const ignore = !isSnapshot(program);
    if (served.includes(status)) {
      Deno.test({
        name: `${words}, ${status}: the front does what the snapshot does`,
        ignore,
        fn: () => {
          const byFront = observeIn("front");
          assertEquals(byFront.code, 0, byFront.stderr);
          assertEquals(byFront, observeIn("snapshot"));
        },
      });
    } else {
      Deno.test({
        name: `${words}, ${status}: left to the snapshot, with nothing done`,
        ignore,
        fn: () => {
          withContainer((box) => {
            bring(box, status);
            const before = [filesOf(box), cgroupsOf(box), box.state().status];
            assertEquals(runBy(box, "front", argsOf(box.id)), left);
            assertEquals([filesOf(box), cgroupsOf(box), box.state().status], before);
          });
          assertEquals(observeIn("program"), observeIn("snapshot"));
        },
      });
    }
  }
}

frontTest("the forms of options that callers use are known", (box) => {
  bring(box, "running");
  const state = runBy(box, "snapshot", ["state", box.id]);
  const front = (...args: readonly string[]) => execute([frontOf(box), ...args]);
  const log = `${box.directory}/log`;
  const lines: readonly (readonly string[])[] = [
    ["--root", box.root],
    [`--root=${box.root}`],
    ["--root", "/none", "--root", box.root],
    ["--root", `${box.root}/`],
    ["--root", box.root.replaceAll("/", "//").slice(1)],
    ["--systemd-cgroup", "--root", box.root],
    ["--root", box.root, "--log", log, "--log-format", "json"],
    ["--root", box.root, `--log=${log}`, "--log-format=text"],
    ["--root", box.root, "--log", ""],
  ];
  for (const line of lines) assertEquals(front(...line, "state", box.id), state, line.join(" "));
  assertEquals(contentOf(log), "");
  assertEquals(front("--root", box.root, "kill", "-a", box.id, "WINCH").code, 0);
  for (const signal of ["28", "WINCH", "SIGWINCH"]) {
    assertEquals(front("--root", box.root, "kill", box.id, signal).code, 0);
  }
  assertEquals(front("--root", box.root, "delete", "-f", box.id), { code: 0, stdout: "", stderr: "" });
  assertEquals(filesOf(box), undefined);
});

frontTest("what the front does not know is left, and is as without it", (box) => {
  bring(box, "running");
  const { id, root } = box;
  const here = ["--root", root];
  const lines: readonly (readonly string[])[] = [
    [],
    [...here],
    ["--root"],
    ["--log"],
    ["state"],
    [...here, "state"],
    [...here, "state", id, "more"],
    [...here, "state", ""],
    [...here, "state", "../x"],
    [...here, "state", "."],
    [...here, "state", "-x"],
    [...here, "state", "--help"],
    [...here, "state", "--", id],
    [...here, "state", "missing"],
    [...here, "state=x", id],
    [...here, "stat", id],
    [...here, "states", id],
    [...here, "state\n", id],
    [...here, `--${"x".repeat(100)}`, "state", id],
    [...here, "--debug", "start", id],
    [...here, "-systemd-cgroup", "state", id],
    [...here, "--systemd-cgroup=false", "state", id],
    [...here, "--systemd-cgroup=maybe", "state", id],
    [...here, "--log-format", "xml", "state", id],
    [...here, "--log-format", "", "state", id],
    [...here, "--log", "/proc/none/log", "state", id],
    [...here, "--log", box.directory, "state", id],
    [...here, "--version"],
    ["--root", "/", "state", id],
    ["--root", "", "state", id],
    ["--root", `${root}/../state`, "state", id],
    ["--root", `${root}/missing`, "state", id],
    ["--root", "state", "state", id],
    [...here, "kill", id, "NOSUCH"],
    [...here, "kill", id, "sigwinch"],
    [...here, "kill", id, "+28"],
    [...here, "kill", id, "SIGSIGWINCH"],
    [...here, "kill", id, "-28"],
    [...here, "kill", id, "WINCH", "more"],
    [...here, "kill", "--all=true", id, "WINCH"],
    [...here, "kill", "--none", id, "WINCH"],
    [...here, "delete", id, "--none"],
    [...here, "start", id],
    [...here, "list"],
  ];
  const timeless = (result: Result) => ({ ...result, stderr: result.stderr.replace(/time="[^"]*"/g, "") });
  const options = { cwd: box.directory };
  for (const line of lines) {
    const { code, stdout, stderr } = execute([frontOf(box), ...line], options);
    assertEquals({ code, stdout, stderr }, left, line.join(" "));
    const whole = timeless(execute([program, ...line], options));
    assertEquals(whole, timeless(execute([program, "--init", "native", ...line], options)), line.join(" "));
  }
  assertEquals(box.state().status, "running");
});

frontTest("variables that change what a command does leave it to the snapshot", (box) => {
  bring(box, "created");
  const by = (env: Record<string, string>, ...args: string[]) => runBy(box, "front", args, { env }).code === 0;
  assertEquals(by({ RUNC_INIT: "native" }, "state", box.id), false);
  assertEquals(by({ NOTIFY_SOCKET: "/x" }, "start", box.id), false);
  assertEquals(by({ NOTIFY_SOCKET: "/x", XDG_RUNTIME_DIR: "/x", A: "" }, "state", box.id), true);
  assertEquals(box.state().status, "created");
});

frontTest("without --root, the state directory is /run/runc if it does not depend on the caller", (box) => {
  box.write(sleeping);
  const create = [program, "create", "--bundle", box.bundle, box.name];
  try {
    assertEquals(execute(create).code, 0);
    const state = (env: Record<string, string>) => execute([frontOf(box), "state", box.name], { env });
    assertEquals(state({}), execute([program, "--init", "native", "state", box.name]));
    assertEquals(state({}).code, 0);
    // Podman passes it on.
    const session = { XDG_RUNTIME_DIR: box.directory };
    assertEquals(state(session), state({}));
    for (const other of [["/usr/bin/setpriv", "--ruid", "1"], ["/usr/bin/unshare", "--user", "--map-root-user"]]) {
      assertEquals(execute([...other, frontOf(box), "state", box.name], { env: session }), left, other.join(" "));
    }
  } finally {
    assertEquals(execute([program, "--init", "native", "delete", "--force", box.name]).code, 0);
  }
});

/** What can be wrong with the file. */
const damages: readonly [name: string, damage: (path: string, box: Box) => void][] = [
  ["is missing", (path) => Deno.removeSync(path)],
  ["is empty", (path) => Deno.truncateSync(path)],
  ["is cut in its head", (path) => Deno.truncateSync(path, 100)],
  ["is cut in its texts", (path) => Deno.truncateSync(path, Deno.statSync(path).size - 1)],
  ["is longer", (path) => Deno.writeTextFileSync(path, "x", { append: true })],
  ["is of another version", (path) => change(path, 7, 2)],
  ["is another file", (path) => Deno.writeTextFileSync(path, "x".repeat(1000))],
  ["has a text beyond its end", (path) => change(path, entryOf("startTime") + 1, 0x40)],
  ["has a text that does not end", (path) => change(path, entryOf("startTime") + 4, 1)],
  ["has a text of 4 GiB", (path) => change(path, entryOf("processFile") + 7, 0xff)],
  ["is of another state.json", (path) => change(path, residentOffsets.identity + 8, 1, 2, 3)],
  ["may be written by others", (path) => Deno.chmodSync(path, 0o602)],
  ["may be written by the group", (path) => Deno.chmodSync(path, 0o620)],
  ["is another user's", (path) => Deno.chownSync(path, 1000, 0)],
  ["is a symlink", (path, box) => {
    Deno.renameSync(path, `${box.directory}/elsewhere`);
    Deno.symlinkSync(`${box.directory}/elsewhere`, path);
  }],
  ["is a fifo", (path) => {
    Deno.removeSync(path);
    assertEquals(execute(["/usr/bin/mkfifo", path]).code, 0);
  }],
  ["is a directory", (path) => {
    Deno.removeSync(path);
    Deno.mkdirSync(path);
  }],
];

const entryOf = (name: typeof residentTexts[number]) => residentOffsets.texts + 8 * residentTexts.indexOf(name);

function change(path: string, at: number, ...values: readonly number[]): void {
  const bytes = Deno.readFileSync(path);
  bytes.set(values, at);
  Deno.writeFileSync(path, bytes);
}

for (const [name, damage] of damages) {
  frontTest(`if the file ${name}, commands are left to the snapshot`, (box) => {
    bring(box, "running");
    const path = `${box.root}/${box.id}/${RESIDENT}`;
    assertEquals(runBy(box, "front", ["state", box.id]).code, 0);
    damage(path, box);
    for (const args of [["state", box.id], ["kill", box.id, "KILL"], ["pause", box.id], ["delete", "-f", box.id]]) {
      assertEquals(runBy(box, "front", args), left);
    }
    assertEquals(box.state().status, "running");
    assertEquals(runBy(box, "program", ["delete", "--force", box.id]), { code: 0, stdout: "", stderr: "" });
    assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
  });
}

frontTest("after an update of ours the front knows the container, after one of Debian's runc it does not", (box) => {
  bring(box, "running");
  assertEquals(runBy(box, "front", ["state", box.id]).code, 0);
  box.must(["update", "--memory", "64m", box.id]);
  assertEquals(runBy(box, "front", ["state", box.id]), runBy(box, "snapshot", ["state", box.id]));
  const theirs = execute(["/usr/sbin/runc", "--root", box.root, "update", "--pids-limit", "100", box.id]);
  assertEquals(theirs.code, 0, theirs.stderr);
  for (const args of [["state", box.id], ["kill", box.id, "KILL"]]) assertEquals(runBy(box, "front", args), left);
  assertEquals(runBy(box, "program", ["state", box.id]), runBy(box, "snapshot", ["state", box.id]));
  assertEquals(runBy(box, "program", ["delete", "--force", box.id]).code, 0);
});

frontTest("a container of Debian's runc is left to the snapshot", (box) => {
  box.write(sleeping);
  const theirs = ["/usr/sbin/runc", "--root", box.root, "run", "--detach", "--bundle", box.bundle, box.id];
  assertEquals(execute(theirs).code, 0);
  assertEquals(runBy(box, "front", ["state", box.id]), left);
  assertEquals(runBy(box, "program", ["state", box.id]), runBy(box, "snapshot", ["state", box.id]));
  assertEquals(runBy(box, "program", ["delete", "--force", box.id]).code, 0);
});

const hook = { path: "/bin/true" };

/** Containers whose acts are others, and the commands that change. */
const traits: readonly [name: string, change: Change, leftArgs: readonly string[], servedArgs: readonly string[]][] = [
  ["a poststart hook", (config) => config.hooks = { poststart: [hook] }, ["start"], ["state"]],
  ["a poststop hook", (config) => config.hooks = { poststop: [hook] }, ["delete"], ["start"]],
  [
    "another's pid namespace",
    (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    },
    ["delete"],
    ["kill"],
  ],
];

for (const [name, change, [leftCommand = ""], [servedCommand = ""]] of traits) {
  frontTest(`with ${name}, ${leftCommand} is left to the snapshot and ${servedCommand} is not`, (box) => {
    bring(box, "created", change);
    assertEquals(runBy(box, "front", [leftCommand, box.id]), left);
    assertEquals(box.state().status, "created");
    assertEquals(runBy(box, "front", [servedCommand, box.id]).code, 0);
    if (name.includes("pid")) assertEquals(runBy(box, "front", ["kill", box.id, "KILL"]), left);
    assertEquals(runBy(box, "program", ["delete", "--force", box.id]).code, 0);
  });
}

frontTest("init is known by its start time, whatever it calls itself", (box) => {
  bring(box, "running", (config) => {
    config.process.args = ["sh", "-c", "printf ') Z 1 1 1)' > /proc/self/comm; while :; do sleep 1; done"];
  });
  const { pid } = box.state();
  until("its name", () => contentOf(`/proc/${pid}/comm`).startsWith(") Z 1"));
  assertEquals(runBy(box, "front", ["state", box.id]), runBy(box, "snapshot", ["state", box.id]));
  assertMatch(runBy(box, "front", ["state", box.id]).stdout, /"status": "running"/);
  // As if another process had init's pid now.
  const path = `${box.root}/${box.id}/${RESIDENT}`;
  const file = Deno.readFileSync(path);
  const at = new DataView(file.buffer).getUint32(entryOf("startTime"), true);
  for (const [index, digit] of [[at, file[at]! ^ 1], [at + 1, 0]] as const) {
    change(path, index, digit);
    assertMatch(runBy(box, "front", ["state", box.id]).stdout, /"status": "stopped"/);
    for (const signal of ["KILL", "TERM"]) assertEquals(runBy(box, "front", ["kill", box.id, signal]), left);
    Deno.writeFileSync(path, file);
  }
  assertEquals(box.state().status, "running");
});

frontTest("a zombie, and one whose end is recorded, are left to the snapshot, which says how they ended", (box) => {
  bring(box, "running");
  const { pid } = box.state();
  kill(kernel, pid, 9);
  until("it has ended", () => /\) Z /.test(contentOf(`/proc/${pid}/stat`)));
  // Deno's own function reaps nothing else.
  const args = ["--root", box.root, "state", box.id];
  const { code, stderr } = new Deno.Command(frontOf(box), { args }).outputSync();
  assertEquals([code, new TextDecoder().decode(stderr)], [left.code, left.stderr]);
  assertMatch(contentOf(`/proc/${pid}/stat`), /\) Z /);
  until("it is reaped", () => box.state().status === "stopped" && !existsSync(`/proc/${pid}`));
  assertEquals(runBy(box, "front", ["state", box.id]).code, 0);
  Deno.writeFileSync(`${box.root}/${box.id}/exit`, new Uint8Array(24));
  for (const args of [["state", box.id], ["delete", box.id]]) assertEquals(runBy(box, "front", args), left);
  assertEquals(runBy(box, "program", ["delete", box.id]).code, 0);
  assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
});

frontTest("without /proc, nobody is taken for gone", (box) => {
  bring(box, "running");
  const prefix = ["/usr/bin/unshare", "--mount", ...afterShell("umount -l /proc")];
  const { code, stdout, stderr } = runBy(box, "program", ["state", box.id], { prefix });
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /mount proc on \/proc/);
});

frontTest("a file that the front does not know is removed by the snapshot", (box) => {
  bring(box, "created");
  Deno.writeTextFileSync(`${box.root}/${box.id}/more`, "");
  assertEquals(runBy(box, "front", ["delete", box.id]), left);
  assert(filesOf(box)!.includes("state.json"), "the state goes last");
  assertEquals(runBy(box, "program", ["delete", box.id]).code, 0);
  assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
});

frontTest("cgroups that the container has made below its own are the snapshot's work", (box) => {
  bring(box, "running");
  const below = isV1 ? `/sys/fs/cgroup/freezer${box.cgroup}/below` : `/sys/fs/cgroup${box.cgroup}/below`;
  Deno.mkdirSync(below);
  if (isV1) assertEquals(runBy(box, "front", ["kill", box.id, "KILL"]), left);
  assertEquals(runBy(box, "front", ["delete", "--force", box.id]), left);
  assertEquals(runBy(box, "program", ["delete", "--force", box.id]).code, 0);
  assertEquals([filesOf(box), cgroupsOf(box), existsSync(below)], [undefined, 0, false]);
});

/** Opens and locks the container's directory. */
function lock(box: Box): Fd {
  const directory = open(kernel, `${box.root}/${box.id}`, openFlag(kernel.arch).O_DIRECTORY);
  assertEquals(kernel.call("flock", directory.number, Flock.LOCK_EX), 0);
  return directory;
}

frontTest("a command that changes a container waits for its lock, one that only looks does not", (box) => {
  bring(box, "created");
  const held = lock(box);
  assertEquals(runBy(box, "front", ["state", box.id]).code, 0);
  for (const args of [["delete", box.id], ["delete", "-f", box.id]]) assertEquals(runBy(box, "front", args), left);
  using waiting = new Running([program, "--root", box.root, "delete", box.id]);
  until("it waits", () => contentOf(`/proc/${waiting.pid}/wchan`).includes("lock"));
  assertEquals([waiting.isOver, box.state().status], [false, "created"]);
  held.close();
  assertEquals(waiting.wait().code, 0);
  assertEquals(filesOf(box), undefined);
});

frontTest("of several starts at once one succeeds, and the others say why not", (box) => {
  for (let time = 0; time < 10; time++) {
    bring(box, "created");
    const running = Array.from({ length: 6 }, () => new Running([program, "--root", box.root, "start", box.id]));
    const results = running.map((each) => each.wait());
    running.forEach((each) => each[Symbol.dispose]());
    assertEquals(results.filter(({ code }) => code === 0).length, 1, JSON.stringify(results));
    for (const { code, stderr } of results.filter(({ code }) => code !== 0)) {
      assertEquals(code, 1);
      assertMatch(stderr, /cannot start an already running container|exec fifo is empty/);
    }
    assertEquals(box.state().status, "running");
    assertEquals(filesOf(box), ["resident", "state.json"]);
    assertEquals(runBy(box, "program", ["delete", "--force", box.id]).code, 0);
  }
});

frontTest("commands at once leave nothing, and none of them fails in an unknown way", (box) => {
  const known = new RegExp(
    "container does not exist|container not running|container not paused|cannot start|exec fifo is empty|" +
      "that is not stopped|^$",
  );
  for (let time = 0; time < 8; time++) {
    bring(box, "created");
    const lines = [["start"], ["state"], ["pause"], ["resume"], ["kill"], ["state"], ["delete", "--force"], ["start"]];
    const running = lines.map((line) => new Running([program, "--root", box.root, ...line, box.id]));
    for (const each of running) {
      const { stderr } = each.wait();
      assertMatch(stderr, known);
      each[Symbol.dispose]();
    }
    assertEquals(runBy(box, "program", ["delete", "--force", box.id]), { code: 0, stdout: "", stderr: "" });
    assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
  }
});

interface Interrupted {
  readonly words: readonly [command: string, ...rest: readonly string[]];
  readonly from: TestedStatus;
  /** The status afterwards; absent: the container is gone. */
  readonly to?: string;
  /** The last call of this name cannot be repeated: the message that its failure gives, and the status then. */
  readonly end?: readonly [name: string, message: RegExp, to?: string];
}

const interrupted: readonly Interrupted[] = [
  // As when the act is taken back, init is killed. It may be ending when the snapshot looks.
  {
    words: ["start"],
    from: "created",
    to: "running",
    end: ["unlinkat", /container that has stopped|exec fifo is empty/, "stopped"],
  },
  { words: ["kill", "KILL"], from: "running", to: "stopped" },
  { words: ["pause"], from: "running", to: "paused" },
  { words: ["resume"], from: "paused", to: "running" },
  // The empty directory.
  { words: ["delete"], from: "created", end: ["unlinkat", /container does not exist/] },
];

for (const { words: [command, ...rest], from, to, end } of interrupted) {
  Deno.test({
    name: `${command} ${rest}, ${from}: whatever call of the front fails, the snapshot does the rest (needs ${strace})`,
    ignore: !isSnapshot(program) || !existsSync(strace) || (!isV1 && ["pause", "resume"].includes(command)),
    fn: () => {
      const argsOf = (box: Box) => [command, box.id, ...rest];
      const calls = withContainer((box) => {
        bring(box, from);
        return callsOf(box, argsOf(box));
      });
      assert(calls.length > 10, `${calls.length} calls`);
      const last = end && calls.findLast(([name]) => name === end[0]);
      for (const [name, nth] of calls) {
        const isLast = name === last?.[0] && nth === last[1];
        const [, message, expected] = isLast ? end! : ["", /^$/, to];
        withContainer((box) => {
          bring(box, from);
          const prefix = [strace, "-qqq", "-o", "/dev/null", "-e", `inject=${name}:error=EIO:when=${nth}`];
          const { code, stderr } = runBy(box, "program", argsOf(box), { prefix });
          const status = filesOf(box) && settledStatus(box);
          assertEquals([code, status], [isLast ? 1 : 0, expected], `${name} ${nth}: ${stderr}`);
          assertMatch(stderr, message);
          if (status === undefined) assertEquals(cgroupsOf(box), 0);
        });
      }
    },
  });
}

frontTest("standard streams that are closed, and readers that are gone, are as without the front", (box) => {
  bring(box, "running");
  for (const closed of ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"]) {
    const results = (["program", "snapshot"] as const).map((by) =>
      runBy(box, by, ["state", box.id], { prefix: afterShell(closed) })
    );
    assertEquals(results[0], results[1], closed);
    assertEquals(runBy(box, "front", ["state", box.id], { prefix: afterShell(closed) }).code, 1);
  }
  const { read, write } = pipe(kernel, "output without a reader");
  read.close();
  using output = write;
  const [byProgram, bySnapshot] = (["program", "snapshot"] as const).map((by) =>
    runBy(box, by, ["state", box.id], { stdout: output })
  );
  assertEquals(byProgram, bySnapshot);
  assertNotEquals(byProgram!.code, 0);
  const full = open(kernel, "/dev/full", openFlag(kernel.arch).O_WRONLY);
  using device = full;
  const [onFull, expected] = (["program", "snapshot"] as const).map((by) =>
    runBy(box, by, ["state", box.id], { stdout: device })
  );
  const timeless = ({ stderr, ...rest }: Result) => ({ ...rest, stderr: stderr.replace(/time="[^"]*"/, "") });
  assertEquals(timeless(onFull!), timeless(expected!));
  assertEquals(onFull!.code, 1);
});

frontTest("the front has no descriptor too many, and needs few", (box) => {
  bring(box, "running");
  for (const limit of [3, 4, 5, 6]) {
    const prefix = afterShell(`ulimit -Sn ${limit}`);
    const [byProgram, bySnapshot] = (["program", "snapshot"] as const).map((by) =>
      runBy(box, by, ["state", box.id], { prefix })
    );
    assertEquals(byProgram, bySnapshot, `${limit} descriptors`);
  }
});
