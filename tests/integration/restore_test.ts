/** restore, with a real CRIU: a restored container is a container, and a failure leaves nothing. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { pipe } from "../../lib/ffi/files.ts";
import type { Exit } from "../../lib/libcontainer/state/exit_record.ts";
import { bindDatagram } from "../../lib/ffi/sockets.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { openPty } from "../fixtures/pty.ts";
import { contentOf, readUntil, writeText } from "./foreground_harness.ts";
import { COUNTING, type CriuBox, criuOf, criuTest, TALKING } from "./criu_harness.ts";
import { addHostPrograms, type Change, kernel, until, withUserNamespace } from "./harness.ts";
import { cgroupsNamed, mounts } from "./leftovers.ts";
import { UnixServer } from "./unix_server.ts";

const SIGCONT = 18;

/** Nothing of the container or its restore is left. */
function assertNothingLeft(box: CriuBox): void {
  assertEquals([box.box.containers(), cgroupsNamed(box.box.name)], [[], []]);
  assertEquals(mounts().filter(({ line }) => line.includes(box.box.name)), []);
}

criuTest("a program goes on where it was saved, again and again", (box) => {
  box.startCounting();
  for (let round = 0; round < 2; round++) {
    const before = box.box.state();
    box.checkpoint();
    const saved = box.count;
    box.restore();
    const after = box.box.state();
    assertEquals(after.status, "running");
    assertNotEquals(after.pid, before.pid);
    assertEquals({ ...after, pid: 0 }, { ...before, pid: 0 });
    until("more than was saved", () => box.count > saved);
  }
  assertEquals(mounts().filter(({ line }) => line.includes("criu-root")), []);
  box.box.remove();
});

criuTest("a restored container is used like any other", (box) => {
  const { box: { name } } = box;
  const change: Change = (config) => {
    config.linux.resources = { ...config.linux.resources, pids: { limit: 77 }, memory: { limit: 1 << 27 } };
    config.linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO" }],
    };
  };
  box.startCounting(change);
  const limits = () =>
    ["pids.max", "memory.limit_in_bytes", "memory.max"]
      .flatMap((file) => cgroupsNamed(name).map((path) => contentOf(`${path}/${file}`)).filter((text) => text !== ""));
  const before = limits();
  const status = () =>
    contentOf(`/proc/${box.box.state().pid}/status`).split("\n").filter((line) => /^(Cap|Seccomp:|NoNew)/.test(line));
  const credentials = status();
  box.checkpoint();
  box.restore();
  assertEquals(limits(), before);
  assertEquals(status(), credentials);
  const same =
    "for n in pid mnt net ipc uts time; do test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo $n; done";
  assertEquals(
    box.box.must(["exec", box.id, "sh", "-c", `${same}; mkdir /tmp/x 2> /dev/null || echo refused`]),
    "refused\n",
  );
  assertMatch(box.box.must(["ps", box.id]), /echo \$i/);
  assertEquals(JSON.parse(box.box.must(["events", "--stats", box.id])).data.pids.limit, 77);
  box.box.must(["update", "--pids-limit", "66", box.id]);
  assert(limits().includes("66\n"));
  box.box.must(["pause", box.id]);
  assertEquals(box.status, "paused");
  box.box.must(["resume", box.id]);
  box.countsOn();
  box.box.must(["kill", box.id, "KILL"]);
  until("its end", () => box.status === "stopped");
  box.box.must(["delete", box.id]);
  assertNothingLeft(box);
});

criuTest("a TCP connection goes on", (box) => {
  box.start(TALKING);
  box.countsOn();
  box.checkpoint("--tcp-established");
  box.restore("--tcp-established");
  box.countsOn();
  box.box.remove();
});

criuTest("a file lock is held again", (box) => {
  box.start(
    `exec 9> /lock; /usr/bin/flock 9; ${COUNTING}`,
    addHostPrograms(box.box),
  );
  box.countsOn();
  const isFree = () => box.box.runc(["exec", box.id, "/usr/bin/flock", "-n", "/lock", "true"]).code === 0;
  assertEquals(isFree(), false);
  assertMatch(box.refused(["checkpoint", "--image-path", box.images, box.id]).hint!, /lock/i);
  box.checkpoint("--file-locks");
  box.restore("--file-locks");
  assertEquals(isFree(), false);
  box.box.remove();
});

