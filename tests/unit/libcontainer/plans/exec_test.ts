import { assert, assertEquals } from "@std/assert";
import { type ExecRequest, planExec } from "../../../../lib/libcontainer/plans/exec.ts";
import type { Process } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, labels, pointedTo, stepOf } from "../../plan_reader.ts";
import { cgroup2Entry, facts } from "../fixed.ts";

const process: Process = {
  cwd: "/w",
  user: { uid: 1000, gid: 1000 },
  args: ["sh"],
  env: ["PATH=/bin"],
  noNewPrivileges: true,
  capabilities: { bounding: ["CAP_KILL"] },
};
const request: ExecRequest = {
  id: "box",
  namespaces: ["pid", "mount"],
  cgroup: { taskFiles: [] },
  noNewKeyring: false,
  inheritedFds: 0,
  listenFds: 0,
  pidfdSocket: false,
};
const plan = (changes: Partial<Process> = {}, asked: Partial<ExecRequest> = {}) =>
  planExec({ ...process, ...changes }, facts, { ...request, ...asked });

Deno.test("a further process joins the container's namespaces and does what a first one does after the mounts", () => {
  const all = plan();
  assertEquals(labels(all.stage), [
    "close what the caller left open",
    "wait until the parent has made the cgroups",
    "run on every processor that the cpuset allows",
    "hide from the processes of the joined namespaces",
    "join pid namespace of the container's init",
    "join mount namespace of the container's init",
    "take the process name runc:[2:INIT] and close the host's /proc",
    "fork the container's process, tell the parent its pid and exit",
  ]);
  assertEquals(labels(all.init).filter((label) => !/^drop CAP_|^give descriptor/.test(label)), [
    "start a session",
    "join a session keyring",
    "give up new privileges",
    "send /etc/passwd to the parent, which looks for the user's home",
    "tell the parent that all is set up and wait for its go and HOME",
    "enter /w",
    "keep capabilities across setuid",
    "set the additional groups",
    "become gid 1000",
    "become uid 1000",
    "enter /w as the user",
    "make sure that the working directory is inside the root",
    "stop keeping capabilities",
    "set the effective, permitted and inheritable capabilities",
    "set the ambient capabilities",
    "begin to look for sh in the container's PATH",
    "look for /bin/sh",
    "make sure that sh was found",
    "tell the parent that the command was found and close the socket to it",
    "mark every descriptor that is not the container's close-on-exec",
    "become sh",
  ]);
});

Deno.test("nothing is mounted, named or hooked", () => {
  const { stage, init } = plan({ terminal: true }, { namespaces: ["user", "mount", "uts", "network"] });
  const calls = callLines([...stage, ...init]).filter((line) =>
    /^(mount|pivot_root|sethostname|umount2|unshare|open_tree)\(/.test(line)
  );
  assertEquals(calls, []);
  assert(!labels(init).includes("make /dev/console and bind the terminal on it"));
});

Deno.test("the host's procfs is closed before anything is looked up in the container", () => {
  const { stage, init } = plan({ oomScoreAdj: 3 });
  const all = callLines([...stage, ...init]);
  const closed = all.indexOf("close(<proc>)");
  assert(closed > 0);
  assertEquals(all.slice(closed + 1).filter((line) => line.includes("<proc>")), []);
});

Deno.test("namespaces are joined through descriptors, a user namespace between the tries", () => {
  const { stage } = plan({}, { namespaces: ["network", "user"] });
  assertEquals(callsNamed(stage, "setns").map(({ args }) => (args[0] as { fd: string }).fd), [
    "ns-network",
    "ns-user",
    "ns-network",
  ]);
});

Deno.test("the umask is the container's, or the caller's where it has none", () => {
  const umask = (value?: number) =>
    callLines(plan({}, { umask: value }).init).filter((line) => line.startsWith("umask("));
  assertEquals([umask(), umask(0o27)], [[], ["umask(027)"]]);
});

Deno.test("the session keyring is the container's, as it is", () => {
  const keyctl = (noNewKeyring: boolean) => callsNamed(plan({}, { noNewKeyring }).init, "keyctl").length;
  assertEquals([keyctl(false), keyctl(true)], [1, 0]);
});

Deno.test("exec can be born in a cgroup, send a pidfd, have a terminal and pass descriptors", () => {
  const all = plan({ terminal: true }, { cgroup: cgroup2Entry, pidfdSocket: true, inheritedFds: 3, listenFds: 1 });
  assert(labels(all.stage).includes("open /sys/fs/cgroup/box as a mount of its own or enter it"));
  assert(labels(all.init).includes("open a pty and unlock it"));
  const sent = callLines([stepOf(all.init, "send a pidfd of the process to the caller and close the socket to it")]);
  assert(sent.some((line) => line.includes('"setns"')));
  const env = pointedTo(callsNamed(all.init, "execve")[0]!.args[2] as never);
  assertEquals(env, ["PATH=/bin", "LISTEN_FDS=1", "LISTEN_PID=1", "<HOME entry>"]);
  assertEquals(callsNamed(all.init, "close_range").map(({ args }) => args[0]), [6]);
});

Deno.test("a process without capabilities keeps what it joined with", () => {
  const { init } = plan({ capabilities: undefined });
  assertEquals(callsNamed(init, "capset").length + labels(init).filter((label) => label.startsWith("drop")).length, 0);
});

Deno.test("the affinity is the stage's first step and init's first step; the rest follows no_new_privs", () => {
  const { stage, init } = plan({
    execCPUAffinity: { initial: "0", final: "1" },
    scheduler: { policy: "SCHED_IDLE" },
    ioPriority: { class: "IOPRIO_CLASS_BE", priority: 4 },
  }, { personality: 8, memoryPolicy: { mode: 0, flags: 0 } });
  assertEquals(labels(stage)[0], "run on processors 0 at first");
  assertEquals(callsNamed(stage, "sched_setaffinity").length, 1);
  assertEquals(labels(init)[0], "run on processors 1");
  const after = labels(init).indexOf("give up new privileges") + 1;
  assertEquals(labels(init).slice(after, after + 4), [
    "set the scheduling policy SCHED_IDLE and its parameters",
    "set the I/O priority IOPRIO_CLASS_BE 4",
    "set the personality LINUX32",
    "set the memory policy MPOL_DEFAULT",
  ]);
});
