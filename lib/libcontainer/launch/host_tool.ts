/**
 * Programs of the host that the runtime needs, such as newuidmap. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { errnoText } from "../../ffi/errno.ts";
import { isExecutable, memfd, open, readMemfd } from "../../ffi/files.ts";
import { Child } from "../../ffi/process/child.ts";
import { spawning } from "../../ffi/process/process.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { Runtime } from "../runtime.ts";
import { awaitEnd } from "./await_end.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** How much of a tool's output an error quotes, in bytes. */
const OUTPUT_LIMIT = 64 * 1024;

/** The path of a program, found by the environment's PATH. Undefined if it is not installed. */
export function findProgram({ kernel, environment }: Runtime, name: string): string | undefined {
  const directories = (environment.PATH || DEFAULT_PATH).split(":");
  return directories.map((directory) => `${directory || "."}/${name}`).find((path) => isExecutable(kernel, path));
}

/**
 * Runs a program without input until it ends. `argv`: its name first.
 *
 * @throws {RuncError} if it cannot be started; what the runtime's interrupts throw, once it is killed.
 */
export function* runTool(
  runtime: Runtime,
  path: string,
  argv: readonly string[],
): Waits<{ readonly isSuccess: boolean; readonly errors: string }> {
  const { kernel, environment } = runtime;
  using nothing = open(kernel, "/dev/null", 0);
  using output = memfd(kernel, "output");
  const env = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const fds = [{ to: 0, from: nothing.number }, { to: 1, from: output.number }, { to: 2, from: output.number }];
  const pid = yield* spawning(kernel, { path, argv, env, closeFrom: 3, fds });
  if (pid < 0) throw new RuncError("syscall-failed", `cannot execute ${path}: ${errnoText(-pid)}`);
  using child = Child.find(kernel, pid);
  let isOver = false;
  try {
    isOver = child === undefined || (yield* awaitEnd(runtime, child));
  } finally {
    if (!isOver) child?.signal(9);
  }
  const status = child?.reap();
  const isSuccess = status !== undefined && "code" in status && status.code === 0;
  return { isSuccess, errors: readMemfd(kernel, output, OUTPUT_LIMIT) };
}
