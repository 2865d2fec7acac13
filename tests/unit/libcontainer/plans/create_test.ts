/** What comes before what in a container's start, and which parts of the config it takes. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import type { HostFacts, LaunchRequest } from "../../../../lib/libcontainer/config/launch_request.ts";
import { hasRuntimeHooks, planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import type { Plan } from "../../../../lib/plan/op.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, labels, origins, pointedTo, stepOf } from "../../plan_reader.ts";
import { cgroup2Entry, config, type Draft, facts, facts2, request } from "../fixed.ts";

interface Changes {
  readonly facts?: Partial<HostFacts>;
  readonly request?: Partial<LaunchRequest>;
}

const plan = (change?: (draft: Draft<Config>) => void, changes: Changes = {}): Plan =>
  planCreate(config(change), { ...facts, ...changes.facts }, { ...request, ...changes.request });
const init = (change?: (draft: Draft<Config>) => void, changes?: Changes) => plan(change, changes).init;

/** Where the labels are that begin so; the one that is so, if there is one. */
function places(steps: readonly string[], start: string): readonly number[] {
  const exact = steps.indexOf(start);
  if (exact >= 0) return [exact];
  const found = steps.flatMap((label, index) => label.startsWith(start) ? [index] : []);
  assert(found.length > 0, `no step "${start}…" in:\n${steps.join("\n")}`);
  return found;
}
const at = (steps: readonly string[], start: string) => places(steps, start)[0]!;
const last = (steps: readonly string[], start: string) => places(steps, start).at(-1)!;

/** A config in which every part asks for something. */
function everything(draft: Draft<Config>): void {
  draft.process.oomScoreAdj = 5;
  draft.process.cwd = "/w";
  draft.domainname = "example.org";
  draft.mounts.push({ destination: "/t", type: "tmpfs", source: "t", options: ["ro"] } as never);
  draft.linux.sysctl = { "net.a": "1" };
  draft.linux.rootfsPropagation = "rshared";
  draft.hooks = {
    prestart: [{ path: "/prestart" }],
    createRuntime: [{ path: "/createRuntime" }],
    createContainer: [{ path: "/createContainer" }],
    startContainer: [{ path: "/startContainer" }],
    poststart: [{ path: "/poststart" }],
    poststop: [{ path: "/poststop" }],
  } as never;
}

Deno.test("the container's process enters its cgroups as its first act, but where it could not any more, or the stage is looked for", () => {
  const unshare = "create",
    wait = "wait until",
    enter = "enter /sys/fs/cgroup/cpuset",
    fork = "fork the container's process, tell the parent its pid and exit";
  const early = [wait, enter, unshare, fork], late = [unshare, fork, wait, enter];
  const cases: readonly (readonly [
    what: string,
    order: readonly string[],
    change: (draft: Draft<Config>) => void,
    changes?: Changes,
  ])[] = [
    ["usual", late, () => {}],
    ["cgroup2 beside v1", [unshare, wait, fork, enter], () => {}, {
      request: { cgroup: { ...request.cgroup, cloneInto: "/sys/fs/cgroup/unified/box" } },
    }],
    ["moved by its pid", early, () => {}, { request: { stageIsMoved: true } }],
    ["a user namespace", early, (draft) => void draft.linux.namespaces.push({ type: "user", path: "" })],
    ["a mount namespace that is joined", early, ({ linux }) => {
      linux.namespaces.find(({ type }) => type === "mount")!.path = "/proc/1/ns/mnt";
    }],
    ["a pid namespace that is joined, where others would see the files", early, ({ linux }) => {
      linux.namespaces.find(({ type }) => type === "pid")!.path = "/proc/1/ns/pid";
    }],
    ["another namespace that is joined", late, ({ linux }) => {
      linux.namespaces.find(({ type }) => type === "network")!.path = "/proc/1/ns/net";
    }],
  ];
  for (const [what, order, change, changes] of cases) {
    const steps = labels(plan(change, changes).stage);
    const found = order.map((start) => at(steps, start));
    assertEquals(found, found.toSorted((one, other) => one - other), `${what}:\n${steps.join("\n")}`);
  }
});

