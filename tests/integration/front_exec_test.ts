/**
 * `exec` of a known process: the front starts the image that the first exec was encoded to, and does what the snapshot
 * would do. Where anything that the image depends on is another one, or a call fails, the snapshot does.
 *
 * The front alone (front_harness.ts) is another file than the program, so the file `known` is changed to be for it.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { openFlag } from "../../lib/ffi/constants.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { open, pipe } from "../../lib/ffi/files.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { fstat } from "../../lib/ffi/stat.ts";
import {
  entryOffsets,
  KNOWN,
  knownHead,
  type KnownSection,
  knownSections,
} from "../../lib/libcontainer/state/known_exec.ts";
import { identityOf } from "../../lib/libcontainer/state/store.ts";
import { contentOf } from "./foreground_harness.ts";
import { bring, type By, cgroupsOf, filesOf, frontOf, frontTest, left, runBy, strace } from "./front_harness.ts";
import {
  afterShell,
  type Box,
  execute,
  kernel,
  program,
  type Result,
  Running,
  type StartOptions,
  until,
} from "./harness.ts";

const knownFile = (box: Box) => `${box.root}/${box.id}/${KNOWN}`;

function identity(path: string): readonly bigint[] {
  using file = open(kernel, path, openFlag(kernel.arch).O_CLOEXEC);
  const status = fstat(kernel, file.number);
  assert(typeof status !== "number");
  return identityOf(status);
}

/** Changes words of the file `known`. */
function changeKnown(box: Box, change: (view: DataView) => void): void {
  const file = Deno.readFileSync(knownFile(box));
  change(new DataView(file.buffer));
  Deno.writeFileSync(knownFile(box), file);
}

/** The execs that are known are the front's, which is a file of its own. */
function giveToFront(box: Box): void {
  const words = identity(frontOf(box));
  changeKnown(
    box,
    (view) => words.forEach((word, index) => view.setBigUint64(knownHead.program + 8 * index, word, true)),
  );
}

/** The same command line by the program, which keeps it, and then by the front alone. */
function twice(box: Box, args: readonly string[], options?: StartOptions): readonly [first: Result, again: Result] {
  const first = runBy(box, "program", args, options);
  giveToFront(box);
  return [first, runBy(box, "front", args, options)];
}

const exec = (box: Box, ...words: readonly string[]) => ["exec", box.id, ...words];

function processFile(box: Box, process: object, name = "process.json"): string {
  const path = `${box.directory}/${name}`;
  const usual = { cwd: "/", user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] };
  Deno.writeTextFileSync(path, JSON.stringify({ ...usual, ...process }));
  return path;
}

const script = "id; pwd; env | sort; ulimit -n; cat; grep -E '^(Sig[^Q]|Cap|NoNew|Seccomp)' /proc/self/status; " +
  "ls /proc/self/fd; cat /proc/self/cgroup; readlink /proc/self/ns/* 2>/dev/null; ps; exit 7";

frontTest(
  "a repeated exec does what the first one did: output, status, input, user, environment, limits, signals",
  (box) => {
    bring(box, "running");
    const lines: readonly (readonly string[])[] = [
      ["exec", box.id, "sh", "-c", script],
      ["exec", "-e", "A=b c", "--env=C=", "--cwd", "/tmp", "-u", "5:6", box.id, "sh", "-c", script],
      ["exec", "--no-new-privs", box.id, "sh", "-c", script],
      ["exec", box.id, "sh", "-c", "kill -9 $$"],
      ["exec", box.id, "echo", "", "\u00fc", "--tty"],
    ];
    for (const line of lines) {
      const [first, again] = twice(box, line, { stdin: "some input\n" });
      const plain = ({ stdout, ...rest }: Result) => ({ ...rest, stdout: stdout.replace(/^ *\d+ /gm, "<pid> ") });
      assertEquals(plain(again), plain(first), line.join(" "));
      assert(first.code !== 255 && first.stderr === "", first.stderr);
    }
  },
);

