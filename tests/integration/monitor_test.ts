/** What a foreground `run` or `exec` becomes: its memory, and that nobody notices but by that. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { pipe } from "../../lib/ffi/files.ts";
import { openPty } from "../fixtures/pty.ts";
import { contentOf, executableOf, readAll, readUntil, writeText } from "./foreground_harness.ts";
import {
  addHostPrograms,
  afterShell,
  type Box,
  boxTest,
  type Change,
  comparing,
  execute,
  kernel,
  Running,
  until,
} from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

const sh = (script: string): Change => (config) => config.process.args = ["sh", "-c", script];
const withoutPidNamespace: Change = (config) => {
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
};
const isMonitor = (pid: number) => executableOf(pid).startsWith("/memfd:runc-monitor");

/** Waits until the runtime is a monitor. */
function becomesMonitor({ pid }: Running): void {
  until("the monitor", () => isMonitor(pid));
}

/** KiB of a process. */
function residentKib(pid: number): number {
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1]);
}

// --- what it is ------------------------------------------------------------------------------------------------------

comparing(
  "a foreground run is a native image of 64 KiB at most, with the runtime's pid, command line and environment",
  (box) => {
    box.write(sh("echo ready; read -r line; echo $line; exit 3"));
    const input = pipe(kernel, "stdin");
    using running = box.start(["run", "--bundle", box.bundle, box.id], { stdin: input.read, env: { SOME: "thing" } });
    input.read.close();
    running.says("ready\n");
    becomesMonitor(running);
    const { pid } = running;
    assert(residentKib(pid) <= 64, `${residentKib(pid)} KiB`);
    const [commandLine, environment] = ["cmdline", "environ"].map((name) =>
      contentOf(`/proc/${pid}/${name}`).split("\0")
    );
    assertEquals(commandLine!.slice(0, 1), ["runc"]);
    assertEquals(commandLine!.slice(-5, -1), ["run", "--bundle", box.bundle, box.id]);
    assert(environment!.includes("SOME=thing"));
    assertEquals(Deno.readTextFileSync(`/proc/${box.state().pid}/stat`).split(" ")[3], String(pid));
    writeText(input.write, "bye\n");
    assertEquals(running.wait(), { code: 3, stdout: "ready\nbye\n", stderr: "" });
    input.write.close();
  },
);

comparing("so is a foreground exec, which removes nothing", (box) => {
  box.startSleeping();
  using running = box.start([
    "exec",
    box.id,
    "sh",
    "-c",
    "echo ready; trap 'exit 4' TERM; while :; do sleep 0.01; done",
  ]);
  running.says("ready\n");
  becomesMonitor(running);
  assert(residentKib(running.pid) <= 64, `${residentKib(running.pid)} KiB`);
  running.signal(15);
  assertEquals(running.wait(), { code: 4, stdout: "ready\n", stderr: "" });
  assertEquals(box.state().status, "running");
  box.remove();
});

comparing("so is one with a terminal, after it has shown a lot", (box) => {
  box.write((config) => {
    config.process.terminal = true;
    sh("seq 5000; read -r line; exit 5")(config);
  });
  const { master, slave } = openPty(kernel);
  using screen = master;
  using terminal = slave;
  using running = box.start(["run", box.id], { stdin: terminal, stdout: terminal, stderr: terminal });
  readUntil(screen, (text) => text.endsWith("5000\r\n"));
  becomesMonitor(running);
  assert(residentKib(running.pid) <= 64, `${residentKib(running.pid)} KiB`);
  writeText(screen, "\r");
  assertEquals(running.wait().code, 5);
});

boxTest("a large environment does not make it larger than itself and that", (box) => {
  box.write(sh("echo ready; read -r line"));
  const input = pipe(kernel, "stdin");
  using running = box.start(["run", box.id], { stdin: input.read, env: { LARGE: "x".repeat(20_000) } });
  input.read.close();
  running.says("ready\n");
  becomesMonitor(running);
  assert(residentKib(running.pid) <= 64, `${residentKib(running.pid)} KiB`);
  input.write.close();
  assertEquals(running.wait().code, 1);
});

