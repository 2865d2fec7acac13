/**
 * libc's functions on processes, for the fake host.
 *
 * @module
 */

import { Prctl } from "../../../lib/ffi/constants.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import { type SyscallName, syscalls } from "../../../lib/ffi/syscalls.ts";
import { bpf } from "./bpf.ts";
import { type Call, Called } from "./called.ts";
import { Refusal } from "./file_system.ts";
import { fileCalls } from "./libc_files.ts";
import { pathCalls } from "./libc_paths.ts";
import { MountedFile, PidFd } from "./open_files.ts";
import type { Process } from "./processes.ts";

const P_PID = 1, P_PIDFD = 3, WNOHANG = 1, WNOWAIT = 0x01000000;
const SIGCHLD = 17, CLD_EXITED = 1, CLD_KILLED = 2;
const INFINITY = 0xffffffffffffffffn;

/** What posix_spawn does before it executes the program, by the address of the actions. */
interface Actions {
  readonly dups: { readonly from: number; readonly to: number }[];
  closeFrom: number;
  cwd?: string;
}

const spawning = new WeakMap<object, Map<number, Actions>>();

function actionsOf({ host }: Called, address: number): Actions {
  const all = spawning.get(host) ?? new Map<number, Actions>();
  spawning.set(host, all);
  const found = all.get(address) ?? { dups: [], closeFrom: Infinity };
  all.set(address, found);
  return found;
}

/** posix_spawn(3): an errno, not −1. */
function spawn(called: Called): number {
  const { host } = called;
  const path = called.text(1);
  const actions = actionsOf(called, called.number(2));
  const refused = host.refusals.get("execve") ?? host.refusals.get(`execve ${path}`);
  if (refused !== undefined) return refused;
  const node = host.fs.find(path, { from: host.directory });
  // The image of a plan, and that of a process that it forks.
  const program = node?.label === "runc-init"
    ? host.stage
    : node?.label === "runc-fork"
    ? host.forked?.(node.bytes)
    : host.programs.get(path);
  if (program === undefined) return Errno.ENOENT;
  const child = host.start(path.slice(path.lastIndexOf("/") + 1));
  child.argv = host.memory.texts(called.number(4));
  child.environment = host.memory.texts(called.number(5));
  if (actions.cwd !== undefined) child.cwd = actions.cwd;
  const given = new Map([...host.self.descriptors].filter(([, { cloexec }]) => !cloexec));
  for (const { from, to } of actions.dups) given.set(to, { file: host.self.file(from), cloexec: false });
  for (const [number, { file }] of given) {
    if (number < actions.closeFrom) child.descriptors.set(number, { file: file.retain(), cloexec: false });
  }
  child.limits.set(7, { ...limitOf(host.self, 7) });
  child.script = program(child, host);
  called.view(0, 4).setInt32(0, child.pid, true);
  return 0;
}

function limitOf(process: Process, resource: number): { soft: bigint; hard: bigint } {
  return process.limits.get(resource) ??
    (resource === 7 ? { soft: 1024n, hard: 1048576n } : { soft: INFINITY, hard: INFINITY });
}

function limits(called: Called): number {
  const { host } = called;
  const pid = called.number(0);
  const process = pid === 0 ? host.self : host.process(pid);
  if (process === undefined) throw new Refusal(Errno.ESRCH);
  const resource = called.number(1);
  if (called.number(3) !== 0) {
    const { soft, hard } = limitOf(process, resource);
    called.view(3, 16).setBigUint64(0, soft, true);
    called.view(3, 16).setBigUint64(8, hard, true);
  }
  if (called.number(2) !== 0) {
    const view = called.view(2, 16);
    host.check(`prlimit ${resource}`);
    process.limits.set(resource, { soft: view.getBigUint64(0, true), hard: view.getBigUint64(8, true) });
  }
  return 0;
}

function childOf(called: Called): Process {
  const { host } = called;
  const [type, id] = [called.number(0), called.int(1)];
  let process: Process | undefined;
  if (type === P_PID) process = host.process(id);
  if (type === P_PIDFD) {
    const opened = host.self.file(id);
    process = opened instanceof PidFd ? host.process(opened.process.pid) : undefined;
  }
  if (process === undefined || process.parent !== host.self) throw new Refusal(Errno.ECHILD);
  return process;
}

function waitId(called: Called): number | undefined {
  const child = childOf(called);
  const options = called.number(3);
  const info = called.view(2, 128);
  if (child.ending === undefined) {
    if ((options & WNOHANG) === 0) return undefined;
    info.setInt32(0, 0, true);
    return 0;
  }
  info.setInt32(0, SIGCHLD, true);
  info.setInt32(8, "code" in child.ending ? CLD_EXITED : CLD_KILLED, true);
  info.setInt32(16, child.pid, true);
  info.setInt32(24, "code" in child.ending ? child.ending.code : child.ending.signal, true);
  if ((options & WNOWAIT) === 0) called.host.processes.delete(child.pid);
  return 0;
}

function waitPid(called: Called): number | undefined {
  const { host } = called;
  const child = host.process(called.int(0));
  if (child === undefined || child.parent !== host.self) throw new Refusal(Errno.ECHILD);
  if (child.ending === undefined) return (called.number(2) & WNOHANG) === 0 ? undefined : 0;
  const { ending } = child;
  called.view(1, 4).setInt32(0, "code" in ending ? ending.code << 8 : ending.signal, true);
  host.processes.delete(child.pid);
  return child.pid;
}