criuTest("v1: the restored container sees its own cgroups", (box) => {
  box.startCounting();
  const shown = () =>
    box.box.must(["exec", box.id, "sh", "-c", "grep ' cgroup ' /proc/self/mountinfo | cut -d' ' -f4 | sort -u"]);
  const before = shown();
  assertMatch(before, new RegExp(`^${box.box.cgroup}\n$`));
  box.checkpoint();
  box.restore();
  assertEquals(shown(), before);
  box.box.remove();
});

criuTest("places of mounts that are gone are made again, also below a bind mount", (box) => {
  const [outer, inner] = ["outer", "inner"].map((name) => `${box.box.directory}/${name}`) as [string, string];
  for (const path of [outer, inner]) Deno.mkdirSync(path);
  Deno.writeTextFileSync(`${inner}/file`, "inner");
  box.startCounting((config) => {
    config.mounts.push(
      { destination: "/data", type: "bind", source: outer, options: ["bind"] },
      { destination: "/data/a/b", type: "bind", source: inner, options: ["bind"] },
      { destination: "/one/file", type: "bind", source: `${inner}/file`, options: ["bind"] },
    );
  });
  box.checkpoint();
  Deno.removeSync(`${outer}/a`, { recursive: true });
  Deno.removeSync(`${box.box.rootfs}/one`, { recursive: true });
  box.restore();
  assertEquals(box.box.must(["exec", box.id, "cat", "/data/a/b/file", "/one/file"]), "innerinner");
  box.box.remove();
});

criuTest("a read-only root gets the directory /tmp, which CRIU needs there", (box) => {
  Deno.removeSync(`${box.box.rootfs}/tmp`);
  box.start("exec sleep 100000", (config) => config.root.readonly = true);
  box.checkpoint();
  box.restore();
  const { code, stderr } = box.box.runc(["exec", box.id, "touch", "/tmp/x"]);
  assertEquals([code, stderr.includes("Read-only file system")], [1, true]);
  box.box.remove();
});

criuTest("a mount on a path with a symlink, and the directory of the sd_notify proxy, are mounted again", (box) => {
  Deno.mkdirSync(`${box.box.rootfs}/real`);
  Deno.symlinkSync("/real", `${box.box.rootfs}/link`);
  const NOTIFY_SOCKET = `${box.box.directory}/notify`;
  using _socket = bindDatagram(kernel, NOTIFY_SOCKET);
  box.write(COUNTING, (config) => {
    config.mounts.push({ destination: "/link/data", type: "bind", source: box.box.bundle, options: ["bind"] });
  });
  using nothing = box.nothing();
  const streams = { stdout: nothing, stderr: nothing, env: { ...box.env, NOTIFY_SOCKET } };
  assertEquals(box.runc(["create", box.id], streams).code, 0);
  box.box.must(["start", box.id]);
  box.countsOn();
  box.checkpoint();
  assertEquals(box.runc(["restore", "--detach", "--image-path", box.images, box.id], streams).code, 0, box.errors());
  const seen = box.box.must([
    "exec",
    box.id,
    "sh",
    "-c",
    "test -e /real/data/config.json && grep -c ' /run/notify ' /proc/mounts",
  ]);
  assertEquals(seen, "1\n");
  box.box.remove();
});

criuTest("a container with a user namespace, whose root may read the image files", (box) => {
  Deno.chmodSync(box.box.rootfs, 0o777);
  box.startCounting(withUserNamespace());
  box.checkpoint();
  // CRIU reads its files as the container's root, another user on the host. One of them (timens-0.img) it opens without
  // waiting for that user's ids: then it is the host's root, without any capability.
  for (const name of [".", ...[...Deno.readDirSync(box.images)].map(({ name }) => name)]) {
    Deno.chownSync(`${box.images}/${name}`, 100_000, 0);
    Deno.chmodSync(`${box.images}/${name}`, name === "." ? 0o750 : 0o640);
  }
  box.restore();
  box.countsOn();
  const maps = contentOf(`/proc/${box.box.state().pid}/uid_map`).trim().split(/ +/);
  assertEquals(maps, ["0", "100000", "65536"]);
  box.box.remove();
});

