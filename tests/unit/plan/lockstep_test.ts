/** What bytes do is what ops say, for whole containers, whatever the kernel answers. */

import { assert, assertEquals } from "@std/assert";
import { Errno, type ErrnoName } from "../../../lib/ffi/errno.ts";
import type { Arch, SyscallName } from "../../../lib/ffi/syscalls.ts";
import type { HostFacts, LaunchRequest } from "../../../lib/libcontainer/launch_request.ts";
import { withoutRefused } from "../../../lib/libcontainer/outer_sandbox.ts";
import { planCreate } from "../../../lib/libcontainer/plan_create.ts";
import { planExec } from "../../../lib/libcontainer/plan_exec.ts";
import * as copyUp from "../../../lib/libcontainer/copy_up.ts";
import * as mountSources from "../../../lib/libcontainer/mount_sources.ts";
import type { Parts } from "../../../lib/libcontainer/parts.ts";
import type { SeccompFilter } from "../../../lib/libcontainer/seccomp/filter.ts";
import { lower } from "../../../lib/plan/lower.ts";
import { encode } from "../../../lib/plan/native/encode.ts";
import { SLOT_COUNT } from "../../../lib/plan/native/format.ts";
import { countSlots, shareSlots } from "../../../lib/plan/share_slots.ts";
import { tracePlan } from "../../../lib/libcontainer/traced_plan.ts";
import type { CallOp, ForkOp, Plan } from "../../../lib/plan/op.ts";
import type { Config } from "../../../lib/specs/config.ts";
import { cgroup2Entry, config, facts, facts2, request } from "../libcontainer/fixed.ts";
import { callsOf, descriptorsOf } from "../plan_reader.ts";
import { type Answer, lockstep } from "./lockstep.ts";

/** Numbers below `limit` that look random and are the same in every run. Xorshift; Marsaglia 2003. */
function numbers(seed: number): (limit: number) => number {
  let state = seed * 2654435761 | 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

const u32 = (...values: readonly number[]) => new Uint8Array(Uint32Array.from(values).buffer);

/** A file as fstat(2) tells of it. */
interface Identity {
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
  readonly uid: number;
}

/** `struct stat`, with inode 2. arch/x86/include/uapi/asm/stat.h, include/uapi/asm-generic/stat.h */
function stat({ mode, major, minor, uid }: Identity, arch: Arch): Uint8Array {
  const bytes = new Uint8Array(144);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, 2, true);
  view.setUint32(arch === "x86_64" ? 24 : 16, mode, true);
  view.setUint32(arch === "x86_64" ? 28 : 24, uid, true);
  // Small numbers: the major one above 8 bits of the minor one.
  view.setUint32(arch === "x86_64" ? 40 : 32, major << 8 | minor, true);
  return bytes;
}

const PROC = 0x9fa0, DEVPTS = 0x1cd1, TMPFS = 0x01021994;

/** What fstat tells of files by the end of their names. */
const identities: readonly (readonly [name: string, identity: Identity])[] = [
  ["null", { mode: 0o20666, major: 1, minor: 3, uid: 5 }],
  ["ptmx", { mode: 0o20666, major: 5, minor: 2, uid: 0 }],
  ["disk", { mode: 0o60660, major: 8, minor: 1, uid: 0 }],
  ["", { mode: 0o100644, major: 0, minor: 0, uid: 7 }],
];

/** Whether it is the parent's word that is read. */
function isSync([fd]: CallOp["args"]): boolean {
  return typeof fd === "object" && "fd" in fd && fd.fd === "sync";
}

/** What the kernel writes when a call succeeds. `path`: what was opened last; `odd`: things are not what the plan expects. */
function written({ call, args }: CallOp, path: string, odd: boolean, arch: Arch): Answer["writes"] {
  switch (call) {
    case "fstat":
    case "newfstatat": {
      const [, identity] = identities.find(([name]) => (odd ? "" : path).endsWith(name))!;
      return [[call === "fstat" ? 1 : 2, stat(identity, arch)]];
    }
    case "fstatfs":
      return [[1, u32(odd ? PROC : path.endsWith("ptmx") ? DEVPTS : TMPFS)]];
    case "getcwd":
      return [[0, new TextEncoder().encode(odd ? "(unreachable)/\0" : "/a\0")]];
    case "wait4":
      return args[1] === 0 ? undefined : [[1, u32(odd ? 256 : 0)]];
    case "read":
      return isSync(args) ? [[1, new TextEncoder().encode("/root\0")]] : undefined;
    default:
      return undefined;
  }
}