frontTest("a step that warns leaves it to the snapshot, which prints the warning", (box) => {
  bring(box, "running");
  const [first, again] = twice(box, ["exec", "--cap", "CAP_SYS_TIME", box.id, "true"]);
  assertMatch(first.stderr, /can't raise ambient capability CAP_SYS_TIME/);
  assertEquals([first.code, again], [0, left]);
});

frontTest("with --process and --detach: the pid file names the process, and the command has ended", (box) => {
  bring(box, "running");
  const pidFile = `${box.directory}/pid`;
  const limits = { rlimits: [{ type: "RLIMIT_NPROC", soft: 70, hard: 80 }, { type: "RLIMIT_CORE", soft: 1, hard: 2 }] };
  const lineFor = (name: string) => {
    const path = processFile(box, { args: ["sleep", "1000"], ...limits }, name);
    return ["exec", "--process", path, "--detach", "--pid-file", pidFile, box.id];
  };
  const started: string[] = [];
  for (const [by, name] of [["program", "one"], ["front", "two"], ["front", "three"]] as const) {
    const result = runBy(box, by, lineFor(name));
    assertEquals(result, { code: 0, stdout: "", stderr: "" }, name);
    giveToFront(box);
    const pid = contentOf(pidFile);
    assertMatch(pid, /^[1-9]\d*$/);
    started.push(pid);
    // The command ends once init has found the program, which it then executes.
    until("it sleeps", () => contentOf(`/proc/${pid}/cmdline`) === "sleep\x001000\0");
    assertMatch(
      contentOf(`/proc/${pid}/limits`),
      /Max processes +70 +80 [^]*Max core file size +1 +2|core file size +1 +2 [^]*Max processes +70 +80/,
    );
    assertEquals(Deno.readLinkSync(`/proc/${pid}/ns/pid`), Deno.readLinkSync(`/proc/${box.state().pid}/ns/pid`));
    assertEquals(contentOf(`/proc/${pid}/cgroup`), contentOf(`/proc/${box.state().pid}/cgroup`));
  }
  assertEquals(new Set(started).size, 3);
  assertEquals([...Deno.readDirSync(box.directory)].filter(({ name }) => name.startsWith(".")), []);
});

frontTest("HOME comes from the container's /etc/passwd as it is now", (box) => {
  bring(box, "running");
  const line = exec(box, "sh", "-c", "echo $HOME");
  const passwd = (home: string) =>
    Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, `root:x:0:0:root:${home}:/bin/sh\n`);
  passwd("/one");
  const [first, again] = twice(box, line);
  assertEquals([first.stdout, again], ["/one\n", first]);
  for (const home of ["/two", "/one/longer", "/"]) {
    passwd(home);
    assertEquals(runBy(box, "front", line), left, home);
    assertEquals(runBy(box, "program", line).stdout, `${home}\n`);
  }
  Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, "x".repeat(9000));
  const [, long] = twice(box, line);
  assertEquals(long, { code: 0, stdout: "/\n", stderr: "" });
});