function signal(called: Called, process: Process | undefined, number: number): number {
  called.host.calls.push(`kill ${process?.pid} ${number}`);
  called.host.signal(process, number);
  return 0;
}

/** System calls by number. */
const byNumber: Partial<Record<SyscallName, Call>> = {
  pidfd_open: (called) => {
    const process = called.host.process(called.int(0));
    if (process === undefined) throw new Refusal(Errno.ESRCH);
    called.host.check("pidfd_open");
    return called.host.self.open(new PidFd(process));
  },
  pidfd_send_signal: (called) => {
    const opened = called.file(0);
    if (opened instanceof PidFd) return signal(called, opened.process, called.int(1));
    const [, pid] = /^\/proc\/(\d+)$/.exec(opened.label) ?? [];
    return signal(called, called.host.process(Number(pid)), called.int(1));
  },
  pidfd_getfd: (called) => {
    const opened = called.file(0);
    if (!(opened instanceof PidFd)) throw new Refusal(Errno.EBADF);
    called.host.check("pidfd_getfd");
    return called.host.self.open(opened.process.file(called.int(1)));
  },
  open_tree: (called) => {
    called.host.check("open_tree");
    const node = called.host.fs.get(called.text(1));
    return called.host.self.open(new MountedFile(node, "a mount"));
  },
  mount_setattr: (called) => {
    called.host.check("mount_setattr");
    (called.file(0) as MountedFile).attributes = called.view(3, 32).getUint32(0, true);
    return 0;
  },
  bpf,
  kcmp: (called) => called.file(3) === called.file(4) ? 0 : 1,
  exit_group: (called) => {
    if (!called.host.refusals.has("exit_group")) throw new Exited(called.int(0));
    return 0;
  },
  execve: (called) => {
    const path = called.text(0);
    called.host.check(`execve ${path}`);
    throw new Executed(path, called.host.memory.texts(called.address(1)));
  },
};

/** The process under test has ended by itself. */
export class Exited extends Error {
  constructor(readonly code: number) {
    super(`exit_group(${code})`);
  }
}

/** The process under test has executed another program. */
export class Executed extends Error {
  constructor(readonly path: string, readonly argv: readonly string[]) {
    super(`execve(${path})`);
  }
}

function syscall(called: Called): number | undefined {
  const number = called.number(0);
  const [name] = (Object.entries(syscalls) as [SyscallName, Record<string, unknown>][])
    .find(([, row]) => row[Deno.build.arch] === number) ?? [];
  const call = name === undefined ? undefined : byNumber[name] ?? fileCalls[name] ?? pathCalls[name];
  if (name !== undefined && name !== "exit_group") called.host.check(name);
  if (call === undefined) {
    // What a sandbox's filter is asked with: arguments that the kernel refuses.
    if (called.host.isFiltered) throw new Refusal(Errno.EINVAL);
    throw new Error(`the fake host has no system call ${name ?? number}`);
  }
  return call(new Called(called.host, called.words.slice(1)));
}

export const processCalls: Readonly<Record<string, Call>> = {
  getpid: ({ host }) => host.self.pid,
  posix_spawn: spawn,
  posix_spawn_file_actions_init: (called) => {
    spawning.get(called.host)?.delete(called.number(0));
    return 0;
  },
  posix_spawn_file_actions_adddup2: (called) => {
    actionsOf(called, called.number(0)).dups.push({ from: called.int(1), to: called.int(2) });
    return 0;
  },
  posix_spawn_file_actions_addclosefrom_np: (called) => {
    actionsOf(called, called.number(0)).closeFrom = called.int(1);
    return 0;
  },
  posix_spawn_file_actions_addchdir_np: (called) => {
    actionsOf(called, called.number(0)).cwd = called.text(1);
    return 0;
  },
  posix_spawn_file_actions_destroy: () => 0,
  posix_spawnattr_init: () => 0,
  posix_spawnattr_destroy: () => 0,
  posix_spawnattr_setflags: () => 0,
  posix_spawnattr_setsigmask: () => 0,
  posix_spawnattr_setsigdefault: () => 0,
  waitid: waitId,
  waitpid: waitPid,
  kill: (called) => signal(called, called.host.process(called.int(0)), called.int(1)),
  prlimit: limits,
  prctl: (called) => called.number(0) === Prctl.PR_GET_SECCOMP && called.host.isFiltered ? 2 : 0,
  setfsuid: (called) => {
    const before = called.host.owner.uid;
    called.host.owner.uid = called.int(0);
    return before;
  },
  setfsgid: (called) => {
    const before = called.host.owner.gid;
    called.host.owner.gid = called.int(0);
    return before;
  },
  capget: (called) => {
    const has = called.host.uid === 0 ? 0xffffffff : 0;
    for (const at of [0, 4, 12, 16]) called.view(1, 24).setUint32(at, has, true);
    return 0;
  },
  capset: () => 0,
  sched_getaffinity: () => 8,
  clock_gettime: (called) => {
    const { nowMs } = called.host;
    const view = called.view(1, 16);
    view.setBigInt64(0, BigInt(Math.floor(nowMs / 1000)), true);
    view.setBigInt64(8, BigInt(Math.round((nowMs % 1000) * 1e6)), true);
    return 0;
  },
  getrandom: (called) => {
    called.bytes(0, called.number(1)).fill(7);
    return called.number(1);
  },
  sigprocmask: () => 0,
  sigaction: () => 0,
  signal: (called) => {
    called.host.calls.push(`signal ${called.int(0)} ${called.int(1)}`);
    return 0;
  },
  tzset: () => 0,
  syscall,
};
