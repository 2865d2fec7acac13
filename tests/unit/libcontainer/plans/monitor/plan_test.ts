/** The monitor's plan, run by both machines on a kernel that is made up. */

import { assert, assertEquals } from "@std/assert";
import { Errno } from "../../../../../lib/ffi/errno.ts";
import { Signal } from "../../../../../lib/ffi/process/signals.ts";
import {
  type MonitorRequest,
  type MonitorStdio,
  planMonitor,
} from "../../../../../lib/libcontainer/plans/monitor/plan.ts";
import { encode } from "../../../../../lib/plan/native/encode.ts";
import type { CallOp } from "../../../../../lib/plan/op.ts";
import { callsOf } from "../../../plan_reader.ts";
import { File } from "../../monitor/fake_kernel.ts";
import { fds, notify, PID, pipes, Scene, terminal } from "../../monitor/scene.ts";

Deno.test("no call ends the monitor by failing", () => {
  for (const stdio of [pipes, terminal, { kind: "inherited" } as const]) {
    const removal = { kind: "directories", cgroups: ["/c"], state: "/s" } as const;
    const { stage } = planMonitor(new Scene({ stdio, notify, removal, debug: true }).request);
    const isHandled = ({ tolerate, onError }: CallOp) =>
      [tolerate ?? [], ...(onError ?? []).map(({ errnos }) => errnos)].flat().includes("*");
    const unhandled = callsOf(stage).filter((call) => !isHandled(call)).map(({ call }) => call);
    assertEquals(unhandled.filter((name) => name !== "getpid" && name !== "exit_group"), []);
  }
});

// --- the end ---------------------------------------------------------------------------------------------------------

for (const [status, code] of [[0, 0], [0x300, 3], [0xff00, 255], [9, 137], [0x8b, 139]] as const) {
  Deno.test(`a wait status of 0x${status.toString(16)} becomes the exit status ${code}`, () => {
    assertEquals(new Scene().ends(status).run(), code);
    assertEquals(new Scene({ arch: "aarch64" }).ends(status).run(), code);
    assertEquals(new Scene({ stdio: { kind: "inherited" } }).then(() => {}).ends(status).run(), code);
  });
}

Deno.test("orphans are reaped and their status is nobody's", () => {
  const scene = new Scene();
  scene.then(() => scene.kernel.ends(99, 0x100)).ends(0x200);
  assertEquals(scene.run(), 2);
});

/** What is done with the streams must not depend on what our own are. */
const everyManner = (["nonblocking", "socket", "pipe", "blocking"] as const).map((manner): MonitorStdio => ({
  kind: "pipes",
  manners: { stdin: manner, stdout: manner, stderr: manner },
}));

Deno.test("pipes that somebody else holds are over with the process, and what is in them", () => {
  for (const stdio of everyManner) {
    const scene = new Scene({ stdio });
    const [stdout, stderr] = [scene.file("stdout"), scene.file("stderr")];
    scene.then(() => {
      scene.file("stdout pipe").feed("one", "two");
      scene.kernel.ends(PID, 0x500);
    });
    assertEquals([scene.run(), stdout.output, stderr.output], [5, "onetwo", ""]);
  }
});

Deno.test("what the process has written is passed on to a slow reader, whoever else holds the pipe", () => {
  for (const stdio of everyManner) {
    const scene = new Scene({ stdio });
    const stdout = scene.file("stdout");
    stdout.room = 0;
    scene.then(() => {
      scene.file("stdout pipe").feed("one", "two", "three");
      scene.kernel.ends(PID, 0x500);
    });
    scene.then(() => stdout.room = 4);
    assertEquals([scene.run(), stdout.output], [5, "onetwothree"]);
  }
});

