import { assert, assertEquals } from "@std/assert";
import { consoleSteps, sendFdOps } from "../../../../lib/libcontainer/steps/console.ts";
import { fixedFd, slot } from "../../../../lib/plan/build.ts";
import type { Data } from "../../../../lib/plan/op.ts";
import type { Process } from "../../../../lib/specs/config.ts";
import { allOps, callLines, callsNamed, labels, lines, stepOf, structArg, structHex } from "../../plan_reader.ts";

const process = (changes: Partial<Process>): Process => ({
  cwd: "/",
  user: { uid: 0, gid: 0 },
  terminal: true,
  ...changes,
});
const steps = (changes: Partial<Process> = {}, devConsole = true) =>
  consoleSteps(process(changes), "x86_64", { devConsole });

Deno.test("there is a terminal only where one is asked for, and /dev/console only where a container is made", () => {
  assertEquals([steps({ terminal: false }), steps({ terminal: undefined })], [[], []]);
  const rest = [
    "send the terminal's master to the caller and close it",
    "make the terminal stdio and the controlling terminal",
  ];
  assertEquals(labels(steps()), ["open a pty and unlock it", "make /dev/console and bind the terminal on it", ...rest]);
  assertEquals(labels(steps({}, false)), ["open a pty and unlock it", ...rest]);
});

Deno.test("the pty comes from the container's own devpts, which is verified before it is used", () => {
  const all = lines([stepOf(steps(), "open a pty and unlock it")]);
  assertEquals(
    all[0],
    '$master = openat2(AT_FDCWD, "/dev/pts/ptmx", {flags: O_RDWR|O_NOCTTY|O_CLOEXEC|O_NOFOLLOW, resolve: RESOLVE_NO_MAGICLINKS}, 24)',
  );
  const unlocked = all.findIndex((line) => line.includes("TIOCSPTLCK"));
  const compared = all.slice(0, unlocked).filter((line) => line.startsWith("if "));
  // DEVPTS_SUPER_MAGIC, inode 2, device 5:2. Documentation/filesystems/devpts.rst
  assertEquals(compared, ["if $type != 7377:", "if $type != 2:", "if $type != 1282:"]);
  assertEquals(all.filter((line) => line.startsWith("  fail:")).length, 3);
});

Deno.test("the slave is opened by its master, never by name", () => {
  const opened = callsNamed(steps(), "openat2").map(({ args }) => (args[1] as { text: string }).text);
  assertEquals([opened, callsNamed(steps(), "openat")], [["/dev/pts/ptmx", "/dev", "console"], []]);
  // TIOCGPTPEER with O_RDWR|O_NOCTTY|O_CLOEXEC
  assert(callsNamed(steps(), "ioctl").some(({ args }) => args[1] === 0x5441 && args[2] === 0x80102));
});

Deno.test("the window's size is set where it is known, rows first", () => {
  const size = (consoleSize?: Process["consoleSize"]) =>
    callsNamed(steps({ consoleSize }), "ioctl").filter(({ args }) => args[1] === 0x5414).map((op) =>
      structHex(structArg(op, 2))
    );
  assertEquals(size({ height: 24, width: 80 }), ["18005000 00000000"]);
  assertEquals([size(), size({ height: 0, width: 80 }), size({ height: 5, width: 0 })], [[], [], []]);
  // struct winsize has 16 bits for each: runc cuts, too.
  assertEquals(size({ height: 65536 + 3, width: 4 }), ["03000400 00000000"]);
});

Deno.test("stdio becomes the terminal, which becomes the controlling one", () => {
  assertEquals(callLines([stepOf(steps(), "make the terminal stdio and the controlling terminal")]), [
    "dup3($peer, 0, 0)",
    "dup3($peer, 1, 0)",
    "dup3($peer, 2, 0)",
    "close($peer)",
    "ioctl(0, TIOCSCTTY, NULL)",
  ]);
});

Deno.test("the master leaves by SCM_RIGHTS and is closed here", () => {
  const step = stepOf(steps(), "send the terminal's master to the caller and close it");
  assertEquals(callLines([step]).map((line) => line.split("(")[0]), ["sendmsg", "close", "close"]);
  assertEquals(callLines([step]).slice(1), ["close(<console>)", "close($master)"]);
});

Deno.test("sendFdOps() makes a message header with one byte vector and one descriptor", () => {
  const ops = allOps(sendFdOps(fixedFd("socket"), slot("fd"), "/dev/ptmx"));
  const [send] = callsNamed([{ label: "", from: "", ops }], "sendmsg");
  // MSG_NOSIGNAL
  assertEquals([send!.args[0], send!.args[2]], [{ fd: "socket" }, 0x4000]);
  const header = structArg(send!, 1);
  // struct msghdr: name, its length, iov, 1, control, 24, flags. socket.h, cmsg(3)
  assertEquals(header.size, 56);
  assertEquals(structHex(header).split(" ").map((word) => parseInt(word.slice(0, 2), 16)), [
    0,
    0,
    0,
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    24,
    0,
    0,
    0,
  ]);
  const pointed = (at: number) => header.words.find((word) => word.at === at)!.value as Data;
  const [vector, control] = [pointed(16), pointed(32)];
  assert(vector.data === "struct" && control.data === "struct");
  assertEquals(vector.words.map(({ at, value }) => [at, value]), [[0, { data: "text", text: "/dev/ptmx" }], [8, 9]]);
  // struct cmsghdr: length 20, SOL_SOCKET, SCM_RIGHTS; the descriptor is stored behind it when it is known.
  assertEquals(structHex(control), "14000000 00000000 01000000 01000000 00000000 00000000");
  const [store] = ops.filter((op) => op.op === "store");
  assertEquals(store, { op: "store", to: { data: "at", base: control, offset: 16 }, size: 4, value: { slot: "fd" } });
});

Deno.test("/dev/console is made below /dev, and never opened: what the image has there may be any device", () => {
  assertEquals(callLines([stepOf(steps(), "make /dev/console and bind the terminal on it")]).slice(0, 3), [
    'openat2(AT_FDCWD, "/dev", {flags: O_CLOEXEC|O_PATH|O_DIRECTORY, resolve: RESOLVE_NO_MAGICLINKS}, 24)',
    'mknodat($dev, "console", 0100666, makedev(0, 0))',
    'openat2($dev, "console", {flags: O_PATH|O_CLOEXEC, resolve: RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS}, 24)',
  ]);
});
