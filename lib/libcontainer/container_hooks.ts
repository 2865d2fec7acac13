/**
 * createContainer and startContainer hooks: run by init itself, in the container's namespaces. Runs in: init.
 *
 * The parent prepared their stdin (a sealed file with the container's state) and reads what they print; both are fixed descriptors.
 *
 * @module
 */

import { CloneFlag, CloseRange } from "../ffi/constants.ts";
import { buffer, call, fail, fixedFd, load, slot, step, store, stringPointers, struct, when } from "../plan/build.ts";
import type { Data, Op, Step } from "../plan/op.ts";
import type { Hook } from "../specs/config.ts";

const pid = slot("hook");
const status = buffer("wait status", 8);

const POLLIN = 1;

/** How a hook starts. */
export interface HookEntry {
  /** Puts it in its working directory, and gives it what is not init's own. */
  readonly ops: readonly Op[];
  /** A seccomp filter is in force. */
  readonly filtered: boolean;
}

/** What runs in the fork: stdio as prepared, nothing else open, then the hook. */
function childOps(hook: Hook, env: Data, name: string, index: number, enter: HookEntry): readonly Op[] {
  const args = hook.args?.length ? hook.args : [hook.path];
  return [
    ...enter.ops,
    // Every hook reads the state from its start.
    call("lseek", [fixedFd(`${name}-stdin`), 0, 0]),
    call("dup3", [fixedFd(`${name}-stdin`), 0, 0]),
    call("dup3", [fixedFd("hook-stdout"), 1, 0]),
    call("dup3", [fixedFd("hook-stderr"), 2, 0]),
    // A filter may refuse it; all descriptors have been marked before the filter was loaded.
    call("close_range", [3, -1, CloseRange.CLOSE_RANGE_CLOEXEC], enter.filtered ? { tolerate: ["*"] } : {}),
    call(
      "execve",
      [hook.path, stringPointers(args, JSON.stringify(args)), env],
      {
        meaning: { "*": `error running ${name} hook #${index}: fork/exec ${hook.path}` },
      },
    ),
  ];
}

/** Waits at most `timeout` seconds by pidfd, then kills. */
function boundedWait(hook: Hook, name: string, index: number, pidfd: Data): readonly Op[] {
  if (hook.timeout === undefined) return [];
  const ready = slot("ready");
  const watch = struct("{fd: pidfd, events: POLLIN}", 8, [{ at: 4, size: 2, value: POLLIN }]);
  const limit = struct(`{tv_sec: ${hook.timeout}}`, 16, [{ at: 0, size: 8, value: hook.timeout }]);
  const seconds = Number.isInteger(hook.timeout) ? `${hook.timeout}.0s` : `${hook.timeout}s`;
  return [
    load(pidfd, 4, slot("pidfd")),
    store(watch, 4, slot("pidfd")),
    call("ppoll", [watch, 1, limit, 0, 0], { out: ready }),
    when(ready, "==", 0, [
      call("kill", [pid, 9]),
      call("wait4", [pid, status, 0, 0]),
      fail(0, `error running ${name} hook #${index}: hook ran past specified timeout of ${seconds}`),
    ]),
    call("close", [slot("pidfd")]),
  ];
}

/**
 * One step a hook, in order; the first that fails ends the start.
 *
 * `env`: what a hook without `env` gets.
 */
export function containerHookSteps(
  name: "createContainer" | "startContainer",
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
      ...boundedWait(hook, name, index, pidfd),
      call("wait4", [pid, status, 0, 0]),
      load(status, 4, slot("exit")),
      when(slot("exit"), "!=", 0, [fail(slot("exit"), `error running ${name} hook #${index}: {wait}`)]),
    ]);
  });
}