Deno.test("whoever goes on writing after the end of the process does not keep the monitor", () => {
  for (const stdio of everyManner) {
    let hasEnded = false;
    let turns = 0;
    const scene = new Scene({ stdio }, (scene) => {
      assert(turns++ < 100, "it goes on for ever");
      if (hasEnded) scene.file("stdout pipe").feed("more");
    });
    const stdout = scene.file("stdout");
    scene.then(() => {
      scene.file("stdout pipe").feed("one", "two");
      scene.kernel.ends(PID, 0x500);
      hasEnded = true;
    });
    assertEquals([scene.run(), stdout.output.slice(0, 6)], [5, "onetwo"]);
  }
});

Deno.test("a pipe that somebody else has emptied is over with the process", () => {
  for (const stdio of everyManner) {
    const scene = new Scene({ stdio });
    const pipe = scene.file("stdout pipe");
    // Counted, and gone before it is read.
    const input = pipe.input;
    scene.then(() => {
      pipe.feed("mine");
      scene.kernel.ends(PID, 0x500);
    });
    pipe.read = () => (input.length = 0, -Errno.EAGAIN);
    assertEquals([scene.run(), scene.file("stdout").output], [5, ""]);
  }
});

Deno.test("a terminal's output ends with what is in it when the process ends", () => {
  const scene = new Scene({ stdio: terminal });
  const stdout = scene.file("stdout");
  scene.then(() => {
    scene.kernel.ends(PID, 0);
    scene.file("master").feed("one", "two");
  });
  assertEquals([scene.run(), stdout.output], [0, "onetwo"]);
});

Deno.test("a terminal is restored before the end", () => {
  const scene = new Scene({ stdio: terminal });
  scene.then(() => scene.kernel.ends(PID, 0));
  scene.run();
  const TCSETS = 0x5402;
  assertEquals(scene.made("ioctl", "exit_group"), [["ioctl", fds["host terminal"], TCSETS, "termios"], [
    "exit_group",
    0,
  ]]);
});

// --- streams ---------------------------------------------------------------------------------------------------------

Deno.test("no byte is lost or moved by sinks that take a little at a time", () => {
  for (const stdout of ["nonblocking", "socket", "pipe", "blocking"] as const) {
    for (const arch of ["x86_64", "aarch64"] as const) {
      const manners = { stdin: stdout, stdout, stderr: stdout };
      let turn = 0;
      const scene = new Scene({ arch, stdio: { kind: "pipes", manners } }, ({ file }) => {
        turn++;
        for (const name of ["stdout", "stderr", "stdin pipe"] as const) file.call(scene, name).room = turn * 7 % 5;
      });
      const [out, err, into] = [scene.file("stdout"), scene.file("stderr"), scene.file("stdin pipe")];
      const text = Array.from({ length: 40 }, (_, index) => `line ${index}\n`);
      scene.file("stdout pipe").feed(...text);
      scene.file("stderr pipe").feed("x".repeat(5000));
      scene.file("stdin").feed("abc", "def");
      scene.then(() => {}).ends(0);
      assertEquals(scene.run(), 0);
      assertEquals([out.output, err.output, into.output], [text.join(""), "x".repeat(5000), "abcdef"]);
    }
  }
});

Deno.test("a sink that takes nothing stops neither the other streams nor signals", () => {
  const scene = new Scene();
  const [out, err] = [scene.file("stdout"), scene.file("stderr")];
  out.room = 0;
  scene.file("stdout pipe").feed("stuck", "more");
  scene.file("stderr pipe").feed("free");
  scene.then(() => scene.kernel.signal(15));
  scene.then(() => {
    assertEquals([out.output, err.output, scene.made("kill")], ["", "free", [["kill", PID, 15]]]);
    scene.closesOutput();
    scene.kernel.ends(PID, 0);
  });
  scene.then(() => out.room = Infinity);
  assertEquals([scene.run(), out.output], [0, "stuckmore"]);
});