Deno.test("a cgroup namespace is made where its cgroup has been entered", () => {
  const change = (draft: Draft<Config>) => void draft.linux.namespaces.push({ type: "cgroup", path: "" });
  for (const stageIsMoved of [true, false]) {
    const { stage } = plan(change, { request: { stageIsMoved } });
    const makes = stage.findIndex(({ label }) => /^create .*cgroup/.test(label));
    assert(makes > last(labels(stage), "enter /sys/fs/cgroup/"));
  }
});

Deno.test("where the container has no /proc, init leaves the host's for one of processes alone that is mounted nowhere", () => {
  const leaving = (change?: (draft: Draft<Config>) => void) =>
    callLines([stepOf(init(change), "replace the host's /proc by the container's or hide this process")]);
  const made = leaving((draft) => {
    draft.mounts = draft.mounts.filter(({ destination }) => destination !== "/proc");
  });
  for (
    const call of [
      'fsopen("proc", FSOPEN_CLOEXEC)',
      'fsconfig($context, FSCONFIG_SET_STRING, "subset", "pid", 0)',
      "fsmount($context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY)",
    ]
  ) assert(made.includes(call), `${call} in\n${made.join("\n")}`);
  assert(!leaving().some((call) => call.startsWith("fs") && !call.startsWith("fstatfs")));
});

Deno.test("the stage enters the cgroups, then the namespaces, and forks last", () => {
  const steps = labels(
    plan((draft) => {
      everything(draft);
      draft.linux.namespaces.push({ type: "user", path: "" }, { type: "time", path: "/proc/1/ns/time" });
    }).stage,
  ).filter((label) => !label.startsWith("enter "));
  assertEquals(steps, [
    "close what the caller left open",
    "set oom_score_adj to 5",
    "wait until the parent has made the cgroups",
    "run on every processor that the cpuset allows",
    "hide from the processes of the joined namespaces",
    "join time namespace /proc/1/ns/time",
    "create user namespace and have the parent map its ids",
    "become root of the user namespace",
    "create pid, network, ipc, uts, mount namespaces",
    "take the process name runc:[2:INIT]",
    "fork the container's process, tell the parent its pid and exit",
  ]);
});

// Each row: both begin a label of the plan of a config with everything, and the first comes before the second.
const order: readonly (readonly [before: string, after: string, why: string])[] = [
  ["join a session keyring", "mount proc", "runc's order"],
  ["bring the loopback device up", "mount proc", "runc's order"],
  ["make / ", "bind /bundle/rootfs", "the copy of the rootfs is a mount too"],
  ["bind /bundle/rootfs", "mount proc", "mounts are placed beneath its descriptor"],
  ["close /sys/fs/cgroup", "open /dev or make it", "a mount may be /dev"],
  ["make the links in /dev and close /dev", "have the parent set limits", "hooks see what is mounted"],
  ["have the parent set limits", "run createContainer hook", "runtime-spec, Lifecycle"],
  ["run createContainer hook", "make the rootfs the root", "the hooks see the host's paths"],
  ["make the rootfs the root", "make the root rshared", "before, it would have been the host's root"],
  ["make the rootfs the root", "open the container's /dev/null", "the container's, not the host's"],
  ["make the rootfs the root", "make sure that /w exists", "names are safe only inside"],
  ["open a pty", "make the root read-only", "/dev/console is made in the root"],
  ["make sure that /w exists", "make the root read-only", "it is made in the root"],
  ["make /t read-only", "make the root read-only", "runc's order"],
  ["make the root read-only", "set the umask", "nodes are made without one"],
  ["set the hostname", "set net.a to 1", "runc's order"],
  ["set net.a to 1", "make /proc/sys read-only", "/proc/sys is written"],
  ["set net.a to 1", "mask /proc/acpi", "masks may cover /proc/sys"],
  ["make /proc/bus read-only", "mask /proc/acpi", "runc's order"],
  ["mask /proc/scsi", "give up new privileges", "runc's order"],
  ["give up new privileges", "send /etc/passwd", "runc's order"],
  ["tell the parent that all is set up", "enter /w", "the parent sets limits while it still may"],
  ["tell the parent that all is set up", "drop CAP_", "the parent sets limits while it still may"],
  ["enter /w", "become gid", "root may enter where the user may not"],
  ["drop CAP_", "become uid", "CAP_SETPCAP goes with root"],
  ["keep capabilities across setuid", "become uid", "capset chooses among what is left"],
  ["give descriptor 0", "become uid", "only root may give files away"],
  ["set the additional groups", "become gid", "CAP_SETGID goes with root"],
  ["become gid", "become uid", "CAP_SETGID goes with root"],
  ["become uid", "make sure that the working directory is inside the root", "the user's rights count"],
  ["become uid", "set the effective, permitted and inheritable capabilities", "setuid would change them"],
  [
    "set the effective, permitted and inheritable capabilities",
    "set the ambient capabilities",
    "ambient ones must be permitted and inheritable",
  ],
  ["set the ambient capabilities", "begin to look for sh", "the user's rights count"],
  [
    "make sure that sh was found",
    "tell the parent that the container is created and close the socket to it",
    "a missing command is create's error",
  ],
  ["wait for start", "run startContainer hook", "runtime-spec, Lifecycle"],
  ["run startContainer hook", "mark every descriptor", "hooks have descriptors of their own"],
  ["mark every descriptor", "become sh", "CVE-2024-21626"],
];

