/** What of the host a container could reach while it is set up: programs, descriptors, environment, other processes. */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { openFlag } from "../../lib/ffi/constants.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { memfd, open, openPath } from "../../lib/ffi/files.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import {
  type Box,
  boxTest,
  comparing,
  isSnapshot,
  kernel,
  program,
  type StartOptions,
  until,
} from "../integration/harness.ts";
import { cgroupsNamed } from "../integration/leftovers.ts";
import { openNumbers, stopBehind } from "./stopped.ts";

/** A container that waits for start. Returns its init's pid. */
function create(box: Box, options: StartOptions = {}): number {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["create", box.id], options);
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
    ...(isSnapshot(program) ? [] : ["deno"]),
    "<image>",
    "/bin/true",
  ]);
});

comparing("no file and no directory of the host is open in the process that waits for start", (box) => {
  // What the caller left open by mistake, too.
  using left = openPath(kernel, box.directory);
  const pid = create(box, { fds: { 3: left, 9: left, 200: left } });
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
  const pid = create(box, { env: { SECRET: "of-the-host" } });
  const environ = (one: number) => Deno.readTextFileSync(`/proc/${one}/environ`);
  assertEquals(processes(box).filter((one) => environ(one).includes("SECRET")), []);
  box.must(["start", box.id], { env: { SECRET: "of-the-host" } });
  until("the program", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  assertEquals(environ(pid).includes("SECRET"), false);
  box.remove();
});

const F_ADD_SEALS = 1033, F_SEAL_FUTURE_WRITE = 0x10, EPERM = 1;
const PROT_WRITE = 2, MAP_SHARED = 1;

/** What each way to change an open file comes to: the length of what was written, 0, or −errno. */
function changes(fd: Fd): Record<string, number> {
  const size = Deno.statSync(`/proc/self/fd/${fd.number}`).size;
  const call = (name: string, ...args: (number | bigint | Uint8Array<ArrayBuffer>)[]) =>
    kernel.call(name, fd.number, ...args);
  const mapped = kernel.call("syscall", SYS_mmap[kernel.arch], 0, 4096, PROT_WRITE, MAP_SHARED, fd.number, 0);
  return {
    write: call("pwrite", alloc(1), 1, 0),
    map: mapped > 0 ? 0 : mapped,
    grow: call("ftruncate", size + 1),
    shrink: call("ftruncate", size - 1),
    // Whoever may add a seal may add that which stops a runtime that shares the file.
    seal: call("fcntl", F_ADD_SEALS, F_SEAL_FUTURE_WRITE),
  };
}
const SYS_mmap = { x86_64: 9, aarch64: 222 } as const;

boxTest("native: the file that the process that waits was started from cannot be changed", (box) => {
  const pid = create(box);
  using exe = openPath(kernel, `/proc/${pid}/exe`);
  box.must(["start", box.id]);
  until("the program", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  // Nobody executes it now, so that it can be opened for writing: what refuses are its seals. memfd_create(2)
  const before = Deno.readFileSync(`/proc/self/fd/${exe.number}`);
  using writable = open(kernel, `/proc/self/fd/${exe.number}`, openFlag(kernel.arch).O_RDWR);
  const refused = { write: -EPERM, map: -EPERM, grow: -EPERM, shrink: -EPERM, seal: -EPERM };
  assertEquals(changes(writable), refused);
  assertEquals(Deno.readFileSync(`/proc/self/fd/${exe.number}`), before);
  // A file that is not sealed takes all of it.
  using other = memfd(kernel, "not sealed");
  kernel.must("ftruncate", "ftruncate", other.number, 4096);
  assertEquals(changes(other), { write: 1, map: 0, grow: 0, shrink: 0, seal: -EPERM });
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

/** A shell script that tries to look into one of the runtime's processes, which it has to meet. What it finds, it prints. */
function look(pid: number): string {
  const [, inside] = /^NSpid:\t\d+\t(\d+)$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`)) ?? [];
  return `one=/proc/${inside}; { cat $one/stat > /dev/null && echo met; for fd in $one/fd/*; do echo tried; readlink $fd; done; ` +
    "readlink $one/exe; readlink $one/cwd; readlink $one/root; cat $one/environ; cat $one/maps; } 2>/dev/null; true";
}

/** What {@link look} prints where nothing is to be seen. The descriptors' numbers are no secret: nobody needs a right to list them. */
const nothing = (pid: number) => `met\n${"tried\n".repeat(openNumbers(pid).length)}`;

/** A set of capabilities of a process. proc(5), CapPrm */
const capabilities = (pid: number) => /^CapPrm:\t(.*)$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1];

comparing("CVE-2016-9962: the container cannot look into an exec that has not become its program", (box) => {
  const init = box.startSleeping();
  {
    using stopped = stopBehind(box, "capset", ["exec", box.id, "true"]);
    // The same user with the same capabilities: what refuses is that the process is not dumpable. ptrace(2), "access mode checking"
    assertEquals(capabilities(stopped.pid), capabilities(init));
    assertEquals(box.must(["exec", box.id, "sh", "-c", look(stopped.pid)]), nothing(stopped.pid));
  }
  box.remove();
});

comparing("CVE-2016-9962: nor into a container that joins its pid namespace", (box) => {
  const init = box.startSleeping();
  box.write((config) => {
    config.linux.cgroupsPath = `${box.cgroup}-second`;
    config.linux.namespaces.find(({ type }) => type === "pid")!.path = `/proc/${init}/ns/pid`;
  });
  {
    using stopped = stopBehind(box, "capset", ["run", "second"]);
    assertEquals(capabilities(stopped.pid), capabilities(init));
    assertEquals(box.must(["exec", box.id, "sh", "-c", look(stopped.pid)]), nothing(stopped.pid));
  }
  box.remove();
});

comparing("what a container mounts is not mounted on the host, though the host's mounts are shared", (box) => {
  // The mounts of the tests' own host stay out of it.
  const shared =
    'mount --make-rprivate / && mount --make-rshared / && "$@" && grep " evil " /proc/self/mountinfo; echo end';
  const prefix = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", shared, "sh"];
  const { stdout } = box.run((config) => {
    const capabilities = ["CAP_SYS_ADMIN"];
    config.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
    config.process.args = ["sh", "-c", "mount -t tmpfs evil /tmp && grep -c ' evil ' /proc/self/mountinfo"];
  }, { prefix });
  // Of the container's alone.
  assertEquals(stdout, "1\nend\n");
});

comparing("nothing of the host is mounted in the container but what the config says", (box) => {
  const places = new Set(box.sh("cut -d' ' -f5 /proc/self/mountinfo").trimEnd().split("\n"));
  const expected = /^\/(|proc(\/.*)?|dev(\/(pts|shm|mqueue))?|sys(\/fs\/cgroup(\/.*)?|\/firmware)?)$/;
  assertEquals([...places].filter((place) => !expected.test(place)), []);
  assertEquals(["/", "/proc", "/dev", "/sys"].filter((place) => !places.has(place)), []);
  // The root is the rootfs, once.
  assertEquals(
    box.sh("grep -c ' / / ' /proc/self/mountinfo; grep -c '/rootfs / ' /proc/self/mountinfo; true"),
    "0\n1\n",
  );
});