const opening = new Set(["openat", "openat2", "open_tree", "socket", "pidfd_open"]);

/** A kernel where one in `failing` calls fails, most often with an errno that the plan expects; none if it is 0. */
function kernel(seed: number, failing: number, arch: Arch): (op: CallOp | ForkOp) => Answer {
  const random = numbers(seed);
  const rarely = () => failing > 0 && random(failing) === 0;
  let [fd, path] = [10, ""];
  return (op) => {
    if (op.op === "fork") return { result: random(2) === 0 ? 0 : 1234 };
    if (rarely()) return { result: -expectedErrno(op, random) };
    const named = op.args.find((arg) =>
      typeof arg === "object" && "data" in arg && arg.data === "text" && arg.text !== ""
    );
    if (opening.has(op.call) && named !== undefined) path = (named as { text: string }).text;
    const writes = written(op, path, rarely(), arch);
    // The plan looks whether a program is a directory: it is not.
    if (op.call === "openat" && op.tolerate?.[0] === "*") return { result: rarely() ? 30 : -Errno.ENOTDIR };
    if (opening.has(op.call)) return { result: fd = fd % 100 + 10, writes };
    if (op.call === "read" && isSync(op.args)) return { result: rarely() ? 0 : 6, writes };
    if (op.call === "recvmsg" || op.call === "recvfrom") return { result: rarely() ? 0 : 1 };
    if (op.call === "ppoll") return { result: rarely() ? 0 : 1 };
    return { result: op.call === "read" ? random(2) : 0, writes };
  };
}

function expectedErrno(op: CallOp, random: (limit: number) => number): number {
  const named = [op.tolerate, op.endStepOn, ...(op.onError ?? []).map(({ errnos }) => errnos)].flatMap((list) =>
    list ?? []
  );
  const choices: readonly (ErrnoName | "*")[] = [...named, ...named, ...named, "ENOSPC"];
  const name = choices[random(choices.length)]!;
  return name === "*" ? 1 + random(133) : Errno[name];
}

const rich = config((draft) => {
  draft.process.user = { uid: 1000, gid: 4294967295, additionalGids: [1, 2, 3], umask: 0o27, username: "" };
  draft.process.capabilities.ambient = ["CAP_KILL", "CAP_BPF"];
  draft.process.consoleSize = { height: 24, width: 80 };
  draft.process.oomScoreAdj = -5;
  draft.process.cwd = "/a/b";
  draft.mounts.push(
    { destination: "/x", source: "/y", options: ["rbind", "ro", "rshared", "rnoexec"] } as never,
    { destination: "/dev/new", type: "tmpfs", source: "tmpfs", options: ["ro", "size=1k"] } as never,
    { destination: "/proc/uptime", source: "lxcfs/uptime", options: ["bind"] } as never,
  );
  draft.hooks = {
    createContainer: [{ path: "/hook1" }, { path: "/hook2", timeout: 3 }],
    startContainer: [{ path: "/hook3", args: ["3", "x"], env: ["A=B"], timeout: 1 }],
    prestart: [{ path: "/hook0" }],
  } as never;
  draft.linux.sysctl = { "net.a": "1", "net.b": "2", "kernel.domainname": "x" };
  draft.linux.devices = [
    { path: "/dev/some/disk", type: "b", major: 8, minor: 1, uid: 5, gid: 6 } as never,
    { path: "/dev/fifo", type: "p", major: 0, minor: 0, fileMode: 0o600, uid: 0, gid: 0 },
  ];
  draft.linux.rootfsPropagation = "rshared";
});
const userNamespace = config((draft) => {
  draft.linux.namespaces.push({ type: "user" } as never, { type: "time" } as never, { type: "cgroup" } as never);
  draft.linux.namespaces = draft.linux.namespaces.map((one) =>
    one.type === "ipc" ? { ...one, path: "/proc/1/ns/ipc" } : one
  );
  draft.linux.timeOffsets = { monotonic: { secs: 5, nanosecs: 6 } } as never;
});