for (const stdout of ["nonblocking", "socket", "pipe", "blocking"] as const) {
  Deno.test(`a stdout that nobody reads (${stdout}) closes the pipe behind it, once, and nothing else`, () => {
    const scene = new Scene({ stdio: { kind: "pipes", manners: { stdin: "pipe", stdout, stderr: "pipe" } } });
    scene.file("stdout").isBroken = true;
    scene.file("stdout pipe").feed("a", "b");
    scene.then(() => scene.file("stderr pipe").feed("err"));
    const err = scene.file("stderr");
    scene.ends(13);
    assertEquals([scene.run(), err.output], [141, "err"]);
    assertEquals(scene.made("close").filter(([, fd]) => fd === fds["stdout pipe"]).length, 1);
  });
}

Deno.test("a terminal whose stdout nobody reads is hung up", () => {
  const scene = new Scene({ stdio: terminal });
  scene.file("stdout").isBroken = true;
  scene.file("master").feed("a");
  scene.file("stdin").feed("typed");
  scene.then(() => scene.kernel.ends(PID, 1));
  assertEquals(scene.run(), 129);
  const closed = scene.made("close").map(([, fd]) => fd);
  assert(closed.includes(fds.master) && closed.includes(fds.slave));
});

Deno.test("the end of our stdin is the end of the process's, an error too", () => {
  for (const endErrno of [0, Errno.EIO]) {
    const scene = new Scene();
    const into = scene.file("stdin pipe");
    scene.file("stdin").feed("last").ends().endErrno = endErrno;
    scene.then(() => assert(!scene.kernel.files.has(fds["stdin pipe"]))).ends(0);
    assertEquals([scene.run(), into.output], [0, "last"]);
    assertEquals(scene.made("close").filter(([, fd]) => fd === fds["stdin pipe"]).length, 1);
  }
});

Deno.test("the process's stdin is closed when it has ended, and ours is not waited for", () => {
  const scene = new Scene();
  scene.then(() => scene.kernel.ends(PID, 0));
  scene.then(() => {
    assert(!scene.kernel.files.has(fds["stdin pipe"]));
    scene.file("stdin").feed("nobody reads this");
  });
  scene.then(() => scene.closesOutput());
  assertEquals(scene.run(), 0);
});

// --- signals ---------------------------------------------------------------------------------------------------------

Deno.test("signals that the runtime had caught are forwarded first, in the order of their coming", () => {
  const scene = new Scene();
  scene.file("caught signals").feed("\x0f", "\x01");
  scene.then(() => scene.kernel.signal(12)).ends(0);
  scene.run();
  assertEquals(scene.made("kill"), [["kill", PID, 15], ["kill", PID, 1], ["kill", PID, 12]]);
});

Deno.test("SIGCHLD and SIGWINCH are not forwarded, nor is anything once the process has ended", () => {
  const scene = new Scene();
  scene.then(() => scene.kernel.signal(Signal.SIGWINCH, Signal.SIGCHLD)).then(() => scene.kernel.ends(PID, 0));
  assertEquals(scene.run(), 0);
  assertEquals(scene.made("kill", "ioctl"), []);
});

Deno.test("a new window size is copied from our terminal to the process's", () => {
  const scene = new Scene({ stdio: terminal });
  scene.then(() => scene.kernel.signal(Signal.SIGWINCH)).then(() => scene.kernel.ends(PID, 0));
  scene.run();
  const [TIOCGWINSZ, TIOCSWINSZ] = [0x5413, 0x5414];
  assertEquals(scene.made("ioctl").slice(0, 2), [
    ["ioctl", fds["host terminal"], TIOCGWINSZ, ""],
    ["ioctl", fds.master, TIOCSWINSZ, ""],
  ]);
});

Deno.test("SIGINT at a terminal is forwarded, restores it and ends the monitor with 0", () => {
  const scene = new Scene({ stdio: terminal, removal: { kind: "runtime" } });
  scene.then(() => scene.kernel.signal(Signal.SIGINT));
  assertEquals(scene.run(), 0);
  assertEquals(scene.made("kill", "ioctl", "clone").map(([name]) => name), ["kill", "ioctl"]);
});

