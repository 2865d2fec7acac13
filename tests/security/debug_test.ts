/** `debug`: the container's processes reach nothing of the host through the debugger. */

import { assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import {
  addHostPrograms,
  type Box,
  boxTest,
  busybox,
  type Change,
  kernel,
  type Running,
  until,
  withUserNamespace,
} from "../integration/harness.ts";
import { openPty } from "../fixtures/pty.ts";
import { readUntil, writeText } from "../integration/foreground_harness.ts";
import { openNumbers, stopBehind } from "./stopped.ts";

const SECRET = "what only the host has";

/** A directory of programs with a file that the container must not read. */
function toolsOf(box: Box): string {
  const tools = `${box.directory}/tools`;
  Deno.mkdirSync(tools);
  Deno.copyFileSync(busybox, `${tools}/busybox`);
  Deno.writeTextFileSync(`${tools}/secret`, SECRET);
  return tools;
}

/** A debugger that waits. */
function startDebugger(box: Box, ...options: readonly string[]): Running {
  const running = box.start([
    "debug",
    ...options,
    "--tools",
    toolsOf(box),
    box.id,
    "--",
    "busybox",
    "sh",
    "-c",
    "busybox sleep 1000 & echo up; wait; true",
  ]);
  running.says("up\n");
  return running;
}

/** The debugger's processes, as the container sees them: a shell and its child. */
function debuggersInside(box: Box): readonly string[] {
  const isOurs = "tr '\\0' ' ' < $p/cmdline | grep -q '^busybox '";
  const script = `for p in /proc/[0-9]*; do ${isOurs} && echo \${p#/proc/}; done; true`;
  return box.must(["exec", box.id, "sh", "-c", script]).trim().split("\n");
}

/**
 * What a process of the container reaches of the process `pid`. Not its environment and memory map: from Linux 6.15 on,
 * CAP_SYS_ADMIN of the host's user namespace is enough to read these.
 */
const attack = `
my $pid = shift; my %got;
sub content { open(my $file, "<", shift) or return 0; return defined(readline($file)) ? 1 : 0; }
$got{$_} = content("/proc/$pid/$_") for "root/secret", "root/bin/sh";
$got{$_} = defined(readlink("/proc/$pid/$_")) ? 1 : 0 for "cwd", "exe", "ns/mnt", "fd/0";
$got{mem} = open(my $memory, "+<", "/proc/$pid/mem") ? 1 : 0;
my $fd = syscall(434, 0 + $pid, 0);
$got{getfd} = syscall(438, $fd, 1, 0) >= 0 ? 1 : 0;
$got{setns} = syscall(308, $fd, 0x20000) >= 0 ? 1 : 0;
$got{ptrace} = syscall(101, 16, 0 + $pid, 0, 0) >= 0 ? 1 : 0;
print join(" ", map { "$_=$got{$_}" } sort keys %got), "\\n";
`;

/** A container that has the host's perl, and more capabilities than usual: those that change users among them. */
const armed = (box: Box): Change => {
  const addPrograms = addHostPrograms(box);
  // In a user namespace, the runtime cannot make it.
  Deno.mkdirSync(`${box.rootfs}/usr`);
  return (config) => {
    addPrograms(config);
    for (const set of Object.values(config.process.capabilities!)) {
      set.push(
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_DAC_OVERRIDE",
        "CAP_SYS_CHROOT",
        "CAP_FOWNER",
      );
    }
  };
};

for (const [fact, namespace] of [["", () => {}], [" of a user namespace", withUserNamespace()]] as const) {
  boxTest(`root${fact} in the container cannot look into a debugger: /proc/PID/root and fd, ptrace, setns`, (box) => {
    const change = armed(box);
    box.startSleeping((config) => {
      change(config);
      namespace(config);
      config.process.noNewPrivileges = false;
    });
    using debugging = startDebugger(box);
    const perl = (pid: string) => box.must(["exec", box.id, "perl", "-e", attack, pid]);
    // The same attack on a process of the container itself comes through.
    const onOwn = perl("1");
    for (const name of "cwd exe fd/0 getfd mem ns/mnt ptrace root/bin/sh".split(" ")) {
      assertMatch(onOwn, new RegExp(`\\b${name}=1\\b`));
    }
    const inside = debuggersInside(box);
    assertEquals(inside.length, 2);
    for (const pid of inside) assertEquals(perl(pid).match(/\S+=1/g), null, `process ${pid}`);
    assertEquals(debugging.isOver, false);
    box.remove();
    debugging.wait();
  });
}

boxTest("a container whose processes may have CAP_SYS_PTRACE is not debugged", (box) => {
  const give: Change = ({ process }) => process.capabilities!.bounding!.push("CAP_SYS_PTRACE");
  const all: Change = ({ process }) => delete (process as { capabilities?: unknown }).capabilities;
  for (const change of [give, all]) {
    box.startSleeping(change);
    assertMatch(box.refused(["debug", box.id]).msg, /container's processes may have CAP_SYS_PTRACE/);
    box.remove();
  }
});

boxTest("a container without any capability is debugged", (box) => {
  box.startSleeping(({ process }) => process.capabilities = { bounding: [], permitted: [], effective: [] });
  assertEquals(box.must(["debug", box.id, "--", "echo", "here"]), "here\n");
  box.remove();
});

boxTest("while a process of the container has CAP_SYS_PTRACE from exec, there is no debugger", (box) => {
  box.startSleeping();
  assertEquals(box.must(["debug", box.id, "--", "echo", "first"]), "first\n");
  using other = box.start(["exec", "--cap", "CAP_SYS_PTRACE", box.id, "sh", "-c", "echo up; sleep 1000"]);
  other.says("up\n");
  assertMatch(box.refused(["debug", box.id]).msg, /process \d+ has a capability that the container does not have/);
  box.remove();
  other.wait();
});

boxTest("while another container of the pod has CAP_SYS_PTRACE, there is no debugger", (box) => {
  const pid = box.startSleeping();
  box.write(({ process, linux, ...config }) => {
    process.args = ["sleep", "1000"];
    for (const set of Object.values(process.capabilities!)) set.push("CAP_SYS_PTRACE");
    linux.namespaces = linux.namespaces.map((one) =>
      one.type === "pid" ? { ...one, path: `/proc/${pid}/ns/pid` } : one
    );
    linux.cgroupsPath = `${linux.cgroupsPath}-other`;
    return config;
  });
  box.must(["run", "--detach", "other"]);
  assertMatch(box.refused(["debug", box.id]).msg, /process \d+ has a capability that the container does not have/);
  box.remove("other");
  assertEquals(box.must(["debug", box.id, "--", "echo", "alone"]), "alone\n");
  box.remove();
});

/** Raises a process's limit of core files, and makes it dump. prlimit(2) is call 302. */
const dump = `
my $pid = shift;
my $limit = pack("QQ", ~0, ~0);
syscall(302, 0 + $pid, 4, $limit, 0);
my $filter;
open($filter, ">", "/proc/$pid/coredump_filter") and print($filter "127\n") and close($filter);
kill("SEGV", $pid) or die "kill: $!";
`;

boxTest("root in the container does not get a core file of the debugger", (box) => {
  const change = armed(box);
  box.startSleeping((config) => {
    change(config);
    config.root.readonly = false;
  });
  Deno.chmodSync(box.rootfs, 0o777);
  const dumps = (pid: string) => {
    box.must(["exec", box.id, "perl", "-e", dump, pid]);
    return ["core", `core.${pid}`].filter((name) => existsSync(`${box.rootfs}/${name}`));
  };
  // The same attack on a process of the container itself, where the host writes core files to the working directory.
  using own = box.start(["exec", box.id, "sh", "-c", "echo up; sleep 1000; true"]);
  own.says("up\n");
  const asleep =
    "for p in /proc/[0-9]*; do grep -q '^sleep' $p/comm && test $p != /proc/1 && echo ${p#/proc/}; done; true";
  const [victim = ""] = box.must(["exec", box.id, "sh", "-c", asleep]).trim().split("\n");
  const onOwn = dumps(victim);
  if (Deno.readTextFileSync("/proc/sys/kernel/core_pattern") === "core\n") assertEquals(onOwn.length, 1);
  for (const name of onOwn) Deno.removeSync(`${box.rootfs}/${name}`);
  own.wait();
  using debugging = startDebugger(box, "--cwd", "/container");
  const [pid = ""] = debuggersInside(box);
  assertMatch(box.must(["exec", box.id, "grep", "core", `/proc/${pid}/limits`]), /^Max core file size +0 +0 /);
  assertEquals(dumps(pid), []);
  debugging.wait();
  box.remove();
});

boxTest(
  "what holds the host's files is not in the container's pid namespace, and the debugger has no file open",
  (box) => {
    box.startSleeping();
    const levels = (pid: number) =>
      /^NSpid:(.*)$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1]!.trim().split(/\s+/).length;
    const command = ["debug", "--tools", toolsOf(box), box.id, "--", "busybox", "true"];
    {
      using stage = stopBehind(box, "pivot_root", command);
      assertEquals(levels(stage.pid), levels(Deno.pid));
    }
    {
      using init = stopBehind(box, "setsid", command);
      assertEquals(levels(init.pid), levels(Deno.pid) + 1);
      const open = openNumbers(init.pid).map((number) => Deno.readLinkSync(`/proc/${init.pid}/fd/${number}`));
      assertEquals(open.filter((path) => !/^(pipe|socket|pid|net|ipc|uts|mnt):|^\/dev\/null$/.test(path)), []);
    }
    box.remove();
  },
);

boxTest("mounts that a debugger makes do not appear in a container that shares its mounts", (box) => {
  const pid = box.startSleeping(({ linux }) => linux.rootfsPropagation = "shared");
  const seen = () => Deno.readTextFileSync(`/proc/${pid}/mountinfo`);
  const before = seen();
  using debugging = startDebugger(box);
  assertEquals(seen(), before);
  assertEquals(box.must(["exec", box.id, "ls", "/"]).includes("secret"), false);
  for (const pid of debuggersInside(box)) box.must(["exec", box.id, "sh", "-c", `kill -9 ${pid}`]);
  debugging.wait();
  assertEquals(
    box.must(["debug", "--tools", `${box.directory}/tools`, box.id, "--", "busybox", "cat", "/secret"]),
    SECRET,
  );
  box.remove();
});

boxTest("a debugger's terminal and devices are not those of the container, which could read what is typed", (box) => {
  // What the container's root makes of its own devices: the debugger would write to its file.
  box.startSleeping(({ process }) => {
    process.args = ["sh", "-c", "rm /dev/null && echo mine > /dev/null && exec sleep 1000"];
  });
  until("the file", () => box.must(["exec", box.id, "cat", "/dev/null"]) === "mine\n");
  const { master, slave } = openPty(kernel);
  using _master = master;
  const script = "echo a > /dev/null; ls /dev/pts; tty; read x";
  const command = ["debug", "--tty", box.id, "--", "sh", "-c", script];
  {
    using theirs = slave;
    using debugging = box.start(command, { stdin: theirs, stdout: theirs, stderr: theirs });
    // Lines may come before the debugger's terminal leaves \r to the caller's.
    const plain = (text: string) => text.replaceAll("\r", "");
    const seen = readUntil(master, (text) => plain(text).includes("/dev/pts/0\n"));
    assertEquals(plain(seen), "0  ptmx\n/dev/pts/0\n");
    assertEquals(box.must(["exec", box.id, "ls", "/dev/pts"]), "ptmx\n");
    writeText(master, "typed\r");
    assertEquals(debugging.wait().code, 0);
  }
  assertEquals(box.must(["exec", box.id, "cat", "/dev/null"]), "mine\n");
  box.remove();
});
