/** Terminals: in the foreground through a pty of the test's, detached through --console-socket. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { Fd } from "../../lib/ffi/fd.ts";
import { pipe } from "../../lib/ffi/files.ts";
import { getAttributes, getWindowSize, isTerminal, setWindowSize, type WindowSize } from "../../lib/ffi/terminal.ts";
import { openPty } from "../fixtures/pty.ts";
import { readUntil, writeText } from "./foreground_harness.ts";
import { type Box, type Change, comparing, everyone, kernel, type Running, withUserNamespace } from "./harness.ts";
import { UnixServer } from "./unix_server.ts";

/** A config with a terminal whose program is a script. */
const withTerminal = (script: string, change: Change = () => {}): Change => (config) => {
  config.process.terminal = true;
  config.process.args = ["sh", "-c", script];
  change(config);
};

const size = (rows: number, columns: number): WindowSize => ({ rows, columns, xPixels: 0, yPixels: 0 });

/** Runs the runtime at a terminal of the test's. `talk`: the person who sits at it. */
function atTerminal<T>(box: Box, args: readonly string[], talk: (running: Running, master: Fd, slave: Fd) => T): T {
  const { master, slave } = openPty(kernel);
  using _master = master;
  using _slave = slave;
  setWindowSize(kernel, slave.number, size(40, 120));
  using running = box.start(args, { stdin: slave, stdout: slave, stderr: slave });
  return talk(running, master, slave);
}

/** Runs a script in a container at a terminal until it says `end`; returns what is on the screen, and the status. */
function onScreen(box: Box, script: string, change?: Change): { code: number; screen: string } {
  box.write(withTerminal(`${script}; echo end`, change));
  return atTerminal(box, ["run", box.id], (running, master) => {
    const screen = readUntil(master, (text) => text.endsWith("end\r\n"));
    return { code: running.wait().code, screen: screen.replaceAll("\r\n", "\n").replace(/end\n$/, "") };
  });
}

// --- in the foreground ---------------------------------------------------------------------------------------------------

comparing("the program's stdio is a terminal of the container's devpts, and /dev/console is it", (box) => {
  const { code, screen } = onScreen(
    box,
    "tty; test -t 0 -a -t 1 -a -t 2 && echo all; stat -c '%F %t' /dev/console /dev/pts/0",
  );
  assertEquals([code, screen], [0, "/dev/pts/0\nall\ncharacter special file 88\ncharacter special file 88\n"]);
}, everyone);

comparing("it is the controlling terminal of the program's session", (box) => {
  assertEquals(
    onScreen(box, "echo x > /dev/tty; cut -d' ' -f6,7 /proc/self/stat; echo y > /dev/console").screen,
    "x\n1 34816\ny\n",
  );
}, everyone);

comparing("it belongs to the program's user, and to group 5 as the mount says", (box) => {
  const { screen } = onScreen(
    box,
    "stat -c '%u %g %a' /dev/pts/0; id -u",
    (config) => config.process.user = { uid: 1000, gid: 1000 },
  );
  assertEquals(screen, "1000 5 620\n1000\n");
}, everyone);

comparing("a terminal in a user namespace", (box) => {
  const { code, screen } = onScreen(box, "tty; stat -c %u /dev/pts/0", withUserNamespace());
  assertEquals([code, screen], [0, "/dev/pts/0\n0\n"]);
}, everyone);

comparing("what is typed arrives as it is typed, and is echoed once, by the container", (box) => {
  box.write(withTerminal("echo ready; read -r line; echo got $line; stty -icanon min 1; echo raw; head -c 1; exit 6"));
  atTerminal(box, ["run", box.id], (running, master) => {
    readUntil(master, (text) => text.endsWith("ready\r\n"));
    writeText(master, "hello\r");
    assertEquals(readUntil(master, (text) => text.endsWith("raw\r\n")), "hello\r\ngot hello\r\nraw\r\n");
    writeText(master, "k");
    assertEquals(running.wait().code, 6);
  });
}, everyone);

comparing("Ctrl-C reaches the program as SIGINT, and the runtime not at all", (box) => {
  box.write(withTerminal("trap 'echo int; exit 9' INT; echo ready; while :; do sleep 0.01; done"));
  atTerminal(box, ["run", box.id], (running, master) => {
    readUntil(master, (text) => text.endsWith("ready\r\n"));
    writeText(master, "\x03");
    assertMatch(readUntil(master, (text) => text.includes("int")), /^\^Cint/);
    assertEquals(running.wait().code, 9);
  });
}, everyone);

comparing("the user's terminal is raw meanwhile and as before afterwards", (box) => {
  box.write(withTerminal("echo ready; read -r line"));
  atTerminal(box, ["run", box.id], (running, master, slave) => {
    const before = getAttributes(kernel, slave.number);
    readUntil(master, (text) => text.endsWith("ready\r\n"));
    assertNotEquals(getAttributes(kernel, slave.number), before);
    writeText(master, "\r");
    assertEquals(running.wait().code, 0);
    assertEquals(getAttributes(kernel, slave.number), before);
  });
}, everyone);