boxTest("descriptors that the caller left open stay open in it, and no others", (box) => {
  box.write(sh("echo ready; read -r line"));
  const input = pipe(kernel, "stdin");
  const kept = pipe(kernel, "kept");
  using running = box.start(["run", box.id], { stdin: input.read, fds: { 55: kept.write } });
  [input.read, kept.write].forEach((fd) => fd.close());
  running.says("ready\n");
  becomesMonitor(running);
  const names = [...Deno.readDirSync(`/proc/${running.pid}/fd`)].map(({ name }) => name);
  const links = names.map((name) => Deno.readLinkSync(`/proc/${running.pid}/fd/${name}`));
  // stdout and stderr are files; the caller's pipes, and three of the process.
  const expected = [
    "/memfd:stderr (deleted)",
    "/memfd:stdout (deleted)",
    `${box.root}/${box.id}`,
    // The record of how the process ends.
    `${box.root}/${box.id}/exit`,
    "anon_inode:[signalfd]",
  ];
  assertEquals(
    links.map((link) => link.replace(/^pipe:\[\d+]$/, "pipe")).sort(),
    [...expected, ...Array(5).fill("pipe")].sort(),
  );
  assert(names.includes("55"));
  input.write.close();
  running.wait();
  assertEquals(readAll(kept.read), "");
  kept.read.close();
});

// --- streams ---------------------------------------------------------------------------------------------------------

comparing("megabytes through pipes that are read late arrive whole, and the container is gone before", (box) => {
  const output = pipe(kernel, "stdout");
  box.write(sh("head -c 3000000 /dev/zero | tr '\\0' x & head -c 10 /dev/zero | tr '\\0' y >&2; wait; exit 9"));
  using running = box.start(["run", box.id], { stdout: output.write });
  output.write.close();
  until("stderr", () => running.stderr === "y".repeat(10));
  const text = readAll(output.read);
  output.read.close();
  assertEquals([running.wait().code, text.length, /^x*$/.test(text)], [9, 3_000_000, true]);
});

comparing("a reader that goes away ends the writer by SIGPIPE", (box) => {
  const output = pipe(kernel, "stdout");
  box.write((config) => {
    config.process.args = ["sh", "-c", "while echo y; do :; done"];
    withoutPidNamespace(config);
  });
  using running = box.start(["run", box.id], { stdout: output.write });
  output.write.close();
  readUntil(output.read, (text) => text.length > 0);
  output.read.close();
  assertEquals(running.wait().code, 128 + 13);
});

for (const [what, redirection] of [["closed", "exec <&-"], ["/dev/null", "exec < /dev/null"]] as const) {
  comparing(`a stdin that is ${what} is at its end`, (box) => {
    box.write(sh("cat; echo end"));
    const { code, stdout, stderr } = box.runc(["run", box.id], { prefix: afterShell(redirection) });
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: "end\n", stderr: "" });
  });
}

// --- the end ---------------------------------------------------------------------------------------------------------

comparing("without a pid namespace whatever is left in the cgroup is killed, and so its output ends", (box) => {
  box.write((config) => {
    sh("(trap '' HUP; exec sleep 1000) & echo $!; exit 3")(config);
    withoutPidNamespace(config);
  });
  const { code, stdout, stderr } = box.runc(["run", box.id]);
  assertEquals([code, stderr, contentOf(`/proc/${stdout.trim()}/stat`)], [3, "", ""]);
  assertEquals([box.containers(), cgroupsNamed(box.name)], [[], []]);
});

/** How many processes are in a box's container. */
const processesOf = (box: Box): number => JSON.parse(box.must(["ps", "--format", "json", box.id])).length;

/** A background child with all streams of the process; it lives until its container ends. */
const HOLDER = "while :; do read -r line < /hold; done &";
const makeHold = (box: Box) => execute(["/usr/bin/mkfifo", `${box.rootfs}/hold`]);

