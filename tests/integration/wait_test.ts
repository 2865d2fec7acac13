/** `wait`, exit records and `--supervise`. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Exit } from "../../lib/libcontainer/state/exit_record.ts";
import { open, openPath } from "../../lib/ffi/files.ts";
import { pidfdExitStatus, pidfdOpen, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import { parseStat } from "../../lib/libcontainer/state/process_status.ts";
import { type Box, boxTest, comparing, kernel, type TestConfig, until } from "./harness.ts";

/** The program runs until /go exists in the rootfs, and then does this. */
const onGo = (then: string) => (config: TestConfig) => {
  config.process.args = ["sh", "-c", `until [ -e /go ]; do sleep 0.02; done; ${then}`];
  config.root.readonly = false;
};
const go = (box: Box) => Deno.writeTextFileSync(`${box.rootfs}/go`, "");

/** What `wait` prints as JSON, and its status. */
function wait(box: Box, ...args: string[]): Exit & { readonly exitCode: number } {
  const { code, stdout, stderr } = box.runc(["wait", "--format", "json", ...args, box.id]);
  assertEquals(stderr, "");
  const { id, ...exit } = JSON.parse(stdout);
  assertEquals(id, box.id);
  return { ...exit, exitCode: code };
}

/** Whether the kernel keeps the status of processes that were reaped: Linux 6.15. */
function keepsStatus(): boolean {
  const pid = spawn(kernel, { path: "/bin/true", argv: ["true"], env: [], fds: [] });
  using pidfd = pidfdOpen(kernel, pid)!;
  waitChild(kernel, pid);
  return pidfdExitStatus(kernel, pidfd) !== undefined;
}

comparing("a supervised run is recorded: wait and state tell how it ended, until it is deleted", (box) => {
  box.write(onGo("exit 7"));
  box.must(["run", "--detach", "--supervise", box.id]);
  assertEquals("exit" in box.state(), false);
  using waiting = box.start(["wait", box.id]);
  go(box);
  assertEquals(waiting.wait().code, 7);
  const { endedAt = "", exitCode, ...exit } = wait(box);
  assertMatch(endedAt, /^\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?Z$/);
  assertEquals([exit, exitCode], [{ source: "monitor", status: 7, code: 7, oomKills: 0 }, 7]);
  const { status, exit: stated } = box.state();
  assertEquals([status, stated], ["stopped", { ...exit, endedAt }]);
  box.must(["delete", box.id]);
  assertEquals(box.containers(), []);
});

boxTest("a supervised create can be waited for before it is started; a timeout is an error", (box) => {
  box.write(onGo("kill -KILL $$; sleep 9"));
  box.must(["create", "--supervise", "--pid-file", `${box.directory}/pid`, box.id]);
  const late = box.refused(["wait", "--timeout", "10ms", box.id]);
  assertEquals([late.code, late.exitCode], ["timeout", 255]);
  assertEquals(box.state().status, "created");
  box.must(["start", box.id]);
  box.must(["kill", box.id, "KILL"]);
  const { endedAt: _, ...exit } = wait(box);
  const killed = { source: "monitor", status: 137, signal: "SIGKILL", coreDumped: false, oomKills: 0, exitCode: 137 };
  assertEquals(exit, killed as typeof exit);
  box.remove();
});

boxTest("a supervisor has no stream, directory, session or descriptor of its caller", (box) => {
  box.write(onGo("exit 0"));
  using given = open(kernel, `${box.bundle}/config.json`, 0);
  box.must(["run", "--detach", "--supervise", "--preserve-fds", "1", box.id], { fds: { 3: given } });
  const parent = parseStat(Deno.readTextFileSync(`/proc/${box.state().pid}/stat`)).parent;
  const fields = Deno.readTextFileSync(`/proc/${parent}/stat`).split(" ");
  assertEquals(fields[5], String(parent), "its own session");
  assertEquals(Deno.readLinkSync(`/proc/${parent}/cwd`), "/");
  const files = [...Deno.readDirSync(`/proc/${parent}/fd`)].map(({ name }) => [
    name,
    Deno.readLinkSync(`/proc/${parent}/fd/${name}`),
  ]);
  assertEquals(files.slice(0, 3), ["0", "1", "2"].map((name) => [name, "/dev/null"]));
  const rest = files.slice(3).map(([, path]) => path!);
  assertEquals(rest.filter((path) => !path.startsWith("anon_inode:[signalfd]")), [`${box.root}/${box.id}/exit`]);
  go(box);
  wait(box);
  until("the supervisor's end", () => !isThere(`/proc/${parent}`));
  box.remove();
});

