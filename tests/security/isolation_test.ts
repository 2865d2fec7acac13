/** What of the host a container could reach while it is set up: programs, descriptors, environment, other processes. */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { openPath } from "../../lib/ffi/files.ts";
import { type Box, boxTest, comparing, isFrozen, kernel, program, until } from "../integration/harness.ts";
import { contentOf } from "../integration/foreground_harness.ts";
import { cgroupsNamed } from "../integration/leftovers.ts";

/** A container that waits for start. Returns its init's pid. */
function create(box: Box, env: Record<string, string> = {}): number {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["create", box.id], { env });
  return box.state().pid;
}

/** Pids in the container's cgroup. */
function processes(box: Box): number[] {
  const path = cgroupsNamed(box.name).find((one) => one.includes("/pids/"))!;
  return Deno.readTextFileSync(`${path}/cgroup.procs`).trimEnd().split("\n").map(Number);
}

/** What each open descriptor of a process is. */
function descriptors(pid: number): string[] {
  const host = Deno.statSync("/proc").dev;
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => {
    const path = `/proc/${pid}/fd/${name}`;
    const link = Deno.readLinkSync(path);
    // A file on a mount in no namespace is called "/".
    if (link === "/" && Deno.statSync(path).isFile) return "detached file";
    return link === "/proc" && Deno.statSync(path).dev === host ? "the host's procfs" : link;
  });
}

boxTest("native: the process that waits for start is the image, and the only one of the container", (box) => {
  const pid = create(box);
  assertEquals(processes(box), [pid]);
  assertMatch(Deno.readLinkSync(`/proc/${pid}/exe`), /^\/memfd:/);
  const mapped = Deno.readTextFileSync(`/proc/${pid}/maps`).split("\n").map((line) => line.split(/ +/)[5] ?? "");
  assertEquals(mapped.filter((path) => path.startsWith("/") && !path.startsWith("/memfd:")), []);
  box.remove();
});

boxTest("native: no page of it is writable and executable", (box) => {
  const pid = create(box);
  assertEquals(Deno.readTextFileSync(`/proc/${pid}/maps`).split("\n").filter((line) => / .w.?x|.wx/.test(line)), []);
  box.remove();
});

boxTest("native: no Deno runs for the container beside the command itself", (box) => {
  // strace sees every execve of the command and its children.
  const trace = `${box.directory}/trace`;
  const prefix = ["/usr/bin/strace", "--follow-forks", "--quiet=all", "--trace=execve", "--output", trace];
  assertEquals(box.run(() => {}, { prefix }).code, 0);
  const executed = Deno.readTextFileSync(trace).split("\n").filter((line) =>
    line.includes("execve(") && line.endsWith("= 0")
  );
  const programs = executed.map((line) =>
    /execve\("([^"]*)"/.exec(line)![1]!.replace(/\/proc\/self\/fd\/\d+/, "<image>")
  );
  assertEquals(programs.map((path) => path.replace(/.*\/(runc|deno)$/, "$1")), [
    "runc",
    // The launcher starts Deno; a program that was frozen is what Deno had become.
    ...(isFrozen(program) ? [] : ["deno"]),
    "<image>",
    "/bin/true",
  ]);
});

comparing("no file and no directory of the host is open in the process that waits for start", (box) => {
  const pid = create(box);
  const allowed = [
    /^\/dev\/null$/,
    /^(\/memfd|pipe|socket|anon_inode):/,
    new RegExp(`^${box.root}/${box.id}/exec.fifo$`),
    // Deno's binary, where that is needed: a test below is about it.
    /^detached file$/,
    // The container's, to open the fifo by its descriptor.
    /^\/proc$/,
  ];
  const others = descriptors(pid).filter((link) => !allowed.some((pattern) => pattern.test(link)));
  box.remove();
  assertEquals(others, []);
});

comparing("the program has nothing of that: stdio only", (box) => {
  const pid = create(box);
  box.must(["start", box.id]);
  until("the program", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  assertEquals(descriptors(pid).length, 3);
  assertEquals(Deno.readLinkSync(`/proc/${pid}/exe`), "/bin/busybox");
  box.remove();
});

comparing("the caller's environment is not in the container's processes", (box) => {
  const pid = create(box, { SECRET: "of-the-host" });
  const environ = (one: number) => Deno.readTextFileSync(`/proc/${one}/environ`);
  assertEquals(processes(box).filter((one) => environ(one).includes("SECRET")), []);
  box.must(["start", box.id], { env: { SECRET: "of-the-host" } });
  until("the program", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  assertEquals(environ(pid).includes("SECRET"), false);
  box.remove();
});

boxTest("native: the file that the process that waits was started from cannot be changed", (box) => {
  const pid = create(box);
  using exe = openPath(kernel, `/proc/${pid}/exe`);
  box.must(["start", box.id]);
  until("the program", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  // Nobody executes it now: what refuses are its seals. memfd_create(2)
  assertThrows(() => Deno.writeTextFileSync(`/proc/self/fd/${exe.number}`, "x"), Error, "Operation not permitted");
  box.remove();
});

comparing("deno: the host's binary is on a read-only mount: who gets hold of it there cannot change it", (box) => {
  const pid = create(box);
  // What a container keeps of it when it opens /proc/PID/exe (CVE-2019-5736).
  using exe = openPath(kernel, `/proc/${pid}/exe`);
  const place = `/proc/self/fd/${exe.number}`;
  const { mode } = Deno.statSync(place);
  // Refused by the mount, whether or not somebody executes the file. chmod(2), EROFS
  assertThrows(() => Deno.chmodSync(place, mode! & 0o7777), Error, "Read-only file system");
  assertThrows(() => Deno.openSync(place, { write: true }), Error);
  box.remove();
}, ["deno"]);

/** The process in the container's pid namespace that has not become its program yet, once there is one. */
function unfinished(box: Box): number | undefined {
  // The stage, which is in the host's, has one pid. proc(5), NSpid
  return processes(box).find((pid) =>
    /^Name:\trunc:\[2:INIT\]\n[^]*^NSpid:\t\d+\t\d+$/m.test(contentOf(`/proc/${pid}/status`))
  );
}

comparing("the container cannot look into an exec that has not become its program", (box) => {
  // The same user with the same capabilities: what refuses is that the process is not dumpable. CVE-2016-9962
  box.startSleeping();
  {
    // The first call after it came into the container's pid namespace takes half a minute, unless strace ends before.
    const delay = ["/usr/bin/strace", "--follow-forks", "--output=/dev/null", "--inject=keyctl:delay_enter=30000000"];
    using exec = box.start(["exec", box.id, "true"], { prefix: delay });
    const pid = until("the process of the exec", () => unfinished(box));
    const look =
      "case $(cat $one/comm) in runc*) echo met; for fd in $one/fd/*; do readlink $fd; done; readlink $one/exe; esac";
    assertEquals(box.must(["exec", box.id, "sh", "-c", `for one in /proc/[0-9]*; do ${look}; done; true`]), "met\n");
    assertEquals([unfinished(box), exec.isOver], [pid, false]);
  }
  box.remove();
});