/** What makes an exec another one, or its circumstances. */
const others: readonly (readonly [
  name: string,
  change: (box: Box) => { readonly args?: readonly string[]; readonly options?: StartOptions } | void,
])[] = [
  ["another word", (box) => ({ args: exec(box, "echo", "others") })],
  ["one word more", (box) => ({ args: exec(box, "echo", "one", "") })],
  ["one word less", (box) => ({ args: exec(box, "echo") })],
  ["the words in another place", (box) => ({ args: ["exec", "--cwd", "/", box.id, "echo", "one"] })],
  ["another config.json", (box) => box.write((config) => config.process.cwd = "/tmp")],
  ["a config.json of the same length", (box) => {
    const path = `${box.bundle}/config.json`;
    Deno.writeTextFileSync(path, contentOf(path).replace("TERM=xterm", "TERM=xterN"));
  }],
  ["no config.json", (box) => Deno.removeSync(`${box.bundle}/config.json`)],
  ["a log", (box) => ({ args: ["--log", `${box.directory}/log`, ...exec(box, "echo", "one")] })],
  ["more words before it", (box) => ({ args: ["--log-format", "text", ...exec(box, "echo", "one")] })],
  ["another form of the log", (box) => ({ args: ["--log-format", "json", ...exec(box, "echo", "one")] })],
  ["an update", (box) => void box.must(["update", "--pids-limit", "100", box.id])],
  ["an update of Debian's runc", (box) => {
    const argv = ["/usr/sbin/runc", "--root", box.root, "update", "--pids-limit", "100", box.id];
    assertEquals(execute(argv).code, 0);
  }],
  ["a caller with fewer capabilities", () => ({
    options: { prefix: ["/usr/bin/setpriv", "--bounding-set", "-net_raw"] },
  })],
  ["a caller in another mount namespace", () => ({ options: { prefix: ["/usr/bin/unshare", "--mount"] } })],
  ["a caller in another user namespace", () => ({
    options: { prefix: ["/usr/bin/unshare", "--user", "--map-root-user"] },
  })],
  ["another kind of output", () => ({ options: { prefix: afterShell("exec >/dev/null") } })],
  ["a closed input", () => ({ options: { prefix: afterShell("exec <&-") } })],
  ["few descriptors", () => ({ options: { prefix: afterShell("ulimit -n 40") } })],
  ["a caller under a filter", () => ({
    options: { prefix: [strace, "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "-e", "trace=chroot"] },
  })],
];

for (const [name, change] of others) {
  frontTest(`with ${name}, it is left to the snapshot`, (box) => {
    bring(box, "running");
    const usual = exec(box, "echo", "one");
    assertEquals(twice(box, usual)[1], { code: 0, stdout: "one\n", stderr: "" });
    const { args = usual, options } = change(box) ?? {};
    assertEquals(runBy(box, "front", args, options).code, 1);
    const timeless = ({ stderr, ...rest }: Result) => ({
      ...rest,
      stderr: stderr.replace(/time="[^"]*"|\d+, RLIMIT/g, ""),
    });
    assertEquals(
      timeless(runBy(box, "program", args, options)),
      timeless(runBy(box, "snapshot", args, options)),
    );
  });
}

frontTest("what is kept is void for another program, another container, and in another status", (box) => {
  bring(box, "running");
  const line = exec(box, "echo", "one");
  assertEquals(twice(box, line)[1].code, 0);
  const front = frontOf(box);
  Deno.utimeSync(front, 1, 1);
  assertEquals(runBy(box, "front", line), left);
  giveToFront(box);
  assertEquals(runBy(box, "front", line).code, 0);
  const file = Deno.readFileSync(knownFile(box));
  box.must(["pause", box.id]);
  assertEquals(runBy(box, "front", line), left);
  box.must(["resume", box.id]);
  box.remove();
  bring(box, "running");
  Deno.writeFileSync(knownFile(box), file, { mode: 0o600 });
  assertEquals(runBy(box, "front", line), left);
});

/** Where the first entry has the place of a section. */
const sectionAt = (name: KnownSection) => knownHead.entries + entryOffsets.sections + 8 * knownSections.indexOf(name);

/** What can be wrong with the file. */
const damages: readonly (readonly [name: string, damage: (path: string, box: Box) => void])[] = [
  ["is missing", (path) => Deno.removeSync(path)],
  ["is empty", (path) => Deno.truncateSync(path)],
  ["is cut", (path) => Deno.truncateSync(path, Deno.statSync(path).size - 8)],
  ["is longer", (path) => Deno.writeFileSync(path, new Uint8Array(8), { append: true })],
  ["may be written by others", (path) => Deno.chmodSync(path, 0o602)],
  ["is another user's", (path) => Deno.chownSync(path, 1000, 0)],
  ["is a symlink", (path, box) => {
    Deno.renameSync(path, `${box.directory}/elsewhere`);
    Deno.symlinkSync(`${box.directory}/elsewhere`, path);
  }],
  ["is a directory", (path) => {
    Deno.removeSync(path);
    Deno.mkdirSync(path);
  }],
  ["is of another version", (_, box) => changeKnown(box, (view) => view.setUint8(7, 9))],
  ["has no entries", (_, box) => changeKnown(box, (view) => view.setUint32(knownHead.count, 0, true))],
  ["does not end with zeroes", (_, box) => changeKnown(box, (view) => view.setUint8(view.byteLength - 1, 1))],
  [
    "has an entry beyond its end",
    (_, box) => changeKnown(box, (view) => view.setUint32(knownHead.entries, view.byteLength, true)),
  ],
  [
    "has an empty entry",
    (_, box) => changeKnown(box, (view) => view.setUint32(knownHead.entries, 0, true)),
  ],
  [
    "has fewer words than it says",
    (_, box) => changeKnown(box, (view) => view.setUint32(sectionAt("argv") + 4, 5, true)),
  ],
  [
    "has a cut table of namespaces",
    (_, box) =>
      changeKnown(box, (view) => {
        const at = sectionAt("namespaceTable") + 4;
        view.setUint32(at, view.getUint32(at, true) - 8, true);
      }),
  ],
  [
    "has a section beyond its entry",
    (_, box) => changeKnown(box, (view) => view.setUint32(knownHead.entries + entryOffsets.sections, 1 << 20, true)),
  ],
];

for (const [name, damage] of damages) {
  frontTest(`if the file of known execs ${name}, exec is left to the snapshot`, (box) => {
    bring(box, "running");
    const line = exec(box, "echo", "one");
    assertEquals(twice(box, line)[1].code, 0);
    damage(knownFile(box), box);
    assertEquals(runBy(box, "front", line), left);
    assertEquals(runBy(box, "program", line), { code: 0, stdout: "one\n", stderr: "" });
  });
}

frontTest("a request on a fifo is read once: by the snapshot", (box) => {
  bring(box, "running");
  const path = processFile(box, { args: ["echo", "one"] });
  const line = (name: string) => ["exec", "--process", name, box.id];
  assertEquals(twice(box, line(path))[1].code, 0);
  const shell = ["/bin/bash", "-c", `exec "$0" --root "$1" exec --process <(cat "$2") "$3"`];
  assertEquals(execute([...shell, program, box.root, path, box.id]).stdout, "one\n");
});

frontTest("init says what the parent is told: a command that is not found is the snapshot's to report", (box) => {
  bring(box, "running");
  const line = exec(box, "sometimes");
  Deno.writeTextFileSync(`${box.rootfs}/bin/sometimes`, "#!/bin/sh\necho here\n", { mode: 0o755 });
  assertEquals(twice(box, line)[1], { code: 0, stdout: "here\n", stderr: "" });
  Deno.removeSync(`${box.rootfs}/bin/sometimes`);
  const before = contentOf(`/proc/${box.state().pid}/cgroup`);
  assertEquals(runBy(box, "front", line), left);
  const { code, stderr } = runBy(box, "program", line);
  assertEquals(code, 255);
  assertMatch(stderr, /exec: \\?"sometimes\\?": executable file not found/);
  assertEquals(contentOf(`/proc/${box.state().pid}/cgroup`), before);
});

frontTest(`what init says before the stage has named it is taken when it is named (needs ${strace})`, (box) => {
  if (!existsSync(strace)) return;
  bring(box, "running");
  const line = exec(box, "sh", "-c", "echo $HOME");
  const [first] = twice(box, line);
  const log = `${box.directory}/strace`;
  /** Whether init was early, when the stage's n-th write was late. */
  const isEarly = (nth: number, lateMs: number) => {
    const prefix = [strace, "-f", "-qqq", "-o", log, "-e", "trace=write"];
    const inject = ["-e", `inject=write:delay_enter=${1000 * lateMs}:when=${nth}`];
    assertEquals(runBy(box, "front", line, { prefix: [...prefix, ...inject] }), first, `write ${nth}`);
    // Of init: a part of /etc/passwd, or ready.
    return /"\\4\\0.*unfinished.*\n(.*\n)*?.*"\\[67]\\0(.*\n)*?.*resumed.*DELAYED/.test(contentOf(log));
  };
  // One of the stage's writes is its message. Init has fewer writes, and goes on meanwhile, as soon as it can.
  const writes = Array.from({ length: 16 }, (_, index) => index + 1);
  assert([50, 500, 5000].some((lateMs) => writes.some((nth) => isEarly(nth, lateMs))), "init was never early");
});

frontTest("signals reach the process, and the caller's masks and dispositions do not", (box) => {
  bring(box, "running");
  const line = exec(box, "sh", "-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
  for (const by of ["program", "front"] as readonly By[]) {
    const argv = [by === "front" ? frontOf(box) : program, "--root", box.root, ...line];
    const prefix = ["/usr/bin/env", "--ignore-signal=CHLD,TERM", "--block-signal=TERM"];
    using running = new Running([...prefix, ...argv]);
    running.says("ready");
    running.signal(15);
    assertEquals(running.wait(), { code: 3, stdout: "ready\ngot\n", stderr: "" }, by);
    giveToFront(box);
  }
});

frontTest("output of any length goes through, and a reader that leaves ends the process", (box) => {
  bring(box, "running");
  const line = exec(box, "sh", "-c", "head -c 300000 /dev/zero");
  assertEquals(twice(box, line).map(({ stdout }) => stdout.length), [300000, 300000]);
  const endless = exec(box, "sh", "-c", "while :; do echo x; done");
  const through = (by: By) => {
    const argv = [by === "front" ? frontOf(box) : program, "--root", box.root, ...endless];
    const { code, stdout } = execute(["/bin/bash", "-c", '"$@" | head -c 3; echo "${PIPESTATUS[0]}"', "bash", ...argv]);
    return [code, stdout];
  };
  const first = through("program");
  giveToFront(box);
  assertEquals(through("front"), first);
});

frontTest("what waits for the process is as small as after a first exec", (box) => {
  bring(box, "running");
  const line = exec(box, "sleep", "1000");
  const sizes = (["program", "front"] as const).map((by) => {
    const argv = [by === "front" ? frontOf(box) : program, "--root", box.root, ...line];
    using running = new Running(argv);
    const words = ["runc", "--root", box.root, ...line].join("\0");
    until("it is the monitor", () => contentOf(`/proc/${running.pid}/cmdline`) === `${words}\0`);
    const [, kib] = /VmRSS:\s+(\d+)/.exec(contentOf(`/proc/${running.pid}/status`))!;
    giveToFront(box);
    return Number(kib);
  });
  assert(sizes[1]! <= sizes[0]! + 8 && sizes[1]! < 100, `${sizes} KiB`);
});

frontTest("after a delete, and after a container of run has ended, the file is gone", (box) => {
  bring(box, "running");
  assertEquals(twice(box, exec(box, "true"))[1].code, 0);
  assert(filesOf(box)!.includes(KNOWN));
  assertEquals(runBy(box, "front", ["delete", "--force", box.id]).code, 0);
  assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
  box.write((config) => config.process.args = ["sh", "-c", "echo up; cat"]);
  const { read, write } = pipe(kernel, "input");
  using input: Fd = read;
  using running = box.start(["run", box.id], { stdin: input });
  running.says("up");
  assertEquals(twice(box, exec(box, "true"))[1].code, 0);
  write.close();
  input.close();
  assertEquals(running.wait().code, 0);
  assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
});

/** The calls of the front itself, up to where it ends or becomes the monitor: by name, and the how-manieth of its name. */
function callsOf(box: Box, args: readonly string[], options: StartOptions): readonly (readonly [string, number])[] {
  const log = `${box.directory}/strace`;
  const { code, stderr } = runBy(box, "front", args, { ...options, prefix: [strace, "-o", log] });
  assertEquals([code, stderr], [0, ""]);
  const counts = new Map<string, number>();
  const calls: (readonly [string, number])[] = [];
  for (const line of contentOf(log).split("\n")) {
    const [, name = ""] = /^(\w+)\(/.exec(line) ?? [];
    if (["", "execve", "exit_group"].includes(name)) continue;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    calls.push([name, counts.get(name)!]);
    if (name === "execveat") break;
  }
  return calls;
}

/** One of four calls; with the argument `all`, each. */
const some = <T>(calls: readonly T[]): readonly T[] =>
  calls.filter((_, index) => Deno.args.includes("all") || index % 4 === 0 || index > calls.length - 6);

const interrupted: readonly (readonly [name: string, args: (box: Box) => readonly string[], output: string])[] = [
  ["in the foreground", (box) => exec(box, "cat"), "input"],
  ["detached", (box) => ["exec", "--detach", "--pid-file", `${box.directory}/pid`, box.id, "sleep", "1000"], ""],
];

for (const [name, argsOf, output] of interrupted) {
  frontTest(`exec ${name}: whatever call of the front fails, the snapshot does all of it (needs ${strace})`, (box) => {
    if (!existsSync(strace)) return;
    bring(box, "running");
    const args = argsOf(box);
    const options = { stdin: "input" };
    const expected = { code: 0, stdout: output, stderr: "" };
    assertEquals(twice(box, args, options)[1], expected);
    const calls = callsOf(box, args, options);
    assert(calls.length > 60, `${calls.length} calls`);
    endAll(box);
    for (const [call, nth] of some(calls)) {
      const prefix = [strace, "-qqq", "-o", "/dev/null", "-e", `inject=${call}:error=EIO:when=${nth}`];
      // The first one has kept it for the program.
      assertEquals(runBy(box, "program", args, options), expected);
      assertEquals(runBy(box, "program", args, { ...options, prefix }), expected, `${call} ${nth}`);
      if (name === "detached") {
        const pid = contentOf(`${box.directory}/pid`);
        until(`it sleeps, after ${call} ${nth}`, () => contentOf(`/proc/${pid}/cmdline`).startsWith("sleep"));
        endAll(box);
      }
      until(`no process is left after ${call} ${nth}`, () => processesOf(box).length === 1);
    }
    assertEquals([...Deno.readDirSync(box.directory)].filter(({ name }) => name.startsWith(".")), []);
  });
}

for (const [name, argsOf] of interrupted) {
  frontTest(`exec ${name}: killed at any call, the front leaves no process (needs ${strace})`, (box) => {
    if (!existsSync(strace)) return;
    bring(box, "running");
    const args = argsOf(box);
    assertEquals(twice(box, args)[1].code, 0);
    const calls = callsOf(box, args, {});
    let alive = 0;
    for (const [call, nth] of some(calls)) {
      endAll(box);
      const prefix = [strace, "-qqq", "-o", "/dev/null", "-e", `inject=${call}:signal=KILL:when=${nth}`];
      assertEquals(runBy(box, "front", args, { prefix }).code, 137, `${call} ${nth}`);
      // What init has become is a process of the container, as one of another exec is.
      const left = () => processesOf(box).filter((pid) => !/^(sleep|cat)\0/.test(contentOf(`/proc/${pid}/cmdline`)));
      until(`only the container's processes, after ${call} ${nth}`, () => left().length === 0);
      alive += processesOf(box).length - 1;
      if (existsSync(`${box.directory}/.pid`)) Deno.removeSync(`${box.directory}/.pid`);
    }
    assert(alive <= 12, `${alive} processes have started`);
  });
}

/** What happens once init may have executed the program: at the last call of a name. */
const late: readonly (readonly [name: string, call: string, injection: string])[] = [
  ["a signal that the caller ignores", "sendto", "signal=HUP"],
  ["a full disk at the pid file", "write", "error=ENOSPC:delay_enter=500000"],
];

for (const [name, call, injection] of late) {
  frontTest(`${name}: the program runs once (needs ${strace})`, (box) => {
    if (!existsSync(strace)) return;
    bring(box, "running", (config) => config.root.readonly = false);
    const pidFile = `${box.directory}/pid`;
    const args = ["exec", "--detach", "--pid-file", pidFile, box.id, "sh", "-c", "echo run >> /runs; exec sleep 1000"];
    assertEquals(twice(box, args)[1].code, 0);
    const calls = callsOf(box, args, {});
    const lastOf = (call: string) => calls.findLast(([name]) => name === call)![1];
    assertEquals(runBy(box, "program", args).code, 0);
    endAll(box);
    Deno.removeSync(`${box.rootfs}/runs`);
    const injections = [
      // The program has begun when the front asks whether init has.
      `inject=ppoll:delay_enter=500000:when=${lastOf("ppoll")}`,
      `inject=${call}:${injection}:when=${lastOf(call)}`,
    ];
    const tracer = [strace, "-qqq", "-o", "/dev/null", ...injections.flatMap((each) => ["-e", each])];
    const prefix = ["/usr/bin/env", "--ignore-signal=HUP", ...tracer];
    assertEquals(runBy(box, "program", args, { prefix }), { code: 0, stdout: "", stderr: "" });
    until("it sleeps", () => contentOf(`/proc/${contentOf(pidFile)}/cmdline`) === "sleep\x001000\0");
    assertEquals(contentOf(`${box.rootfs}/runs`), "run\n");
    endAll(box);
  });
}

/** The processes of the container's pid namespace. */
function processesOf(box: Box): readonly number[] {
  const namespaceOf = (pid: string) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/ns/pid`);
    } catch {
      // It has ended.
      return undefined;
    }
  };
  const own = namespaceOf(String(box.state().pid));
  return [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => /^\d+$/.test(name))
    .filter((pid) => namespaceOf(pid) === own).map(Number);
}

/** Ends the processes of the container, but for its first one. */
function endAll(box: Box): void {
  const { pid } = box.state();
  const others = () => processesOf(box).filter((each) => each !== pid);
  for (const each of others()) kill(kernel, each, 9);
  until("they have ended", () => others().length === 0);
}

frontTest("many at once, and a container that ends meanwhile: nothing is left, and each says what happened", (box) => {
  for (let time = 0; time < 5; time++) {
    bring(box, "running");
    assertEquals(runBy(box, "program", exec(box, "echo", "one")).code, 0);
    const argv = [program, "--root", box.root, ...exec(box, "echo", "one")];
    const running = Array.from({ length: 10 }, () => new Running(argv));
    if (time % 2 === 1) box.must(["kill", box.id, "KILL"]);
    for (const each of running) {
      const { code, stdout, stderr } = each.wait();
      each[Symbol.dispose]();
      if (time % 2 === 0) assertEquals([code, stdout, stderr], [0, "one\n", ""]);
      else if (code === 0) assertEquals([stdout, stderr], ["one\n", ""]);
      else if (code === 255) assertMatch(stderr, /stopped container|container does not exist|not running/);
      else assertEquals(code, 137, stderr);
    }
    assertEquals(runBy(box, "program", ["delete", "--force", box.id]), { code: 0, stdout: "", stderr: "" });
    assertEquals([filesOf(box), cgroupsOf(box)], [undefined, 0]);
  }
});

frontTest("a filter of the container is in force, loaded early and late", (box) => {
  for (const noNewPrivileges of [true, false]) {
    bring(box, "running", (config) => {
      config.process.noNewPrivileges = noNewPrivileges;
      config.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 38 }],
      };
    });
    const line = exec(box, "sh", "-c", "grep ^Seccomp: /proc/self/status; mkdir /tmp/x 2>&1; echo $?");
    const [first, again] = twice(box, line);
    assertEquals(again, first);
    assertMatch(again.stdout, /^Seccomp:\s2\n.*Function not implemented\n1\n$/);
    box.remove();
  }
});