function isThere(path: string): boolean {
  try {
    openPath(kernel, path).close();
    return true;
  } catch {
    return false;
  }
}

boxTest("a supervised command that fails leaves nothing, and has the status and the error of any other", (box) => {
  box.write((config) => void (config.process.args = ["nothing-of-this-name"]));
  const alone = box.refused(["run", "--detach", box.id]);
  const supervised = box.refused(["run", "--detach", "--supervise", box.id]);
  assertEquals([supervised.msg, supervised.exitCode], [alone.msg, alone.exitCode]);
  assertEquals(box.containers(), []);
  assertEquals(box.refused(["run", "--supervise", box.id]).code, "usage");
});

boxTest("a foreground run is recorded; wait gets the record of a container that is removed meanwhile", (box) => {
  box.write(onGo("exit 3"));
  using running = box.start(["run", box.id]);
  until("it runs", () => box.runc(["state", box.id]).stdout.includes('"running"'));
  using waiting = box.start(["wait", "--format", "json", box.id]);
  const isWaiting = () => Deno.readTextFileSync(`/proc/${waiting.pid}/syscall`).startsWith("7 ");
  until("it waits in poll", isWaiting);
  go(box);
  assertEquals(running.wait().code, 3);
  const { code, stdout } = waiting.wait();
  assertEquals([code, JSON.parse(stdout).source, JSON.parse(stdout).status], [3, "monitor", 3]);
  assertEquals(box.containers(), []);
});

boxTest("run --keep keeps the record", (box) => {
  box.write((config) => void (config.process.args = ["sh", "-c", "exit 4"]));
  assertEquals(box.runc(["run", "--keep", box.id]).code, 4);
  assertEquals([wait(box).source, wait(box).exitCode], ["monitor", 4]);
  box.remove();
});

boxTest("processes killed for lack of memory are counted", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "tail -c 1000m /dev/zero"];
    config.linux.resources = { memory: { limit: 8 << 20, swap: 8 << 20 } };
  });
  assertEquals(box.runc(["run", "--keep", box.id]).code, 137);
  assertEquals(wait(box).oomKills, 1);
  box.remove();
});

boxTest("without a supervisor, the kernel tells those that waited, and they leave a record", (box) => {
  box.write(onGo("exit 5"));
  box.must(["run", "--detach", box.id]);
  using waiting = box.start(["wait", "--format", "json", box.id]);
  until("it waits in poll", () => Deno.readTextFileSync(`/proc/${waiting.pid}/syscall`).startsWith("7 "));
  go(box);
  const { code, stdout } = waiting.wait();
  const exit = JSON.parse(stdout) as Exit;
  if (!keepsStatus()) {
    assert(exit.source === "kernel" || exit.source === "unknown");
    box.remove();
    return;
  }
  assertEquals([code, exit.source, exit.code], [5, "kernel", 5]);
  assertEquals([wait(box).source, wait(box).exitCode], ["kernel", 5]);
  box.remove();
});

boxTest("how a container ended that nobody watched is unknown, and state says nothing of it", (box) => {
  box.write(onGo("exit 6"));
  box.must(["run", "--detach", box.id]);
  const { pid } = box.state();
  go(box);
  // This program is the subreaper: it reaps the process, and tells nobody.
  until("it is reaped", () => {
    box.runc(["list"]);
    return !isThere(`/proc/${pid}`);
  });
  assertEquals([wait(box).source, wait(box).exitCode, "exit" in box.state()], ["unknown", 255, false]);
  box.remove();
});

boxTest("a record that is no regular file is not read", (box) => {
  box.write((config) => void (config.process.args = ["true"]));
  assertEquals(box.runc(["run", "--keep", box.id]).code, 0);
  const record = `${box.root}/${box.id}/exit`;
  Deno.removeSync(record);
  Deno.symlinkSync("/etc/passwd", record);
  assertEquals(wait(box).source, "unknown");
  box.remove();
});