comparing("the terminal has the user's size before the program starts", (box) => {
  assertEquals(onScreen(box, "stty size").screen, "40 120\n");
});

comparing("the terminal gets the size of the user's, and follows it", (box) => {
  box.write(
    withTerminal(
      "until test -n \"$(stty size 2> /dev/null)\"; do :; done; stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done",
    ),
  );
  atTerminal(box, ["run", box.id], (running, master, slave) => {
    assertEquals(readUntil(master, (text) => text.endsWith("ready\r\n")), "40 120\r\nready\r\n");
    setWindowSize(kernel, slave.number, size(11, 22));
    // A user's own terminal sends it; this one is nobody's controlling terminal.
    running.signal(28);
    assertEquals(readUntil(master, (text) => text.endsWith("\n")), "11 22\r\n");
    assertEquals(running.wait().code, 0);
  });
}, everyone);

comparing("a terminal that the image's /dev/console could lead elsewhere is refused", (box) => {
  const trap = `${box.directory}/trap`;
  Deno.writeTextFileSync(trap, "host\n");
  Deno.symlinkSync(`../../../../../../../..${trap}`, `${box.rootfs}/dev/console`);
  box.write(withTerminal("echo x > /dev/console", (config) => {
    config.mounts = config.mounts.filter(({ destination }) => destination !== "/dev");
    config.mounts.unshift({ destination: "/dev", type: "bind", source: `${box.rootfs}/dev`, options: ["bind"] });
    config.linux.maskedPaths = [];
  }));
  for (const name of ["pts", "shm", "mqueue"]) Deno.mkdirSync(`${box.rootfs}/dev/${name}`);
  assert(atTerminal(box, ["run", box.id], (running) => running.wait().code) !== 0);
  assertEquals(Deno.readTextFileSync(trap), "host\n");
});

// --- exec ----------------------------------------------------------------------------------------------------------------

comparing("exec --tty gives the program a terminal of the container", (box) => {
  box.startSleeping();
  atTerminal(box, [
    "exec",
    "--tty",
    box.id,
    "sh",
    "-c",
    'tty; until test -n "$(stty size 2> /dev/null)"; do :; done; stty size; test -t 2 && exit 8',
  ], (running, master) => {
    // Before the runtime has the terminal, the program may have written to it: a line's end is made twice of one then.
    const screen = readUntil(master, (text) => /120\r+\n$/.test(text)).replaceAll(/\r+\n/g, "\n");
    assertEquals(screen, "/dev/pts/0\n40 120\n");
    assertEquals(running.wait().code, 8);
  });
  box.remove();
}, everyone);

comparing("exec without --tty has none, whatever the config says", (box) => {
  box.write((config) => {
    config.process.terminal = true;
    config.process.args = ["sleep", "1000"];
  });
  using server = new UnixServer(`${box.directory}/console`);
  box.must(["run", "--detach", "--console-socket", `${box.directory}/console`, box.id]);
  const { fds } = server.receive();
  assertEquals(box.must(["exec", box.id, "sh", "-c", "test -t 0 || echo none"]), "none\n");
  fds.forEach((fd) => fd.close());
  box.remove();
}, everyone);

// --- detached ------------------------------------------------------------------------------------------------------------

for (const command of ["create", "run"]) {
  comparing(`${command} sends the terminal's master to --console-socket: one name, one descriptor`, (box) => {
    const path = `${box.directory}/console`;
    box.write(withTerminal("stty size; read -r line; echo got $line; sleep 1000", (config) => {
      config.process.consoleSize = { height: 12, width: 34 };
    }));
    using server = new UnixServer(path);
    box.must([command, ...(command === "run" ? ["--detach"] : []), "--console-socket", path, box.id]);
    const { text, fds } = server.receive();
    assertEquals([text, fds.length], ["/dev/ptmx", 1]);
    using master = fds[0]!;
    assert(isTerminal(kernel, master.number));
    assertEquals(getWindowSize(kernel, master.number), size(12, 34));
    if (command === "create") box.must(["start", box.id]);
    assertEquals(readUntil(master, (seen) => seen.endsWith("\n")), "12 34\r\n");
    writeText(master, "hello\n");
    assertEquals(readUntil(master, (seen) => seen.includes("got")), "hello\r\ngot hello\r\n");
    box.remove();
  }, everyone);
}