Deno.test("SIGINT without a terminal is one like the others", () => {
  const scene = new Scene();
  scene.then(() => scene.kernel.signal(Signal.SIGINT)).ends(0x100);
  assertEquals([scene.run(), scene.made("kill")], [1, [["kill", PID, Signal.SIGINT]]]);
});

/** The words of the command that the first child of the monitor executes the runtime with. */
function executedBy(scene: Scene): readonly string[] {
  scene.kernel.isChild = true;
  assertEquals(scene.run(), undefined);
  const [path, [name, ...words], environment] = scene.kernel.executed!;
  // Signals are as for anybody, descriptors are the standard ones; argc, three arguments and NULL stand before the environment.
  assertEquals(scene.made("rt_sigprocmask", "close_range"), [["rt_sigprocmask", 2, "", 0, 8], [
    "close_range",
    3,
    -1,
    0,
  ]]);
  assertEquals([path, name, words.splice(0, 2), environment], ["/runc", "runc", ["--root", "/r"], 40n]);
  return words;
}

// --- what is left to the runtime -------------------------------------------------------------------------------------

Deno.test("cgroups are removed as soon as the process has ended, then the state", () => {
  const removal = { kind: "directories", cgroups: ["/c/a", "/c/b"], state: "/r/box" } as const;
  const scene = new Scene({ removal });
  scene.then(() => scene.kernel.ends(PID, 0x400));
  scene.then(() => {
    assertEquals(scene.made("unlinkat").map(([, , path, flags]) => [path, flags]), [
      ["/c/a", 0x200],
      ["/c/b", 0x200],
      ["/r/box/resident", 0],
      ["/r/box/state.json", 0],
      ["/r/box", 0x200],
    ]);
    scene.closesOutput();
  });
  assertEquals([scene.run(), scene.made("clone")], [4, []]);
});

Deno.test("what has been removed already is not removed again", () => {
  const scene = new Scene({ removal: { kind: "directories", cgroups: ["/c/a"], state: "/r/box" } });
  scene.kernel.failing.set("faccessat", Errno.ENOENT);
  assertEquals([scene.ends(0x400).run(), scene.made("unlinkat", "clone")], [4, []]);
});

Deno.test("the removal is under the lock of the directory, which is free when the runtime is executed for what is left", () => {
  const scene = new Scene({ removal: { kind: "directories", cgroups: ["/c/a"], state: "/r/box" } });
  scene.kernel.sticky.add("/c/a");
  scene.ends(0).run();
  const calls = scene.made("flock", "faccessat", "unlinkat", "close", "clone").map(([name]) => name);
  assertEquals(calls.slice(calls.indexOf("flock")).slice(0, 5), ["flock", "faccessat", "unlinkat", "close", "clone"]);
});

for (const sticky of ["/c/a", "/r/box"]) {
  Deno.test(`where ${sticky} resists the runtime is executed again, and the process's status stays`, () => {
    for (const childStatus of [0, 0x100, 9]) {
      const removal = { kind: "directories", cgroups: ["/c/a"], state: "/r/box" } as const;
      const scene = new Scene({ removal });
      scene.kernel.sticky.add(sticky);
      scene.kernel.childStatus = childStatus;
      assertEquals([scene.ends(0x400).run(), scene.made("clone").length], [4, 1]);
      // The runtime needs the state to go on.
      assertEquals(scene.made("unlinkat").some(([, , path]) => path === "/r/box/state.json"), sticky === "/r/box");
    }
    const scene = new Scene({ removal: { kind: "directories", cgroups: ["/c/a"], state: "/r/box" } });
    scene.kernel.sticky.add(sticky);
    const task = sticky === "/c/a" ? "end" : "dir";
    assertEquals(executedBy(scene.ends(0)), ["monitor", task, "box", String(PID)]);
  });
}

Deno.test("a container with more to remove is the runtime's to remove", () => {
  const scene = new Scene({ removal: { kind: "runtime" } });
  assertEquals([scene.ends(0).run(), scene.made("clone", "unlinkat").map(([name]) => name)], [0, ["clone"]]);
  assertEquals(executedBy(new Scene({ removal: { kind: "runtime" } }).ends(0)), ["monitor", "end", "box", String(PID)]);
});