criuTest("hooks: prestart and createRuntime when the namespaces exist, poststop at the end", (box) => {
  const log = `${box.box.directory}/hooks`;
  const hook = (name: string) => [{ path: "/bin/sh", args: ["sh", "-c", `echo ${name} $(cat) >> ${log}`] }];
  box.startCounting((config) => {
    config.hooks = {
      prestart: hook("prestart"),
      createRuntime: hook("createRuntime"),
      poststart: hook("poststart"),
      poststop: hook("poststop"),
    };
  });
  box.checkpoint();
  Deno.removeSync(log);
  box.restore();
  const { pid } = box.box.state();
  box.box.remove();
  const lines = contentOf(log).trimEnd().split("\n").map((line) => {
    const [name, ...json] = line.split(" ");
    const state = JSON.parse(json.join(" "));
    return [name, state.status, state.pid];
  });
  // Like runc, it runs no poststart hooks.
  assertEquals(lines, [["prestart", "creating", pid], ["createRuntime", "creating", pid], [
    "poststop",
    "stopped",
    undefined,
  ]]);
});

criuTest("--manage-cgroups-mode=ignore restores into another cgroup", (box) => {
  box.startCounting();
  box.checkpoint("--manage-cgroups-mode=ignore");
  box.write("", (config) => {
    config.linux.cgroupsPath = `${box.box.cgroup}-other`;
  });
  box.restore("--manage-cgroups-mode=ignore");
  const lines = contentOf(`/proc/${box.box.state().pid}/cgroup`).trimEnd().split("\n");
  assertEquals([...new Set(lines.map((line) => line.split(":")[2]))], [`${box.box.cgroup}-other`]);
  box.countsOn();
  box.box.remove();
});

// --- streams, terminals, the foreground ------------------------------------------------------------------------------------

criuTest("streams that were pipes are the new caller's pipes, also at the second time", (box) => {
  box.write("while read -r line; do echo got $line; done");
  const talk = (start: (streams: ReturnType<typeof streamsOf>) => void, word: string) => {
    const streams = streamsOf();
    start(streams);
    for (const fd of [streams.theirs.stdin, streams.theirs.stdout]) fd.close();
    writeText(streams.stdin, `${word}\n`);
    assertEquals(readUntil(streams.stdout, (text) => text.endsWith("\n")), `got ${word}\n`);
    return streams;
  };
  const first = talk(({ theirs }) => {
    assertEquals(box.runc(["run", "--detach", box.id], { ...theirs, stderr: theirs.stdout }).code, 0);
  }, "one");
  let last = first;
  for (const word of ["two", "three"]) {
    box.checkpoint();
    for (const fd of [last.stdin, last.stdout]) fd.close();
    last = talk(({ theirs }) => {
      const args = ["restore", "--detach", "--image-path", box.images, box.id];
      assertEquals(box.runc(args, { ...theirs, stderr: theirs.stdout }).code, 0, box.errors());
    }, word);
  }
  last.stdin.close();
  until("its end", () => box.status === "stopped");
  last.stdout.close();
  box.box.remove();
});

function streamsOf() {
  const [input, output] = [pipe(kernel, "stdin"), pipe(kernel, "stdout")];
  return { stdin: input.write, stdout: output.read, theirs: { stdin: input.read, stdout: output.write } };
}

const terminal: Change = (config) => {
  config.process.terminal = true;
};
const SHELL = "while read -r line; do echo got $line; done; exit 7";

criuTest("--console-socket gets the terminal of a detached container", (box) => {
  const path = `${box.box.directory}/console`;
  box.write(SHELL, terminal);
  using server = new UnixServer(path);
  box.must(["run", "--detach", "--console-socket", path, box.id]);
  using first = server.receive().fds[0]!;
  box.checkpoint();
  first.close();
  box.must(["restore", "--detach", "--image-path", box.images, "--console-socket", path, box.id]);
  const { text, fds } = server.receive();
  assertEquals([text, fds.length], ["orphan-pts-master", 1]);
  using master = fds[0]!;
  writeText(master, "hello\n");
  assertEquals(readUntil(master, (seen) => seen.includes("got")), "hello\r\ngot hello\r\n");
  box.box.remove();
});