comparing("exec ends with its process, not with a child that still has its output", (box) => {
  makeHold(box);
  box.startSleeping();
  const result = box.runc(["exec", box.id, "sh", "-c", `${HOLDER} echo hi; echo oh >&2; exit 6`]);
  assertEquals([result, processesOf(box)], [{ code: 6, stdout: "hi\n", stderr: "oh\n" }, 2]);
  box.remove();
});

comparing(
  "all that the process of an exec has written arrives, however late it is read, with a child behind",
  (box) => {
    makeHold(box);
    box.startSleeping();
    const output = pipe(kernel, "stdout");
    // More than the reader's pipe holds, and less than two do: the process ends while the rest is in the other one.
    const script = `${HOLDER} head -c 100000 /dev/zero | tr '\\0' x; exit 6`;
    using running = box.start(["exec", box.id, "sh", "-c", script], { stdout: output.write });
    output.write.close();
    until(
      "only the container's process and the child are there",
      () => processesOf(box) === 2 && isMonitor(running.pid),
    );
    assertEquals(running.isOver, false);
    const text = readAll(output.read);
    output.read.close();
    assertEquals([running.wait().code, text.length, /^x*$/.test(text)], [6, 100_000, true]);
    box.remove();
  },
);

comparing("a child that goes on writing when the process of an exec has ended is ended by SIGPIPE", (box) => {
  box.startSleeping();
  const { code, stdout, stderr } = box.runc([
    "exec",
    box.id,
    "sh",
    "-c",
    "while :; do echo more; done & echo first; exit 6",
  ]);
  assertEquals([code, stderr], [6, ""]);
  assertStringIncludes(stdout, "first\n");
  until("the child's end", () => processesOf(box) === 1);
  box.remove();
});

comparing("run --keep without a pid namespace ends with its process, too", (box) => {
  makeHold(box);
  box.write((config) => {
    sh(`${HOLDER} echo hi; exit 6`)(config);
    withoutPidNamespace(config);
  });
  const result = box.runc(["run", "--keep", box.id]);
  assertEquals([result, box.state().status], [{ code: 6, stdout: "hi\n", stderr: "" }, "stopped"]);
  box.remove();
});

comparing("cgroups that the container has made below its own are removed with it", (box) => {
  const result = box.run((config) => {
    config.mounts.push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["rw"] });
    config.mounts = config.mounts.filter(({ options }) => !options?.includes("ro") || true);
    sh("mkdir /sys/fs/cgroup/pids/below /sys/fs/cgroup/pids/below/that && echo made; exit 2")(config);
  });
  assertEquals(result, { code: 2, stdout: "made\n", stderr: "" });
  assertEquals([box.containers(), cgroupsNamed(box.name)], [[], []]);
});

comparing("a poststop hook runs when the process has ended, in the runtime's environment", (box) => {
  const out = `${box.directory}/out`;
  box.write((config) => {
    config.hooks = { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `cat > ${out}; echo $SOME >> ${out}`] }] };
    sh("exit 6")(config);
  });
  const { code, stderr } = box.runc(["run", box.id], { env: { SOME: "thing" } });
  const [state, some] = contentOf(out).split(/(?<=\})\n?/);
  assertEquals([code, stderr, JSON.parse(state!).status, some], [6, "", "stopped", "thing\n"]);
});

comparing("a cgroup that cannot be removed is told of, the status is the program's, and the container stays", (box) => {
  const input = pipe(kernel, "stdin");
  box.write(sh("echo ready; read -r line; exit 6"));
  using stranger = new Running(["/usr/bin/sleep", "1000"]);
  using running = box.start(["run", box.id], { stdin: input.read });
  input.read.close();
  running.says("ready\n");
  becomesMonitor(running);
  const cgroup = cgroupsNamed(box.name).find((path) => path.includes("/pids/"))!;
  Deno.writeTextFileSync(`${cgroup}/cgroup.procs`, String(stranger.pid));
  input.write.close();
  const { code, stderr } = running.wait();
  assertEquals(code, 6);
  assertStringIncludes(stderr, "runc run failed: unable to remove container's cgroup: Failed to remove paths:");
  assertEquals(box.state().status, "stopped");
  stranger.signal(9);
  stranger.wait();
  box.remove();
});