Deno.test("a runtime that cannot be executed changes nothing about the process's status", () => {
  const scene = new Scene({ removal: { kind: "runtime" } });
  scene.kernel.failing.set("clone", Errno.EAGAIN);
  assertEquals(scene.ends(0x700).run(), 7);
});

Deno.test("where the runtime is gone from its place, somebody is told on stderr", () => {
  const scene = new Scene({ removal: { kind: "runtime" } });
  scene.kernel.isChild = true;
  scene.kernel.failing.set("execve", Errno.ENOENT);
  const stderr = new File();
  scene.kernel.files.set(2, stderr);
  assertEquals([scene.ends(0).run(), stderr.output], [
    127,
    `runc: cannot execute /runc again: monitor end box ${PID}\n`,
  ]);
});

Deno.test("a signal that cannot be sent is logged by the runtime", () => {
  const scene = new Scene();
  scene.then(() => scene.kernel.failing.set("kill", Errno.EPERM)).then(() => scene.kernel.signal(15)).ends(0);
  assertEquals([scene.run(), scene.made("clone").length], [0, 1]);
  const child = new Scene();
  child.then(() => child.kernel.failing.set("kill", Errno.EPERM)).then(() => child.kernel.signal(15));
  const message = `cannot send signal {signal} to process ${PID}: {errno}`;
  assertEquals(executedBy(child), ["monitor", "say", "error", message, "ap", "ab"]);
});

Deno.test("with debug every forwarded signal is logged", () => {
  const scene = new Scene({ debug: true });
  scene.then(() => scene.kernel.signal(15, 1)).ends(0);
  assertEquals([scene.run(), scene.made("clone").length, scene.made("kill").length], [0, 2, 2]);
  const child = new Scene({ debug: true });
  child.then(() => child.kernel.signal(64));
  assertEquals(executedBy(child), ["monitor", "say", "debug", `forwarding signal {signal} to ${PID}`, "ea"]);
});

Deno.test("the runtime is executed with the caller's soft limit of open files, the monitor keeps its own", () => {
  const again = { path: "/runc", args: ["runc", "--root", "/r"], ownArguments: 3 };
  const scene = new Scene({ removal: { kind: "runtime" }, again: { ...again, softFileLimit: 5 } });
  scene.kernel.isChild = true;
  assertEquals([scene.ends(0).run(), scene.kernel.executed?.[0]], [undefined, "/runc"]);
  // Read, then set: the soft limit is 5 where the kernel's answer had 0.
  assertEquals(scene.made("clone", "prlimit64").map(([name, ...args]) => [name, ...args.slice(0, 3)]), [
    ["clone", Signal.SIGCHLD, 0, 0],
    ["prlimit64", 0, 7, 0],
    ["prlimit64", 0, 7, "\x05"],
  ]);
});

// --- unexpected errnos -----------------------------------------------------------------------------------------------

Deno.test("ppoll is repeated after EINTR, and what was ready before is not taken for ready", () => {
  const scene = new Scene();
  let turns = 0;
  const answer = scene.kernel.answer;
  scene.kernel.answer = (op, called) => {
    if (op.op !== "call" || op.call !== "ppoll") return answer(op, called);
    turns++;
    return turns === 2 ? { result: -Errno.EINTR } : answer(op, called);
  };
  const reads: number[] = [];
  const stdin = scene.file("stdin"), read = stdin.read;
  stdin.read = (limit) => (reads.push(turns), read.call(stdin, limit));
  stdin.feed("one");
  assertEquals([scene.then(() => {}).ends(0).run(), reads.includes(1), reads.includes(2)], [0, true, false]);
});