criuTest("in the foreground the user's terminal shows the container's, and the status is the program's", (box) => {
  const path = `${box.box.directory}/console`;
  box.write(SHELL, terminal);
  using server = new UnixServer(path);
  box.must(["run", "--detach", "--console-socket", path, box.id]);
  using first = server.receive().fds[0]!;
  box.checkpoint();
  first.close();
  const { master, slave } = openPty(kernel);
  using _master = master;
  using _slave = slave;
  const args = ["restore", "--image-path", box.images, box.id];
  using running = box.box.start(args, { stdin: slave, stdout: slave, stderr: slave, env: box.env });
  until("the container", () => running.isOver || existsSync(`${box.box.root}/${box.id}/state.json`));
  writeText(master, "hello\n");
  assertMatch(readUntil(master, (seen) => seen.includes("got")), /got hello\r\n$/);
  // Ctrl-D
  writeText(master, "\x04");
  assertEquals(running.wait().code, 7);
  assertNothingLeft(box);
});

criuTest("in the foreground without a terminal it waits for the end, and removes the container", (box) => {
  box.startUntilEnd();
  box.checkpoint();
  using running = box.box.start(["restore", "--image-path", box.images, "--pid-file", "pid", box.id], { env: box.env });
  until("the pid file", () => running.isOver || existsSync(`${box.box.bundle}/pid`));
  assertEquals(Deno.readTextFileSync(`${box.box.bundle}/pid`), String(box.box.state().pid));
  Deno.writeTextFileSync(`${box.box.rootfs}/end`, "");
  assertEquals(running.wait(), { code: 7, stdout: "", stderr: "" });
  assertNothingLeft(box);
});

// --- the end -------------------------------------------------------------------------------------------------------------

criuTest("--supervise records how a restored container ends: wait and state tell it", (box) => {
  box.startUntilEnd();
  box.checkpoint();
  box.restore("--supervise");
  using waiting = box.box.start(["wait", box.id]);
  Deno.writeTextFileSync(`${box.box.rootfs}/end`, "");
  assertEquals(waiting.wait().code, 7);
  const { status, exit } = box.box.state();
  const { source, code } = exit as Exit;
  assertEquals([status, source, code], ["stopped", "monitor", 7]);
  box.box.must(["delete", box.id]);
  assertNothingLeft(box);
});

criuTest("in the foreground, wait learns how the container ends, and exec and delete --force work meanwhile", (box) => {
  box.startUntilEnd();
  box.checkpoint();
  const restored = () => {
    const running = box.box.start(["restore", "--image-path", box.images, "--pid-file", "pid", box.id], {
      env: box.env,
    });
    until("the pid file", () => running.isOver || existsSync(`${box.box.bundle}/pid`));
    Deno.removeSync(`${box.box.bundle}/pid`);
    return running;
  };
  {
    using running = restored();
    using waiting = box.box.start(["wait", box.id]);
    // It has the container's pidfd and the record open.
    until("wait to begin", () => waiting.isOver || openFiles(waiting.pid).some((path) => path.endsWith("/exit")));
    box.box.must(["exec", box.id, "touch", "/end"]);
    assertEquals([running.wait().code, waiting.wait().code], [7, 7]);
    assertNothingLeft(box);
  }
  Deno.removeSync(`${box.box.rootfs}/end`);
  using running = restored();
  box.box.must(["delete", "--force", box.id]);
  assertEquals(running.wait().code, 137);
  assertNothingLeft(box);
});

function openFiles(pid: number): readonly string[] {
  const directory = `/proc/${pid}/fd`;
  return [...Deno.readDirSync(directory)].flatMap(({ name }) => {
    try {
      return [Deno.readLinkSync(`${directory}/${name}`)];
    } catch {
      // It is closed by now.
      return [];
    }
  });
}

criuTest("--supervise is refused in the foreground", (box) => {
  const { code, msg } = box.refused(["restore", "--supervise", "--image-path", box.images, box.id]);
  assertEquals([code, msg.startsWith("--supervise needs --detach")], ["usage", true]);
});

// --- failures ------------------------------------------------------------------------------------------------------------

