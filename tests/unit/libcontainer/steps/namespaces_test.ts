import { assert, assertEquals } from "@std/assert";
import type { CgroupEntry } from "../../../../lib/libcontainer/config/launch_request.ts";
import {
  createSteps,
  enterCgroupSteps,
  forkSteps,
  joinSteps,
  ownCgroupNamespaceSteps,
} from "../../../../lib/libcontainer/steps/namespaces.ts";
import {
  hasNamespace,
  joinedNamespaces,
  makesNamespace,
  namespaceKinds,
} from "../../../../lib/libcontainer/config/namespaces.ts";
import type { Namespace, NamespaceType, TimeOffsets } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, labels, lines, origins, stepOf } from "../../plan_reader.ts";
import { cgroup2Entry, config } from "../fixed.ts";

/** `pid` is new, `pid=/x` is joined. */
function parse(list: readonly string[]): readonly Namespace[] {
  return list.map((text) => {
    const [type, path] = text.split("=") as [NamespaceType, string?];
    return path === undefined ? { type } : { type, path };
  });
}

const having = (list: readonly string[], timeOffsets?: TimeOffsets) =>
  config((draft) => Object.assign(draft.linux, { namespaces: parse(list), timeOffsets }));

const noCgroup: CgroupEntry = { taskFiles: [] };
const create = (list: readonly string[], options: { offsets?: TimeOffsets; cgroup?: CgroupEntry } = {}) =>
  createSteps(having(list, options.offsets), "x86_64", { cgroup: options.cgroup ?? noCgroup, cgroupLater: false });
const join = (list: readonly string[]) => joinSteps(joinedNamespaces(having(list)));

Deno.test("namespaces have the kernel's flags and file names", () => {
  // include/uapi/linux/sched.h; namespaces(7)
  const kernel: Readonly<Record<NamespaceType, readonly [flag: number, file: string]>> = {
    mount: [0x20000, "mnt"],
    cgroup: [0x2000000, "cgroup"],
    uts: [0x4000000, "uts"],
    ipc: [0x8000000, "ipc"],
    user: [0x10000000, "user"],
    pid: [0x20000000, "pid"],
    network: [0x40000000, "net"],
    time: [0x80, "time"],
  };
  for (const [type, { flag, file }] of Object.entries(namespaceKinds)) {
    assertEquals([flag, file] as const, kernel[type as NamespaceType], type);
  }
});

Deno.test("a namespace is made, joined, or neither", () => {
  const spec = having(["pid", "ipc=/proc/1/ns/ipc", "uts="]);
  const cases: readonly [type: NamespaceType, has: boolean, makes: boolean][] = [
    ["pid", true, true],
    ["ipc", true, false],
    ["uts", true, true],
    ["mount", false, false],
  ];
  for (const [type, has, makes] of cases) {
    assertEquals([hasNamespace(spec, type), makesNamespace(spec, type)], [has, makes], type);
  }
  assertEquals(joinedNamespaces(spec), [{ type: "ipc", from: "/linux/namespaces/1", path: "/proc/1/ns/ipc" }]);
  assertEquals(hasNamespace({ ociVersion: "" }, "pid"), false);
});

Deno.test("namespaces are joined in the config's order, after the process has hidden itself", () => {
  assertEquals(join([]), []);
  const steps = join(["pid", "network=/n", "ipc=/i"]);
  assertEquals(origins(steps).slice(1), [
    ["join network namespace /n", "/linux/namespaces/1"],
    ["join ipc namespace /i", "/linux/namespaces/2"],
  ]);
  assertEquals(callLines(steps), [
    "prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)",
    "setns(<ns-network>, CLONE_NEWNET)",
    "setns(<ns-ipc>, CLONE_NEWIPC)",
  ]);
  assert(callsNamed(steps, "setns").every(({ tolerate }) => !tolerate?.length), "nothing else will help");
});

Deno.test("with a user namespace, what its caller may not join is joined again as its root", () => {
  const steps = join(["network=/n", "user=/u", "mount=/m"]);
  assertEquals(labels(steps).slice(1), [
    "join network namespace /n",
    "join mount namespace /m",
    "join user namespace /u and become its root",
    "join network namespace /n as root of the user namespace",
    "join mount namespace /m as root of the user namespace",
  ]);
  const tolerated = callsNamed(steps, "setns").map(({ tolerate }) => tolerate ?? []);
  assertEquals(tolerated, [["EPERM"], ["EPERM"], [], [], []]);
  assertEquals(callLines([stepOf(steps, "join user namespace /u and become its root")]), [
    "setns(<ns-user>, CLONE_NEWUSER)",
    "setresgid(0, 0, 0)",
    "setresuid(0, 0, 0)",
  ]);
  assertEquals(lines([steps.at(-1)!])[0], "if $joined_mount != 0:");
});

Deno.test("new namespaces are made at once", () => {
  assertEquals(callLines(create(["pid", "network=/n", "uts"])), ["unshare(CLONE_NEWUTS|CLONE_NEWPID)"]);
  assertEquals(labels(create(["pid", "uts"])), ["create pid, uts namespaces"]);
  assertEquals(create([]), []);
  assertEquals(create(["pid=/p"]), []);
});