for (const call of ["ppoll", "read"]) {
  Deno.test(`a ${call} that fails as it never does ends the monitor with an error and status 1`, () => {
    const fails = (scene: Scene) =>
      scene.then(() => {
        scene.kernel.failing.set(call, Errno.EINVAL);
        scene.kernel.signal(15);
      });
    for (const stdio of [pipes, terminal, { kind: "inherited" } as const]) {
      const scene = fails(new Scene({ stdio }));
      // The next turn is the one that fails.
      assertEquals([scene.run(), scene.made("clone", "exit_group").map(([name]) => name)], [1, [
        "clone",
        "exit_group",
      ]]);
      const isRestored = scene.made("ioctl", "clone").map(([name]) => name)[0] === "ioctl";
      assertEquals(isRestored, stdio === terminal);
    }
    const message = `cannot monitor process ${PID} any more, it goes on alone: {errno}`;
    assertEquals(executedBy(fails(new Scene())), ["monitor", "say", "error", message, "bg"]);
  });
}

Deno.test("a socket of READY that cannot be read is not waited for any more", () => {
  const scene = new Scene({ notify });
  scene.then(() => {
    scene.kernel.failing.set("recvfrom", Errno.ENOTCONN);
    scene.file("notify").feed("READY=1");
  });
  assertEquals(scene.ends(0).run(), 0);
  assertEquals(scene.made("recvfrom").length, 1);
});

// --- sd_notify -------------------------------------------------------------------------------------------------------

const TOLD = ["READY=1\n", "MAINPID=42\n", "fd"];
/** The barrier: the manager's socket is opened before, 101. */
const BARRIER = 102;

const datagrams: readonly [sent: string, line: string | undefined][] = [
  ["READY=1", "READY=1\n"],
  ["READY=1\n", "READY=1\n"],
  ["READY=1\nSTATUS=up", "READY=1\n"],
  ["STATUS=up\nREADY=1\n", "READY=1\n"],
  ["\n\nREADY=", "READY=\n"],
  ["STATUS=up", undefined],
  ["X_READY=1", undefined],
  ["READ\nY=1", undefined],
  ["READY", undefined],
  ["READY\n=1", undefined],
  ["\n", undefined],
  ["", undefined],
  ["x".repeat(4095) + "\n", undefined],
  ["x".repeat(4088) + "\nREADY=1", "READY=1\n"],
  ["x".repeat(4089) + "\nREADY=1", "READY=\n"],
];

for (const [sent, line] of datagrams) {
  Deno.test(`${JSON.stringify(sent.slice(0, 20))} of ${sent.length} bytes is ${JSON.stringify(line ?? null)}`, () => {
    for (const arch of ["x86_64", "aarch64"] as const) {
      const scene = new Scene({ arch, notify });
      scene.then(() => scene.file("notify").feed(sent));
      if (line !== undefined) scene.then(() => scene.kernel.files.get(BARRIER)!.ends());
      assertEquals(scene.ends(0).run(), 0);
      assertEquals(
        scene.kernel.sent.map((text) => text.slice(0, 20)),
        line === undefined ? [] : [line, ...TOLD.slice(1)],
      );
      assertEquals(scene.made("clone"), []);
    }
  });
}

Deno.test("what is left of a longer datagram is not read with a shorter one", () => {
  const scene = new Scene({ notify });
  scene.then(() => scene.file("notify").feed("XXXADY=1\nREADY"));
  scene.then(() => scene.file("notify").feed("RE")).ends(0);
  assertEquals([scene.run(), scene.kernel.sent], [0, []]);
});

Deno.test("only the first READY is passed on; the rest is read and dropped", () => {
  const scene = new Scene({ notify });
  scene.then(() => scene.file("notify").feed("READY=1", "READY=1", "WATCHDOG=1"));
  scene.then(() => scene.kernel.files.get(BARRIER)!.ends());
  scene.then(() => scene.file("notify").feed("READY=1")).ends(0);
  const socket = scene.file("notify");
  assertEquals([scene.run(), scene.kernel.sent, socket.input], [0, TOLD, []]);
});