Deno.test("steps of init stand in the order that safety and runc ask for", () => {
  const steps = labels(init(everything));
  for (const [before, after, why] of order) {
    assert(last(steps, before) < at(steps, after), `"${before}" must come before "${after}": ${why}`);
  }
});

Deno.test("plan() puts read-only paths and masks after every mount", () => {
  const { init } = plan(everything);
  const protecting = init.findIndex(({ from }) => /^\/linux\/(readonly|masked)Paths/.test(from));
  const mounting = init.findLastIndex(({ from }) => /^\/mounts\/\d+$/.test(from));
  assert(mounting < protecting);
  const others = init.slice(protecting).filter(({ from }) => !/^\/linux\/(readonly|masked)Paths/.test(from));
  assertEquals(callLines(others).filter((line) => /^(mount|move_mount|open_tree|umount2)\(/.test(line)), []);
});

Deno.test("credentials change only after the parent was told that all is set up", () => {
  const steps = init(everything);
  const ready = steps.findIndex(({ label }) => label.startsWith("tell the parent that all is set up"));
  const early = callLines(steps.slice(0, ready)).filter((line) => /^(set(u|g)id|capset|setgroups)\(/.test(line));
  assertEquals(early, []);
});

Deno.test("every step that a field asked for says which, and each field is one of the config's", () => {
  const all = plan(everything);
  const spec: unknown = config(everything);
  for (const [label, from] of origins([...all.stage, ...all.init])) {
    if (from === "" || from === "/linux/cgroupsPath" || from === "/process/user/additionalGids") continue;
    let value = spec;
    const keys = from.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    // What is absent has a default: its parent is there.
    for (const key of keys.slice(0, -1)) value = (value as Record<string, unknown>)?.[key];
    assert(typeof value === "object" && value !== null, `${label}: ${from}`);
  }
});

Deno.test("poststart and poststop hooks are not the container's to run", () => {
  assertEquals(labels(init(everything)).filter((label) => /poststart|poststop/.test(label)), []);
});

Deno.test("init waits for limits before the pivot where a hook comes there, else before it opens what the image has", () => {
  const cases: readonly [hooks: Config["hooks"], waits: boolean][] = [
    [undefined, false],
    [{}, false],
    [{ prestart: [], createRuntime: [] }, false],
    [{ prestart: [{ path: "/a" }] }, true],
    [{ createRuntime: [{ path: "/a" }] }, true],
    [{ startContainer: [{ path: "/a" }], poststart: [{ path: "/a" }] }, false],
    // The limits have to be in force before it runs.
    [{ createContainer: [{ path: "/a" }] }, true],
  ];
  for (const [hooks, waits] of cases) {
    assertEquals(hasRuntimeHooks({ ociVersion: "", hooks }), waits);
    const steps = labels(init((draft) => draft.hooks = hooks as never));
    const pivot = at(steps, "make the rootfs the root");
    const [asks, awaits] = waits
      ? ["have the parent set limits", "have the parent set limits"]
      : ["have the parent set limits", "wait until limits"];
    assert(at(steps, asks) < pivot, "the parent works while init pivots");
    assertEquals(at(steps, awaits) < pivot, waits);
    assert(at(steps, awaits) < at(steps, "open the container's /dev/null"));
  }
});

Deno.test("what was not asked for leaves no step", () => {
  const cases: readonly [label: string, change: (draft: Draft<Config>) => void, changes?: Changes][] = [
    ["join a session keyring", () => {}, { request: { noNewKeyring: true } }],
    ["bring the loopback device up", (draft) => draft.linux.namespaces = [{ type: "mount", path: "" }]],
    ["give up new privileges", (draft) => draft.process.noNewPrivileges = false],
    ["open a pty", (draft) => draft.process.terminal = false],
    ["make the root read-only", (draft) => draft.root.readonly = false],
    ["set the hostname", (draft) => draft.hostname = ""],
    [
      "set the effective, permitted and inheritable capabilities",
      (draft) => Object.assign(draft.process, { capabilities: undefined }),
    ],
    ["set the additional groups", () => {}, { facts: { setgroupsAllowed: false } }],
    ["send /etc/passwd", (draft) => draft.process.env = ["HOME=/h"]],
    ["wait for start", () => {}, { request: { startBy: "parent" } }],
  ];
  for (const [label, change, changes] of cases) {
    at(labels(init()), label);
    const steps = labels(init(change, changes));
    assertEquals(steps.filter((step) => step.startsWith(label)), [], label);
  }
});

Deno.test("without a mount namespace nothing of the host is made read-only, and the umask is the caller's", () => {
  const steps = init((draft) => {
    draft.linux.namespaces = [{ type: "pid", path: "" }];
    draft.linux.maskedPaths = [];
    draft.linux.readonlyPaths = [];
    draft.mounts = [];
  });
  const all = labels(steps);
  assertEquals(all.filter((label) => label.endsWith("read-only")), []);
  assertEquals(callLines([stepOf(steps, all[at(all, "restore the caller's umask")]!)]), ["umask($umask)"]);
});

Deno.test("the umask is 022, or what process.user asks for", () => {
  const umask = (value?: number) =>
    callLines(init((draft) => Object.assign(draft.process.user, { umask: value }))).filter((line) =>
      line.startsWith("umask(")
    );
  assertEquals([umask(), umask(0), umask(0o77)].map((calls) => calls.at(-1)), ["umask(022)", "umask(0)", "umask(077)"]);
});

Deno.test("the host's groups are left in a user namespace, where its owner may do that", () => {
  const inside = (draft: Draft<Config>) => void draft.linux.namespaces.push({ type: "user", path: "" });
  const leaves = (change: (draft: Draft<Config>) => void, euid: number) =>
    labels(init(change, { facts: { euid } })).includes("leave the host's groups");
  assertEquals([leaves(inside, 0), leaves(inside, 1000), leaves(() => {}, 0)], [true, false, false]);
});

Deno.test("on cgroup v2 the child is born in its cgroup and makes the cgroup namespace", () => {
  const all = planCreate(config((draft) => void draft.linux.namespaces.push({ type: "cgroup", path: "" })), facts2, {
    ...request,
    cgroup: cgroup2Entry,
  });
  assertEquals(labels(all.stage).filter((label) => label.includes("cgroup")), [
    "wait until the parent has made the cgroups",
    "open /sys/fs/cgroup/box as a mount of its own or enter it",
  ]);
  const steps = labels(all.init);
  assert(at(steps, "create cgroup namespace") < at(steps, "mount cgroup on"));
});

Deno.test("the sd_notify proxy's directory is the last mount, and the process is told of its socket", () => {
  const steps = init((draft) => void draft.process.env.push("NOTIFY_SOCKET=/mine"), {
    request: { notifyDirectory: "/run/runc/box/notify" },
  });
  const mounts = origins(steps).filter(([, from]) => /^\/mounts\/\d+$/.test(from));
  assertEquals(mounts.at(-1), ["bind /run/runc/box/notify on /run/notify", "/mounts/7"]);
  const env = pointedTo(callsNamed(steps, "execve")[0]!.args[2] as never);
  assertEquals(env.filter((entry) => entry.startsWith("NOTIFY")), ["NOTIFY_SOCKET=/run/notify/notify.sock"]);
});

Deno.test("LISTEN_FDS replaces what process.env says", () => {
  const steps = init((draft) => void draft.process.env.push("LISTEN_PID=5", "LISTEN_FDS=9", "A=1"), {
    request: { listenFds: 2, inheritedFds: 3 },
  });
  const env = pointedTo(callsNamed(steps, "execve")[0]!.args[2] as never);
  assertEquals(env.slice(-4), ["A=1", "LISTEN_FDS=2", "LISTEN_PID=1", "<HOME entry>"]);
  assertEquals(env.filter((entry) => entry.startsWith("LISTEN")).length, 2);
  assertEquals(callsNamed(steps, "close_range").map(({ args }) => args[0]), [6]);
});

Deno.test("a pidfd goes to the caller where one is asked for", () => {
  const has = (pidfdSocket: boolean) =>
    labels(init(() => {}, { request: { pidfdSocket } })).includes(
      "send a pidfd of the process to the caller and close the socket to it",
    );
  assertEquals([has(true), has(false)], [true, false]);
});

Deno.test("equal arguments give equal plans", () => {
  assertEquals(plan(everything), plan(everything));
});

Deno.test("problems that only planning finds are config errors with their field", () => {
  const cases: readonly [field: string, change: (draft: Draft<Config>) => void][] = [
    ["/mounts/7/destination", (draft) => draft.mounts.push({ destination: "/", type: "tmpfs" } as never)],
    ["/mounts/7/destination", (draft) => draft.mounts.push({ destination: "/proc/x", type: "tmpfs" } as never)],
    ["/mounts/7/options", (draft) => draft.mounts.push({ destination: "/x", options: ["bind", "size=1"] } as never)],
    [
      "/linux/devices/0/type",
      (draft) => draft.linux.devices = [{ path: "/dev/x", type: "z", major: 0, minor: 0 }] as never,
    ],
    ["/process/env/2", (draft) => draft.process.env.push("novalue")],
  ];
  for (const [field, change] of cases) {
    const error = assertThrows(() => plan(change), RuncError, "", field);
    assertEquals([error.code, error.field], ["config-invalid", field]);
  }
});

Deno.test("scheduling, personality and memory policy follow no_new_privs in runc's order; execCPUAffinity is exec's", () => {
  const usual = config();
  const asking: Config = {
    ...usual,
    process: {
      ...usual.process!,
      noNewPrivileges: true,
      scheduler: { policy: "SCHED_BATCH" },
      ioPriority: { class: "IOPRIO_CLASS_RT", priority: 1 },
      execCPUAffinity: { initial: "0", final: "1" },
    },
    linux: {
      ...usual.linux,
      personality: { domain: "LINUX32" },
      memoryPolicy: { mode: "MPOL_LOCAL", nodes: "" },
    },
  };
  const all = planCreate(asking, facts, request);
  const after = labels(all.init).indexOf("give up new privileges") + 1;
  assertEquals(labels(all.init).slice(after, after + 4), [
    "set the scheduling policy SCHED_BATCH and its parameters",
    "set the I/O priority IOPRIO_CLASS_RT 1",
    "set the personality LINUX32",
    "set the memory policy MPOL_LOCAL",
  ]);
  assertEquals(callLines([...all.stage, ...all.init]).filter((line) => line.startsWith("sched_setaffinity")), [
    "sched_setaffinity(0, 128, [all])",
  ]);
});

Deno.test("init is hidden from the programs in the container before the first of them runs, where the runtime can still look into it", () => {
  const hide = "hide from the programs in the container";
  const steps = labels(init(everything));
  const hooks = steps.flatMap((label, index) =>
    /^run (createContainer|startContainer) hook/.test(label) ? [index] : []
  );
  assert(hooks.length > 1);
  assert(hooks.every((index) => index > at(steps, hide)), steps.join("\n"));
  assertEquals(callLines([stepOf(init(), hide)]), ["prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)"]);
  assert(!labels(init(everything, { facts: { mayTrace: false } })).includes(hide));
});