Deno.test("a new user namespace comes first and alone, and is mapped before anything is done as its root", () => {
  const steps = create(["pid", "user", "mount"]);
  assertEquals(labels(steps), [
    "create user namespace and have the parent map its ids",
    "become root of the user namespace",
    "create pid, mount namespaces",
  ]);
  const calls = callLines(steps).map((line) => line.replace(/, \{.*$/, "…"));
  assertEquals(calls.filter((line) => !line.startsWith("exit_group")), [
    "unshare(CLONE_NEWUSER)",
    "write(<sync>…",
    "read(<sync>, &reply+0, 8)",
    "setresgid(0, 0, 0)",
    "setresuid(0, 0, 0)",
    "unshare(CLONE_NEWNS|CLONE_NEWPID)",
  ]);
});

Deno.test("clock offsets are written as time_namespaces(7) has them", () => {
  const cases: readonly [offsets: TimeOffsets, text: string][] = [
    [{ monotonic: { secs: 86400, nanosecs: 500 } }, "monotonic 86400 500\n"],
    [{ boottime: { secs: -5 }, monotonic: {} }, "boottime -5 0\nmonotonic 0 0\n"],
  ];
  for (const [offsets, text] of cases) {
    const [write] = callLines(create(["time"], { offsets })).filter((line) => line.startsWith("write("));
    assertEquals(write, `write($file, ${JSON.stringify(text)}, ${text.length})`);
  }
  assertEquals(callLines(create(["time"], { offsets: {} })), ["unshare(CLONE_NEWTIME)"]);
  assertEquals(callLines(create(["time"])), ["unshare(CLONE_NEWTIME)"]);
});

Deno.test("the time namespace is made in the user namespace, while the process's files in /proc are still its own", () => {
  const offsets = { monotonic: { secs: 1 } };
  assertEquals(labels(create(["time", "user", "pid"], { offsets })), [
    "create user namespace and have the parent map its ids",
    "create time namespace and set its clocks",
    "become root of the user namespace",
    "create pid namespaces",
  ]);
});

Deno.test("a child that is born in its cgroup makes the cgroup namespace itself", () => {
  const list = ["pid", "cgroup"];
  assertEquals(callLines(create(list)), ["unshare(CLONE_NEWCGROUP|CLONE_NEWPID)"]);
  assertEquals(callLines(create(list, { cgroup: cgroup2Entry })), ["unshare(CLONE_NEWPID)"]);
  const own = (list: readonly string[], cgroup: CgroupEntry) =>
    callLines(ownCgroupNamespaceSteps(having(list), cgroup));
  assertEquals(own(list, cgroup2Entry), ["unshare(CLONE_NEWCGROUP)"]);
  assertEquals([own(list, noCgroup), own(["pid"], cgroup2Entry), own(["cgroup=/c"], cgroup2Entry)], [[], [], []]);
});

Deno.test("the stage waits for the cgroups and enters each by writing 0 to its file", () => {
  const steps = enterCgroupSteps({ taskFiles: [{ path: "/cg/a/tasks" }, { path: "/cg/b/cgroup.procs" }] }, "x86_64");
  assertEquals(labels(steps), ["wait until the parent has made the cgroups", "enter /cg/a", "enter /cg/b"]);
  assertEquals(callLines(steps.slice(1, 2)), [
    'openat(AT_FDCWD, "/cg/a/tasks", O_WRONLY|O_CLOEXEC, 0)',
    'write($file, "0", 1)',
    "close($file)",
  ]);
});

Deno.test("refusals of cgroups end the start, unless they are tolerated", () => {
  const cases: readonly [tolerate: "all" | "permission" | undefined, errnos: readonly string[]][] = [
    [undefined, []],
    ["permission", ["EPERM", "EACCES", "EROFS"]],
    ["all", ["*"]],
  ];
  for (const [tolerate, errnos] of cases) {
    const steps = enterCgroupSteps({ taskFiles: [{ path: "/cg/tasks", tolerate }] }, "x86_64").slice(1);
    assertEquals(callsNamed(steps, "openat")[0]!.endStepOn ?? [], errnos as never);
    assertEquals(callsNamed(steps, "write")[0]!.tolerate ?? [], errnos as never);
  }
});

Deno.test("the child is the parent's, and is born in its cgroup2 where there is one", () => {
  const [step] = forkSteps(noCgroup);
  const [fork] = step!.ops;
  assert(fork?.op === "fork");
  // CLONE_PARENT and SIGCHLD
  assertEquals([fork.flags, fork.intoCgroup], [0x8000 | 17, undefined]);
  assertEquals(fork.parent.at(-1), { op: "call", call: "exit_group", args: [0] });
  const open = enterCgroupSteps(cgroup2Entry, "x86_64").at(-1)!;
  const [into] = forkSteps(cgroup2Entry)[0]!.ops;
  assert(into?.op === "fork");
  assertEquals([into.intoCgroup], callsNamed([open], "open_tree").map(({ out }) => out));
});

Deno.test("the descriptor of the cgroup2 is a read-only mount of its own; where that is refused, the stage enters by writing", () => {
  const open = enterCgroupSteps(cgroup2Entry, "x86_64").at(-1)!;
  assertEquals(lines([open]), [
    '$cgroup = open_tree(AT_FDCWD, "/sys/fs/cgroup/box", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)  /* fine if any error */',
    '$refused = mount_setattr($cgroup, "", AT_EMPTY_PATH, {attr_set: MOUNT_ATTR_RDONLY, propagation: MS_PRIVATE}, 32)  ' +
    "/* fine if any error */",
    "if $refused != 0:",
    "  close($cgroup)  /* fine if EBADF */",
    '  $procs = openat(AT_FDCWD, "/sys/fs/cgroup/box/cgroup.procs", O_WRONLY|O_CLOEXEC, 0)',
    '  write($procs, "0", 1)',
    "  close($procs)",
    "  $cgroup = -1",
  ]);
});