Deno.test("READY right before the end is passed on, and the manager is waited for", () => {
  const scene = new Scene({ notify });
  scene.then(() => {
    scene.kernel.ends(PID, 0x300);
    scene.closesOutput();
    scene.file("notify").feed("STATUS=x", "READY=1");
  });
  let isConfirmed = false;
  scene.then(() => {
    isConfirmed = true;
    scene.kernel.files.get(BARRIER)!.ends();
  });
  assertEquals([scene.run(), scene.kernel.sent, isConfirmed], [3, TOLD, true]);
  // Manager's socket, both ends of the barrier.
  assertEquals([101, BARRIER, BARRIER + 1].filter((fd) => scene.kernel.files.has(fd)), []);
});

Deno.test("a manager that never confirms is waited for 30 seconds, which is logged", () => {
  const scene = new Scene({ notify });
  scene.then(() => scene.file("notify").feed("READY=1"));
  scene.then("time is over").then(() => scene.file("stderr pipe").feed("x")).ends(0);
  assertEquals([scene.run(), scene.made("clone").length], [0, 1]);
  const child = new Scene({ notify });
  child.then(() => child.file("notify").feed("READY=1")).then("time is over");
  assertEquals(executedBy(child), ["monitor", "say", "warning", "Timeout after waiting 30s for barrier. Ignored."]);
});

Deno.test("the process's end does not shorten the manager's time, nor does anything else that happens meanwhile", () => {
  const scene = new Scene({ notify });
  scene.then(() => scene.file("notify").feed("READY=1"));
  scene.then(() => scene.file("stdout pipe").feed("x")).ends(0).then("time is over");
  assertEquals([scene.run(), scene.made("clone").length], [0, 1]);
});

Deno.test("a manager that answers instead of closing the pipe is logged", () => {
  const child = new Scene({ notify });
  child.then(() => child.file("notify").feed("READY=1")).then(() => child.kernel.files.get(BARRIER)!.feed("!"));
  assertEquals(executedBy(child), ["monitor", "say", "warning", "unexpected read from synchronization pipe"]);
});

for (const call of ["socket", "connect", "sendto", "pipe2", "sendmsg"]) {
  Deno.test(`a manager that cannot be told (${call}) is logged, once, and nothing else happens`, () => {
    const scene = new Scene({ notify });
    scene.kernel.failing.set(call, Errno.ECONNREFUSED);
    scene.then(() => scene.file("notify").feed("READY=1"));
    scene.then(() => scene.file("notify").feed("READY=1")).ends(0x100);
    assertEquals([scene.run(), scene.made("clone").length], [1, 1]);
    const child = new Scene({ notify });
    child.kernel.failing.set(call, Errno.ECONNREFUSED);
    child.then(() => child.file("notify").feed("READY=1"));
    const message = `cannot tell the service manager at "/m": {errno}`;
    assertEquals(executedBy(child), ["monitor", "say", "warning", message, "gp"]);
  });
}

// --- size ------------------------------------------------------------------------------------------------------------

const sizes: readonly [what: string, request: Partial<MonitorRequest>, limitKib: number][] = [
  ["the usual monitor", {}, 8],
  ["a monitor with a terminal and a service manager", { stdio: terminal, notify }, 12],
  ["a monitor with everything", { stdio: terminal, notify, debug: true }, 16],
];
for (const [what, request, limitKib] of sizes) {
  Deno.test(`the image of ${what} has at most ${limitKib} KiB`, () => {
    const cgroups = Array.from({ length: 10 }, (_, index) => `/sys/fs/cgroup/controller${index}/path/of/a/container`);
    const removal = { kind: "directories", cgroups, state: "/run/runc/box" } as const;
    for (const arch of ["x86_64", "aarch64"] as const) {
      const plan = planMonitor(new Scene({ ...request, arch, removal }).request);
      const { image } = encode(plan, { arch, fds, fold: false });
      assert(image.length <= limitKib * 1024, `${image.length} bytes`);
    }
  });
}
