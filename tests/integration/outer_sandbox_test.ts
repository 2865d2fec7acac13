/** A seccomp filter around the runtime, as an engine's profile is, that refuses newer system calls: what still works, and what says why not. As root. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ErrnoName } from "../../lib/ffi/errno.ts";
import { memfd } from "../../lib/ffi/files.ts";
import type { SyscallName } from "../../lib/ffi/syscalls.ts";
import { processStat } from "../../lib/libcontainer/state/process_status.ts";
import { writeDenying } from "../fixtures/tiny_program.ts";
import {
  type Box,
  boxTest,
  type Change,
  comparing,
  kernel,
  type Runtime,
  type StartOptions,
  until,
} from "./harness.ts";

/** How a runtime is started whose system calls are refused. */
function refusing(box: Box, names: readonly SyscallName[], errno: ErrnoName): StartOptions {
  const program = `${box.directory}/refusing`;
  writeDenying(program, names, errno);
  return { prefix: [program] };
}

/** Much of what a container can have, and a program that tells what it sees of it. */
const much: Change = (config) => {
  config.process.user = { uid: 1000, gid: 1000, additionalGids: [7] };
  config.process.cwd = "/new/directory";
  config.process.oomScoreAdj = 77;
  config.process.args = ["sh", "-c", script];
  config.mounts.push(
    { destination: "/bound/deeper", type: "bind", source: "/etc", options: ["rbind", "ro"] },
    { destination: "/a/file", type: "bind", source: "/etc/passwd", options: ["bind", "ro"] },
    { destination: "/empty", type: "tmpfs", source: "tmpfs", options: ["size=64k"] },
  );
  config.linux.maskedPaths = ["/proc/acpi", "/secret", "/hidden"];
  config.linux.readonlyPaths = ["/proc/sys", "/kept"];
  config.linux.devices = [{ path: "/dev/here/fuse", type: "c", major: 10, minor: 229 }];
  config.hooks = {
    createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", "cat > /dev/null"], timeout: 100 }],
    createContainer: [{ path: "/bin/sh", args: ["sh", "-c", "ls /proc/self/fd | wc -l"] }],
    startContainer: [{ path: "/bin/sh", args: ["sh", "-c", "grep -q ociVersion"] }],
  };
};
const script = `
  id; pwd; umask; cat /proc/self/oom_score_adj
  ls /bound/deeper/passwd; test -s /a/file && echo bound
  touch /bound/deeper/x /a/file /kept/x /proc/sys/x 2>&1
  ls /secret; wc -c < /hidden
  stat -c '%F %t %T' /dev/here/fuse /dev/null
  ls /proc/self/fd
`;

function prepare(box: Box): void {
  for (const name of ["secret", "kept"]) Deno.mkdirSync(`${box.rootfs}/${name}`);
  Deno.writeTextFileSync(`${box.rootfs}/secret/file`, "");
  Deno.writeTextFileSync(`${box.rootfs}/hidden`, "words");
}

/** Calls that there is another way for, and the errnos that are answered. With EPERM glibc itself gives up for clone3, and Deno for statx. */
const replaced: readonly (readonly [name: SyscallName, errnos: readonly ErrnoName[]])[] = [
  ["clone3", ["ENOSYS"]],
  ["close_range", ["EPERM", "ENOSYS"]],
  ["execveat", ["EPERM", "ENOSYS"]],
  ["faccessat2", ["EPERM", "ENOSYS"]],
  ["memfd_create", ["EPERM", "ENOSYS"]],
  ["openat2", ["EPERM", "ENOSYS"]],
  ["pidfd_open", ["EPERM", "ENOSYS"]],
  ["statx", ["ENOSYS"]],
];

/** With the other executor, which needs these itself. */
const byBoth = (name: SyscallName): readonly Runtime[] => name === "memfd_create" ? ["native"] : ["native", "deno"];

for (const [name, errnos] of replaced) {
  for (const errno of errnos) {
    comparing(`without ${name} (${errno}) a container is what it is with it, in run, create and exec`, (box) => {
      prepare(box);
      box.write(much);
      using left = memfd(kernel, "left open by the caller");
      const usual = box.must(["run", box.id]);
      assertMatch(usual, /uid=1000[^]*bound\n[^]*Read-only file system[^]*character special file a e5\n/);
      const options = { ...refusing(box, [name], errno), fds: { 11: left } };
      assertEquals(box.must(["run", box.id], options), usual);

      box.write((config) => {
        much(config);
        config.process.args = ["sleep", "1000"];
      });
      using created = box.start(["create", box.id], options);
      assertEquals(created.wait(), { code: 0, stdout: "", stderr: "" });
      box.must(["start", box.id], options);
      assertEquals(box.state().status, "running");
      const exec = ["exec", "--cwd", "/new/directory", box.id, "sh", "-c", script];
      assertEquals(box.must(exec, options), box.must(exec));
      box.must(["kill", box.id, "KILL"], options);
      until("its end", () => box.state().status === "stopped");
      box.must(["delete", box.id], options);
    }, byBoth(name));
  }
}