/** More names of slots than there are slots: all that takes some, at once. */
const overfull: Config = {
  ...rich,
  annotations: { "org.opencontainers.landlock.read": "/" },
  process: { ...rich.process!, noNewPrivileges: true, selinuxLabel: "u:r:t", apparmorProfile: "p", env: ["PATH=/bin"] },
  mounts: [
    ...rich.mounts!,
    { destination: "/link", source: "/s", options: ["bind", "copy-symlink"] },
    { destination: "/copied", type: "tmpfs", source: "t", options: ["tmpcopyup", "ro"] },
    { destination: "/ids", source: "/s", options: ["rbind", "idmap"] },
    {
      destination: "/others",
      source: "/s",
      options: ["bind"],
      uidMappings: [{ containerID: 0, hostID: 1, size: 1 }],
      gidMappings: [{ containerID: 0, hostID: 1, size: 1 }],
    },
  ],
  linux: {
    ...rich.linux,
    namespaces: [
      { type: "mount" },
      { type: "user" },
      ...(["pid", "ipc", "uts", "time", "network"] as const).map((type) => ({ type, path: `/ns/${type}` })),
    ],
  },
};
const seccomp: SeccompFilter = {
  profile: {
    default_action: 4,
    architectures: null,
    syscalls: [{ name: "mkdir", action: 7, errnoRet: null, args: null }],
    listener_path: "/agent",
  },
  program: new Uint8Array(8),
  flags: 8,
};
const parts: Parts = { copyUp, mountSources };

const whole = (spec: Config, host: HostFacts, changes: Partial<LaunchRequest> = {}) => (arch: Arch): Plan =>
  planCreate(spec, { ...host, arch }, { ...request, ...changes });

const refused = new Set<SyscallName>(["close_range", "execveat", "faccessat2", "openat2", "open_tree"]);

const plans: Readonly<Record<string, (arch: Arch) => Plan>> = {
  "the default config in a sandbox": (arch) =>
    withoutRefused(whole(config(), { ...facts, refused })(arch), refused, arch),
  "the default config": whole(config(), facts),
  "the default config on cgroup v2": whole(config(), facts2, { cgroup: cgroup2Entry, startBy: "parent" }),
  "a config with everything": whole(rich, facts, { pidfdSocket: true, inheritedFds: 2, listenFds: 1 }),
  "everything without pivot_root": whole(rich, { ...facts, fullProcMounts: ["/proc", "/sys"] }, { noPivot: true }),
  "new and joined namespaces": whole(userNamespace, facts2),
  "more names than slots": (arch) =>
    planCreate(overfull, { ...facts, arch }, { ...request, pidfdSocket: true, seccomp, notifyDirectory: "/n" }, parts),
  "everything, traced": (arch) => tracePlan(whole(rich, facts)(arch), ({ label }) => label).plan,
  "exec": (arch) =>
    planExec(rich.process!, { ...facts, arch }, {
      id: "box",
      namespaces: ["user", "mount", "pid", "network"],
      cgroup: request.cgroup,
      noNewKeyring: false,
      umask: 0o22,
      inheritedFds: 0,
      listenFds: 0,
      pidfdSocket: true,
    }),
};

for (const [name, make] of Object.entries(plans)) {
  Deno.test(`the bytes of ${name} do what its ops say, whatever fails`, () => {
    const ends = new Set<string>();
    for (const arch of ["x86_64", "aarch64"] as const) {
      const plan = make(arch);
      const fds = descriptorsOf(plan);
      for (const from of ["stage", "init"] as const) {
        for (let seed = 1; seed <= 30; seed++) {
          const { end } = lockstep(plan, { arch, fds, from, answer: kernel(seed, [0, 4, 20, 200][seed % 4]!, arch) });
          ends.add(end);
        }
      }
    }
    // Else the kernel above is not the one that this test needs.
    assertEquals([...ends].sort(), ["error", "exec", "exit"]);
  });
}

Deno.test("names that live within one step share slots, where there are not enough", () => {
  const plan = plans["more names than slots"]!("x86_64");
  const { instructions } = lower(plan);
  const [before, after] = [countSlots(instructions), countSlots(shareSlots(plan, lower(plan)).instructions)];
  assert(before > SLOT_COUNT && after < SLOT_COUNT, `${before}, then ${after} of ${SLOT_COUNT}`);
  assertEquals(encode(plan, { arch: "x86_64", fds: descriptorsOf(plan) }).image.length > 0, true);
});

Deno.test("the answers above lead to most calls of a plan, those for errors too", () => {
  const plan = whole(config(), facts)("x86_64");
  const fds = descriptorsOf(plan);
  const made = new Set<CallOp | ForkOp>();
  for (let seed = 1; seed <= 200; seed++) {
    const { calls } = lockstep(plan, { arch: "x86_64", fds, from: "init", answer: kernel(seed, 100, "x86_64") });
    for (const op of calls) made.add(op);
  }
  const all = callsOf(plan.init).length;
  assert(made.size > 0.6 * all, `${made.size} of ${all} calls`);
});