comparing("a container that somebody else deletes meanwhile ends like any other", (box) => {
  box.write(sh("echo ready; sleep 1000"));
  using running = box.start(["run", box.id]);
  running.says("ready\n");
  becomesMonitor(running);
  box.must(["delete", "--force", box.id]);
  assertEquals(running.wait(), { code: 137, stdout: "ready\n", stderr: "" });
});

comparing("an id that is somebody else's by the time the process ends is left alone", (box) => {
  box.write((config) => {
    sh("echo ready; sleep 1000")(config);
    // More than the monitor can remove by itself.
    config.hooks = { poststop: [{ path: "/bin/true" }] };
  });
  using running = box.start(["run", box.id]);
  running.says("ready\n");
  becomesMonitor(running);
  running.signal(19);
  const { pid } = box.state();
  kernel.must("kill", "kill", pid, 9);
  box.must(["delete", "--force", box.id]);
  box.startSleeping();
  running.signal(18);
  assertEquals(running.wait().code, 137);
  assertEquals(box.state().status, "running");
  box.remove();
});

comparing("run --keep leaves the container and its cgroups", (box) => {
  box.write(sh("exit 4"));
  assertEquals(box.runc(["run", "--keep", box.id]).code, 4);
  assertEquals([box.state().status, cgroupsNamed(box.name).length > 0], ["stopped", true]);
  box.must(["delete", box.id]);
});

// --- the log ---------------------------------------------------------------------------------------------------------

/** Says READY on the runtime's socket. */
function sayReady(box: Box, then: string): Change {
  const perl = `use IO::Socket::UNIX;
    IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send("STATUS=x\\nREADY=1");`;
  const addPrograms = addHostPrograms(box);
  return (config) => {
    addPrograms(config);
    sh(`/usr/bin/perl -e '${perl}'; ${then}`)(config);
  };
}

comparing("a service manager that is not there is a warning in the log, and no failure", (box) => {
  box.write(sayReady(box, "exit 3"));
  const log = "log";
  const args = ["--log", log, "--log-format", "json", "run", "--bundle", box.bundle, box.id];
  const options = { cwd: box.directory, env: { NOTIFY_SOCKET: `${box.directory}/nobody` } };
  const { code, stderr } = box.runc(args, options);
  assertEquals([code, stderr], [3, ""]);
  const { level, msg } = JSON.parse(contentOf(`${box.directory}/${log}`));
  assertEquals([level, box.plain(msg)], [
    "warning",
    'cannot tell the service manager at "<directory>/nobody": no such file or directory',
  ]);
});

comparing("a path of a service manager that no socket can have is a warning, too", (box) => {
  box.write(sayReady(box, "exit 3"));
  const { code, stderr } = box.runc(["run", box.id], { env: { NOTIFY_SOCKET: `/${"x".repeat(200)}` } });
  assertEquals(code, 3);
  assertMatch(stderr, /level=warning msg="cannot tell the service manager at \\"\/x+\\": invalid argument"/);
});

comparing("with --debug forwarded signals are logged", (box) => {
  const log = `${box.directory}/log`;
  box.write(sh("trap 'echo got; exit 0' USR1; echo ready; while :; do sleep 0.01; done"));
  using running = box.start(["--debug", "--log", log, "run", box.id]);
  running.says("ready\n");
  const { pid } = box.state();
  running.signal(10);
  assertEquals(running.wait().code, 0);
  assertMatch(contentOf(log), new RegExp(`level=debug msg="forwarding signal 10 \\(SIGUSR1\\) to ${pid}"`));
});

boxTest("runc monitor is nobody's to call", (box) => {
  for (const words of [[], ["end"], ["say", "debug"], ["other", "a", "b"]]) {
    assertStringIncludes(
      box.refused(["monitor", ...words]).msg,
      "monitor is internal: only the monitors of run and exec start it",
    );
  }
  assertEquals(execute([...box.argv("help")]).stdout.includes("monitor"), false);
});