boxTest("without all of them at once, too", (box) => {
  prepare(box);
  box.write(much);
  const usual = box.must(["run", box.id]);
  // To see what is mounted over a file of /proc takes one of the two.
  const names = replaced.map(([name]) => name).filter((name) => name !== "statx");
  assertEquals(box.must(["run", box.id], refusing(box, names, "ENOSYS")), usual);
});

boxTest("a filter that refuses none of these calls changes no plan, nor for a caller who may not mount", (box) => {
  box.write(much);
  const options = refusing(box, ["setdomainname"], "EPERM");
  const usual = box.must(["plan"]);
  assertEquals(box.must(["plan"], options), usual);
  assertStringIncludes(usual, "openat2(");
  // A monitor tolerates each refusal.
  const without = box.must(["plan", "create", box.id], refusing(box, ["openat2", "close_range"], "ENOSYS"));
  assertEquals([without.includes("openat2("), without.includes("close_range(")], [false, false]);

  const program = refusing(box, ["setdomainname"], "EPERM").prefix![0]!;
  const nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  Deno.chmodSync(box.directory, 0o755);
  const plain = box.must(["plan"], { prefix: nobody });
  assertEquals(box.must(["plan"], { prefix: [program, ...nobody] }), plain);
  assertStringIncludes(plain, "openat2(");
});

boxTest("what a sandbox refuses that nothing can replace is named", (box) => {
  box.write((config) => void (config.process.oomScoreAdj = 77));
  const { hint, step } = box.refused(["run", box.id], refusing(box, ["openat2", "statx"], "ENOSYS"));
  assertEquals([hint, step], [
    "openat2, statx: a sandbox around this runtime refuses it, such as the seccomp profile of an engine",
    "set oom_score_adj to 77",
  ]);
  // Deno, which this program runs on, takes this for an answer.
  const other = box.refused(["run", box.id], refusing(box, ["statx"], "EPERM"));
  assertStringIncludes(other.hint!, "statx: a sandbox around this runtime refuses it");
});

const mountCalls: readonly SyscallName[] = [
  "open_tree",
  "move_mount",
  "mount_setattr",
  "fsopen",
  "fsconfig",
  "fsmount",
];

/** Every mount with its options, and those of a container that has much to mount. */
const mounting: Change = (config) => {
  much(config);
  config.root.readonly = true;
  config.process.args = ["sh", "-c", `${script} cut -d' ' -f5,6 /proc/self/mountinfo`];
  config.mounts.push(
    { destination: "/o/1", type: "bind", source: "/etc", options: ["bind", "nosuid", "nodev", "noexec", "noatime"] },
    { destination: "/o/2", type: "bind", source: "/etc", options: ["rbind", "ro", "nosymfollow", "rslave"] },
    { destination: "/o/3", type: "tmpfs", source: "tmpfs", options: ["ro", "noexec"] },
    { destination: "/o/3", type: "bind", source: "/o/3", options: ["bind", "remount", "nodev"] },
  );
};

for (const [index, name] of mountCalls.entries()) {
  const errno = index % 2 === 0 ? "EPERM" : "ENOSYS";
  comparing(`without ${name} (${errno}) mounts are made by mount, and protect as much`, (box) => {
    prepare(box);
    box.write(mounting);
    const usual = box.must(["run", box.id]);
    assertMatch(
      usual,
      /touch: \/bound[^]*Read-only[^]*touch: \/a\/file[^]*Read-only[^]*touch: \/kept[^]*Read-only[^]*touch: \/proc\/sys/,
    );
    const options = refusing(box, [name], errno);
    assertEquals(masksAsOne(box.must(["run", box.id], options)), masksAsOne(usual));
    // And waiting for start, its host's /proc is not at hand.
    box.must(["create", box.id], options);
    const { pid } = box.state();
    const links = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) =>
      Deno.statSync(`/proc/${pid}/fd/${name}`).dev
    );
    assertEquals(links.includes(Deno.statSync("/proc").dev), false);
    box.remove();
    // The other executor needs some of them to hide our binary.
  }, ["native"]);
}

