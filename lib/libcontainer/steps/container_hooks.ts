/**
 * createContainer and startContainer hooks, which run in the container's namespaces. Runs in: init.
 *
 * The parent prepares their stdin (a sealed file with the container's state) and reads their output; both are fixed
 * descriptors.
 *
 * @module
 */

import { CloneFlag, CloseRange, openFlag } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import {
  buffer,
  call,
  fail,
  fixedFd,
  load,
  slot,
  step,
  store,
  stringPointers,
  struct,
  when,
} from "../../plan/build.ts";
import type { Data, Op, Step } from "../../plan/op.ts";
import type { Hook, HookName } from "../../specs/config.ts";

const pid = slot("hook");
const status = buffer("wait status", 8);

const POLLIN = 1;

/** How to start hooks. */
export interface HookEntry {
  /** Enters the working directory, and undoes settings of init that the hook must not inherit. */
  readonly ops: readonly Op[];
  /**
   * A seccomp filter is in force, and {@link openForHooksSteps} have run. The native executor then makes only calls
   * that runc makes here too. The JavaScript executor makes more: each of its forks gets every descriptor anew.
   */
  readonly filtered?: "native" | "deno";
  /** Descriptors from 3 up that belong to the program and not to the hooks. */
  readonly inheritedFds: number;
}

/**
 * Up to this number, each hook has its own descriptor for the state, and a slot for it. Further hooks rewind the first
 * one's.
 */
const OWN_INPUTS = 16;

const epoll = slot("epoll");
const ownInput = (index: number) => slot(`state for hook ${index}`);

/**
 * Opens what hooks need under a filter: for each one the state, positioned at its start, and an epoll instance if a
 * hook has a timeout. Runs while the host's /proc is available.
 */
export function openForHooksSteps(hooks: readonly Hook[], arch: Arch): readonly Step[] {
  if (hooks.length === 0) return [];
  const { O_CLOEXEC } = openFlag(arch);
  const path: Data = { data: "fdPath", fd: "startContainer-stdin" };
  const further = hooks.slice(1, OWN_INPUTS).map((_, index) =>
    call("openat", [fixedFd("proc"), path, O_CLOEXEC, 0], { out: ownInput(index + 1) })
  );
  const waits = hooks.some(({ timeout }) => timeout !== undefined);
  const ops = [...further, ...(waits ? [call("epoll_create1", [O_CLOEXEC], { out: epoll })] : [])];
  if (ops.length === 0) return [];
  const opened = [further.length > 0 && "copies of the state", waits && "an epoll instance"].filter((one) =>
    one !== false
  );
  return [step(`open ${opened.join(" and ")} for startContainer hooks`, "/hooks/startContainer", ops)];
}

/**
 * Makes the state the hook's stdin, positioned at its start. A descriptor of its own is there already, as it is unread.
 */
function inputOps(name: string, index: number, { filtered }: HookEntry): readonly Op[] {
  const first = fixedFd(`${name}-stdin`);
  const own = filtered === "native" && index < OWN_INPUTS;
  if (own) return [call("dup3", [index === 0 ? first : ownInput(index), 0, 0])];
  return [call("lseek", [first, 0, 0]), call("dup3", [first, 0, 0])];
}

/** The child's ops: stdio as prepared, no other descriptors, then the hook. */
function childOps(hook: Hook, env: Data, name: string, index: number, enter: HookEntry): readonly Op[] {
  const args = hook.args?.length ? hook.args : [hook.path];
  return [
    ...enter.ops,
    ...inputOps(name, index, enter),
    call("dup3", [fixedFd("hook-stdout"), 1, 0]),
    call("dup3", [fixedFd("hook-stderr"), 2, 0]),
    // All others were marked before the filter was loaded, because it may refuse close_range(2).
    ...(enter.filtered === "native"
      ? Array.from({ length: enter.inheritedFds }, (_, number) => call("close", [3 + number]))
      : [call("close_range", [3, -1, CloseRange.CLOSE_RANGE_CLOEXEC], enter.filtered ? { tolerate: ["*"] } : {})]),
    call(
      "execve",
      [hook.path, stringPointers(args, JSON.stringify(args)), env],
      {
        meaning: { "*": `error running ${name} hook #${index}: fork/exec ${hook.path}` },
      },
    ),
  ];
}

