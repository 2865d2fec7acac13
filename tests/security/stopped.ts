/** Processes of the runtime that are stopped on their way, for others to look at. */

import { assert, assertEquals } from "@std/assert";
import { kill } from "../../lib/ffi/process/process.ts";
import { type Box, type Change, kernel, type Running, until } from "../integration/harness.ts";
import { contentOf } from "../integration/foreground_harness.ts";

/** A command of the runtime of which one process waits right behind a system call. Disposed of, it is killed, and the command ends. */
export interface Stopped extends Disposable {
  /** The process that waits, as the host knows it. */
  readonly pid: number;
  readonly running: Running;
}

/**
 * Starts the runtime with `args`; the first of its processes that makes the system call `call` stays behind it until it is killed.
 * strace(1), "--inject", signal(7), SIGSTOP
 */
export function stopBehind(box: Box, call: string, args: readonly string[]): Stopped {
  const trace = `${box.directory}/stopped-${call}-${args[0]}`;
  const prefix = ["/usr/bin/strace", "--follow-forks", `--trace=${call}`, `--inject=${call}:signal=SIGSTOP`];
  const running = box.start(args, { prefix: [...prefix, `--output=${trace}`] });
  const pid = until(`${args[0]} behind ${call}`, () => {
    if (running.isOver) throw new Error(`it ended: ${running.stderr}`);
    return /^(\d+) +--- stopped by SIGSTOP ---$/m.exec(contentOf(trace))?.[1];
  });
  return {
    pid: Number(pid),
    running,
    [Symbol.dispose]() {
      kill(kernel, Number(pid), 9);
      running.wait();
      running[Symbol.dispose]();
    },
  };
}

/** Numbers of a process's open descriptors. */
export function openNumbers(pid: number): number[] {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => Number(name)).sort((one, other) => one - other);
}

/** The number of the host's /proc in the process that sets a container up, as a hook finds it there. */
export function numberOfProc(
  box: Box,
  change: Change = () => {},
  run = (): { code: number; stderr: string } => box.runc(["run", box.id]),
): number {
  const file = `${box.directory}/descriptors`;
  const script = `pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); ls -l /proc/$pid/fd >${file}`;
  box.write((config) => {
    change(config);
    config.hooks = { prestart: [{ path: "/bin/sh", args: ["sh", "-c", script] }] };
  });
  const { code, stderr } = run();
  assertEquals(code, 0, stderr);
  const [, number] = Deno.readTextFileSync(file).match(/ (\d+) -> \/proc$/m) ?? [];
  assert(number !== undefined, Deno.readTextFileSync(file));
  return Number(number);
}