criuTest("a restore that fails leaves nothing, and its error has CRIU's words", (box) => {
  box.startCounting();
  box.checkpoint();
  const pages = `${box.images}/fs-1.img`;
  Deno.renameSync(pages, `${pages}.away`);
  const args = ["restore", "--detach", "--image-path", box.images, box.id];
  const error = box.refused(args);
  assertEquals([error.code, error.msg], ["checkpoint-failed", "criu failed: type RESTORE errno 0"]);
  assertMatch(error.hint!, /restore\.log: Error \(criu\//);
  assertEquals(error.warnings[0], `--- Quoting "${box.images}/restore.log"`);
  assertNothingLeft(box);
  Deno.renameSync(`${pages}.away`, pages);
  box.restore();
  box.countsOn();
  assertEquals(box.refused(args).code, "container-exists");
  box.countsOn();
  box.box.remove();
});

criuTest("a hook that fails ends the restore, and nothing is left", (box) => {
  box.startCounting((config) => {
    config.hooks = { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `cat > ${box.box.directory}/poststop`] }] };
  });
  box.checkpoint();
  box.write("", (config) => {
    config.hooks = {
      createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", "echo no >&2; exit 3"] }],
      poststop: [{ path: "/bin/sh", args: ["sh", "-c", `cat > ${box.box.directory}/poststop`] }],
    };
  });
  const { code, msg } = box.refused(["restore", "--detach", "--image-path", box.images, box.id]);
  assertEquals([code, msg], [
    "hook-failed",
    "error running createRuntime hook #0: exit status 3, stdout: , stderr: no\n",
  ]);
  assertEquals(JSON.parse(contentOf(`${box.box.directory}/poststop`)).status, "stopped");
  assertNothingLeft(box);
});

criuTest("an image without descriptors.json is refused, and nothing is left", (box) => {
  const { code, errno } = box.refused(["restore", "--detach", "--image-path", box.images, box.id]);
  assertEquals([code, errno], ["syscall-failed", "ENOENT"]);
  assertNothingLeft(box);
});

criuTest("criu killed while it restores: nothing is left, and the image can be restored", (box) => {
  box.startCounting();
  box.checkpoint();
  // CRIU traces the processes when they are complete, to let them go.
  const { PATH } = box.withAccident("--trace=ptrace --inject=ptrace:signal=SIGKILL:when=3");
  const error = box.refused(["restore", "--detach", "--image-path", box.images, box.id], { env: { PATH } });
  assertEquals(error.code, "checkpoint-failed");
  assertMatch(error.msg, /signal: killed/);
  assertNothingLeft(box);
  box.restore();
  box.countsOn();
  box.box.remove();
});

criuTest("the runtime and criu killed while they restore: delete --force kills the rest", (box) => {
  box.startCounting();
  box.checkpoint();
  const { PATH, trace } = box.withAccident("--trace=ptrace --inject=ptrace:signal=SIGSTOP:when=3");
  using nothing = box.nothing();
  const args = ["restore", "--detach", "--image-path", box.images, box.id];
  using running = box.box.start(args, { stdout: nothing, stderr: nothing, env: { PATH } });
  until("CRIU to stop", () => contentOf(trace).includes("stopped by SIGSTOP"));
  const tracee = criuOf(running.pid);
  kill(kernel, tracee, 9);
  running.signal(9);
  running.wait();
  box.box.must(["delete", "--force", box.id]);
  assertNothingLeft(box);
});

criuTest("the runtime killed while it restores: delete removes the rest, and not the rootfs", (box) => {
  box.startCounting();
  box.checkpoint();
  const { PATH, trace } = box.withAccident("--trace=mount --inject=mount:signal=SIGSTOP:when=1");
  using nothing = box.nothing();
  const args = ["restore", "--detach", "--image-path", box.images, box.id];
  using running = box.box.start(args, { stdout: nothing, stderr: nothing, env: { PATH } });
  until("CRIU to stop", () => contentOf(trace).includes("stopped by SIGSTOP"));
  const root = `${box.box.root}/${box.id}/criu-root`;
  assert(existsSync(`${root}/bin/busybox`));
  const tracee = criuOf(running.pid);
  running.signal(9);
  running.wait();
  kill(kernel, tracee, SIGCONT);
  until("CRIU's end", () => !/^State:\t[^Z]/m.test(contentOf(`/proc/${tracee}/status`)));
  assertEquals(box.status, "stopped");
  box.box.must(["delete", box.id]);
  assert(existsSync(`${box.box.rootfs}/bin/busybox`), "the rootfs is gone");
  assertNothingLeft(box);
  box.restore();
  box.countsOn();
  box.box.remove();
});
