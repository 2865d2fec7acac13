/**
 * Ops that execute the runtime again as a child of the monitor and wait for it, for tasks that the monitor cannot do.
 * Pure.
 *
 * The child is `runc monitor …` (lib/cli/commands/monitor.ts), with the monitor's environment, which is the runtime's
 * own.
 *
 * @module
 */

import { CloneFlag, rlimitNames } from "../../../ffi/constants.ts";
import {
  at,
  buffer,
  bytes,
  call,
  set,
  slot,
  stack,
  store,
  stringPointers,
  struct,
  when,
  whenFailed,
} from "../../../plan/build.ts";
import type { Data, Op, Operand, Slot } from "../../../plan/op.ts";

/** How to execute the runtime. */
export interface Reexec {
  /** Absolute path. */
  readonly path: string;
  /** The arguments before a command: the program's name and global options. */
  readonly args: readonly string[];
  /** The number of the monitor's own arguments; its environment follows them in memory. */
  readonly ownArguments: number;
  /** The soft limit of open files that it starts with. Absent: the monitor's own, which has not been raised. */
  readonly softFileLimit?: number;
}

const child = slot("child");
const environment = slot("environment");
const SIG_SETMASK = 2;
/** The kernel's `sigset_t`: one bit for each of 64 signals. */
const SIGSET_SIZE = 8;
const STDERR = 2;

/** Runs the runtime with `words` and waits for its end. `status` becomes 0 on success, another value on failure. */
export function runAgain(again: Reexec, words: readonly (string | Data)[], status: Slot): readonly Op[] {
  const known = words.flatMap((word) => typeof word === "string" ? [word] : word.data === "bytes" ? [word.show] : []);
  const argv = stringPointers([...again.args, ...words], JSON.stringify(known));
  const wait = buffer("status of the runtime", 8);
  const failure = `runc: cannot execute ${again.path} again: ${known.join(" ")}\n`;
  return [
    call("clone", [CloneFlag.SIGCHLD, 0, 0, 0, 0], { out: child, tolerate: ["*"] }),
    when(child, "==", 0, [
      // The child would inherit the monitor's blocked signals.
      call("rt_sigprocmask", [SIG_SETMASK, struct("[]", SIGSET_SIZE, []), 0, SIGSET_SIZE], { tolerate: ["*"] }),
      call("close_range", [3, -1, 0], { tolerate: ["*"] }),
      ...limitFiles(again.softFileLimit),
      // The stack holds argc, argv, NULL, and the environment.
      { op: "add", left: stack, right: 8 * (again.ownArguments + 2), out: environment },
      call("execve", [again.path, argv, environment], { tolerate: ["*"] }),
      call("write", [STDERR, failure, new TextEncoder().encode(failure).length], { tolerate: ["*"] }),
      call("exit_group", [127]),
    ]),
    ...whenFailed(child, [set(status, child)], [
      store(wait, 8, -1),
      call("wait4", [child, wait, 0, 0], { tolerate: ["*"] }),
      { op: "load", from: wait, size: 4, out: status },
    ]),
  ];
}

/** Sets the soft limit of open files and keeps the hard one. */
function limitFiles(soft: number | undefined): readonly Op[] {
  if (soft === undefined) return [];
  const RLIMIT_NOFILE = rlimitNames.indexOf("RLIMIT_NOFILE");
  // `struct rlimit64`: the soft limit, the hard limit.
  const limit = buffer("limit of open files", 16);
  const result = slot("limit is known");
  return [
    call("prlimit64", [0, RLIMIT_NOFILE, 0, limit], { out: result, tolerate: ["*"] }),
    when(result, "==", 0, [
      store(limit, 8, soft),
      call("prlimit64", [0, RLIMIT_NOFILE, limit, 0], { tolerate: ["*"] }),
    ]),
  ];
}

const high = slot("high"), low = slot("low");
const LETTER_A = 0x61;

/**
 * A number below 256 as an argument: two letters from `a` to `p`, the high four bits first. Ops have no division for
 * decimal digits.
 */
function letters(value: Operand, name: string): { argument: Data; write: readonly Op[] } {
  const argument = bytes(Uint8Array.of(LETTER_A, LETTER_A, 0), `"<${name}>"`);
  return {
    argument,
    write: [
      { op: "shr", left: value, right: 4, out: high },
      { op: "add", left: high, right: LETTER_A, out: high },
      store(at(argument, 0), 1, high),
      { op: "and", left: value, right: 15, out: low },
      { op: "add", left: low, right: LETTER_A, out: low },
      store(at(argument, 1), 1, low),
    ],
  };
}

const errno = slot("errno");

/** The errno from a slot with −errno. */
export function errnoOf(result: Slot): { readonly ops: readonly Op[]; readonly errno: Slot } {
  return { ops: [{ op: "sub", left: 0, right: result, out: errno }], errno };
}

/** Logs `message`; `{signal}` and `{errno}` in it stand for the numbers, in order. */
export function say(
  again: Reexec,
  level: "debug" | "warning" | "error",
  message: string,
  ...numbers: readonly Operand[]
): readonly Op[] {
  const encoded = numbers.map((number, index) => letters(number, String(index)));
  const words = ["monitor", "say", level, message, ...encoded.map(({ argument }) => argument)];
  return [...encoded.flatMap(({ write }) => write), ...runAgain(again, words, slot("said"))];
}