comparing(
  "a created container with a terminal holds neither its creator's stdio open nor what it was started from",
  (box) => {
    const path = `${box.directory}/console`;
    box.write(withTerminal("sleep 1000"));
    using server = new UnixServer(path);
    const [stdin, output] = [pipe(kernel, "stdin"), pipe(kernel, "output")];
    const streams = { stdin: stdin.read, stdout: output.write, stderr: output.write };
    const { code } = box.runc(["create", "--console-socket", path, box.id], streams);
    // The container ends with its terminal.
    using _master = server.receive().fds[0]!;
    const link = (pid: number | "self", fd: string | number) => Deno.readLinkSync(`/proc/${pid}/fd/${fd}`);
    const [ofCreator, pid] = [[stdin.read, output.write].map((fd) => link("self", fd.number)), box.state().pid];
    const held = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => link(pid, name))
      .filter((target) => ofCreator.includes(target) || target.startsWith("/memfd:"));
    for (const { read, write } of [stdin, output]) [read, write].forEach((fd) => fd.close());
    box.remove();
    assertEquals([code, held], [0, []]);
  },
  everyone,
);

comparing("exec --tty --detach sends it too", (box) => {
  box.startSleeping();
  const path = `${box.directory}/console`;
  using server = new UnixServer(path);
  box.must(["exec", "--tty", "--detach", "--console-socket", path, box.id, "sh", "-c", "tty; sleep 1000"]);
  const { text, fds } = server.receive();
  assertEquals([text, fds.length], ["/dev/ptmx", 1]);
  using master = fds[0]!;
  assertEquals(readUntil(master, (seen) => seen.endsWith("\n")), "/dev/pts/0\r\n");
  box.remove();
}, everyone);

comparing("--pidfd-socket sends a pidfd of the container's process, and exec one of its own", (box) => {
  const path = `${box.directory}/pidfd`;
  using server = new UnixServer(path);
  /** What the kernel says a pidfd is of. pidfd_open(2) */
  const pidOf = (fd: Fd) => Number(/^Pid:\t(\d+)$/m.exec(Deno.readTextFileSync(`/proc/self/fdinfo/${fd.number}`))![1]);
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["run", "--detach", "--pidfd-socket", path, box.id]);
  const first = server.receive();
  using init = first.fds[0]!;
  assertEquals([first.text, first.fds.length, pidOf(init)], ["standard", 1, box.state().pid]);
  box.must(["exec", "--detach", "--pidfd-socket", path, "--pid-file", `${box.directory}/pid`, box.id, "sleep", "1000"]);
  const second = server.receive();
  using other = second.fds[0]!;
  assertEquals([second.text, pidOf(other)], ["setns", Number(Deno.readTextFileSync(`${box.directory}/pid`))]);
  box.remove();
});

// --- refused -------------------------------------------------------------------------------------------------------------

const cannotAllocate = "cannot allocate tty if runc will detach without setting console socket";
const cannotUse = "cannot use console socket if runc will not detach or allocate tty";

const rules: readonly [args: string[], terminal: boolean, msg: string][] = [
  [["create"], true, `runc create failed: ${cannotAllocate}`],
  [["run", "--detach"], true, `runc run failed: ${cannotAllocate}`],
  [["run", "--console-socket", "/x"], true, `runc run failed: ${cannotUse}`],
  [["run", "--console-socket", "/x"], false, `runc run failed: ${cannotUse}`],
  [["create", "--console-socket", "/x"], false, `runc create failed: ${cannotUse}`],
];
for (const [args, terminal, msg] of rules) {
  comparing(`refused: ${args.join(" ")} ${terminal ? "with" : "without"} a terminal in the config`, (box) => {
    box.write((config) => config.process.terminal = terminal);
    assertEquals(box.refused([...args, box.id]).msg, msg);
  });
}

comparing("refused: exec --tty --detach without a console socket, and a console socket without both", (box) => {
  box.startSleeping();
  assertEquals(box.refused(["exec", "--tty", "--detach", box.id, "true"]).msg, `exec failed: ${cannotAllocate}`);
  assertEquals(
    box.refused(["exec", "--detach", "--console-socket", "/x", box.id, "true"]).msg,
    `exec failed: ${cannotUse}`,
  );
  box.remove();
});

comparing("refused: a console socket that nobody listens on", (box) => {
  box.write((config) => config.process.terminal = true);
  const { msg, errno } = box.refused(["create", "--console-socket", "/missing", box.id]);
  assertMatch(msg, /\/missing.*no such file or directory/);
  assertEquals(errno, "ENOENT");
});

comparing("refused: a terminal in the foreground where the user has none", (box) => {
  box.write((config) => config.process.terminal = true);
  const log = box.refused(["run", box.id], { prefix: ["/usr/bin/setsid"] });
  assertEquals(log.msg, "runc run failed: open /dev/tty: no such device or address");
  assertEquals(log.field, "/process/terminal");
});

comparing("refused: a terminal without a devpts", (box) => {
  using _server = new UnixServer(`${box.directory}/console`);
  box.write((config) => {
    config.process.terminal = true;
    config.mounts = config.mounts.filter(({ type }) => type !== "devpts");
  });
  const { msg, field, hint } = box.refused(["create", "--console-socket", `${box.directory}/console`, box.id]);
  assertMatch(msg, /no such file or directory/);
  assertEquals([field, hint], ["/process/terminal", "process.terminal requires a devpts mounted on /dev/pts"]);
});