/** epoll_ctl(2) */
const EPOLL_CTL_ADD = 1, EPOLLIN = 1;
/** The longest timeout of epoll_wait(2), in milliseconds. */
const LONGEST = 0x7fffffff;

/** Waits by pidfd for at most `timeout` seconds, then kills the hook. */
function boundedWait(
  hook: Hook,
  name: string,
  index: number,
  pidfd: Data,
  filtered: HookEntry["filtered"],
): readonly Op[] {
  const { timeout } = hook;
  if (timeout === undefined) return [];
  const [ready, open] = [slot("ready"), slot("pidfd")];
  const seconds = Number.isInteger(timeout) ? `${timeout}.0s` : `${timeout}s`;
  const over = (kill: Op) =>
    when(ready, "==", 0, [
      kill,
      call("wait4", [pid, status, 0, 0]),
      fail(0, `error running ${name} hook #${index}: hook ran past specified timeout of ${seconds}`),
    ]);
  if (filtered === "native") {
    // Waits with epoll like Go, which never calls ppoll(2). struct epoll_event has 12 bytes on x86_64 and 16 on
    // aarch64; its first 4 are the events.
    const event = struct("{events: EPOLLIN}", 16, [{ at: 0, size: 4, value: EPOLLIN }]);
    return [
      load(pidfd, 4, open),
      call("epoll_ctl", [epoll, EPOLL_CTL_ADD, open, event]),
      call("epoll_pwait", [epoll, event, 1, Math.min(timeout * 1000, LONGEST), 0, 8], { out: ready }),
      over(call("pidfd_send_signal", [open, 9, 0, 0])),
      call("close", [open]),
    ];
  }
  const watch = struct("{fd: pidfd, events: POLLIN}", 8, [{ at: 4, size: 2, value: POLLIN }]);
  const limit = struct(`{tv_sec: ${timeout}}`, 16, [{ at: 0, size: 8, value: timeout }]);
  return [
    load(pidfd, 4, open),
    store(watch, 4, open),
    call("ppoll", [watch, 1, limit, 0, 0], { out: ready }),
    over(call("kill", [pid, 9])),
    call("close", [open]),
  ];
}

/** The hooks that init runs itself. */
export const containerHookNames = ["createContainer", "startContainer"] as const satisfies readonly HookName[];

/** The name of such a hook. */
export type ContainerHookName = (typeof containerHookNames)[number];

/**
 * One step for each hook, in order. The first failure ends the start.
 *
 * `env`: the environment of hooks without `env`.
 */
export function containerHookSteps(
  name: ContainerHookName,
  hooks: readonly Hook[],
  env: Data,
  enter: HookEntry,
): readonly Step[] {
  return hooks.map((hook, index) => {
    const pidfd = buffer("hook pidfd", 8);
    const hookEnv = hook.env === undefined || (name === "startContainer" && hook.env.length === 0)
      ? env
      : stringPointers(hook.env, `/* ${hook.env.length} vars */`);
    return step(`run ${name} hook ${hook.path}`, `/hooks/${name}/${index}`, [
      {
        op: "fork",
        flags: CloneFlag.SIGCHLD | (hook.timeout === undefined ? 0 : CloneFlag.CLONE_PIDFD),
        pidfd: hook.timeout === undefined ? undefined : pidfd,
        out: pid,
        child: childOps(hook, hookEnv, name, index, enter),
        parent: [],
      },
      ...boundedWait(hook, name, index, pidfd, enter.filtered),
      call("wait4", [pid, status, 0, 0]),
      load(status, 4, slot("exit")),
      when(slot("exit"), "!=", 0, [fail(slot("exit"), `error running ${name} hook #${index}: {wait}`)]),
    ]);
  });
}