/** Each masked directory shows a tmpfs of its own then: the same to whoever looks. */
const masksAsOne = (text: string): string => text.split("\n").toSorted().join("\n");

boxTest("without the new calls for mounts and openat2 a mount on a symlink is refused", (box) => {
  Deno.mkdirSync(`${box.directory}/outside`);
  Deno.symlinkSync(`${box.directory}/outside`, `${box.rootfs}/link`);
  box.write((config) =>
    void config.mounts.push({ destination: "/link", type: "bind", source: "/etc", options: ["bind"] })
  );
  const { hint } = box.refused(["run", box.id], refusing(box, [...mountCalls, "openat2"], "ENOSYS"));
  assertStringIncludes(hint!, "a symlink is followed by openat2(2) alone");
  assertEquals([...Deno.readDirSync(`${box.directory}/outside`)], []);
});

boxTest("what mount cannot do is an error that names the call and the sandbox", (box) => {
  const options = refusing(box, ["mount_setattr", "fsopen"], "EPERM");
  const cases: readonly (readonly [options: string[], type: string, call: SyscallName])[] = [
    [["rbind", "rro"], "bind", "mount_setattr"],
    [["tmpcopyup"], "tmpfs", "fsopen"],
  ];
  for (const [mountOptions, type, call] of cases) {
    box.write((config) =>
      void config.mounts.push({ destination: "/tmp", type, source: "/etc", options: mountOptions })
    );
    const error = box.refused(["run", box.id], options);
    assertEquals([error.errno, error.call?.split("(")[0], error.hint?.split(",")[0]], [
      "EPERM",
      call,
      `${call}: a sandbox around this runtime refuses it`,
    ]);
    assertEquals(box.containers(), []);
  }
});

boxTest("delete --force waits for the end of the process without pidfd_open, too", (box) => {
  box.startSleeping();
  const { pid } = box.state();
  const options = refusing(box, ["pidfd_open"], "ENOSYS");
  box.must(["delete", "--force", box.id], options);
  assertEquals([processStat(pid)?.state ?? "Z", box.containers()], ["Z", []]);
});

boxTest("a hook's timeout holds without pidfd_open", (box) => {
  box.write((config) => {
    config.hooks = { createRuntime: [{ path: "/bin/sleep", args: ["sleep", "1000"], timeout: 1 }] };
  });
  const { msg } = box.refused(["run", box.id], refusing(box, ["pidfd_open"], "ENOSYS"));
  assertStringIncludes(msg, "hook ran past specified timeout of 1.0s");
});

for (const place of ["directory", "parent", "file"] as const) {
  boxTest(`without openat2 a mount on a symlink is refused, and nothing is mounted where it leads: ${place}`, (box) => {
    Deno.mkdirSync(`${box.directory}/outside`);
    Deno.writeTextFileSync(`${box.directory}/outside/file`, "");
    // With openat2 it leads to a place inside.
    const path = place === "file" ? `${box.directory}/outside/file` : `${box.directory}/outside`;
    Deno.symlinkSync(path, `${box.rootfs}/link`);
    box.write((config) => {
      config.mounts.push({
        destination: place === "parent" ? "/link/below" : "/link",
        type: "bind",
        source: place === "file" ? "/etc/passwd" : "/etc",
        options: ["bind"],
      });
    });
    const { hint } = box.refused(["run", box.id], refusing(box, ["openat2"], "EPERM"));
    assertStringIncludes(
      hint!,
      "a symlink is followed by openat2(2) alone, and a sandbox around this runtime refuses it",
    );
    assertEquals([...Deno.readDirSync(`${box.directory}/outside`)].map(({ name }) => name), ["file"]);
    // The same container, where it is allowed to follow.
    if (place !== "file") box.must(["run", box.id]);
  });
}

for (const errno of ["EPERM", "ENOSYS", "EINVAL"] as const) {
  boxTest(`a refusal of sched_setaffinity (${errno}) is a warning, in run and in exec`, (box) => {
    const warning =
      /level=warning msg="resetting the CPU affinity failed -- the container process may inherit runc's CPU affinity: /;
    const options = refusing(box, ["sched_setaffinity"], errno);
    box.write((config) => void (config.process.args = ["echo", "in"]));
    const { code, stdout, stderr } = box.runc(["run", box.id], options);
    assertEquals([code, stdout], [0, "in\n"]);
    assertMatch(stderr, warning);
    box.startSleeping();
    const second = box.runc(["exec", box.id, "echo", "in"], options);
    assertEquals([second.code, second.stdout], [0, "in\n"]);
    assertMatch(second.stderr, warning);
    box.remove();
  });
}
