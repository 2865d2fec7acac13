/**
 * The container's program: environment, look-up, execve. Runs in: init, as the user.
 *
 * @module
 */

import { AccessFlag, AT_FDCWD, CloseRange, openFlag } from "../ffi/constants.ts";
import { Errno, type ErrnoName, errnoText } from "../ffi/errno.ts";
import { call, fail, slot, step, stringPointers, text, when } from "../plan/build.ts";
import type { CallOp, Data, Op, Step } from "../plan/op.ts";
import type { Process } from "../specs/config.ts";
import { RuncError } from "../errors.ts";
import type { Arch } from "../ffi/syscalls.ts";
import { homeEntry } from "./protocol.ts";

/** The environment as execve gets it; `needsHome`: HOME must be looked up in the container's /etc/passwd. */
export interface Environment {
  readonly entries: readonly string[];
  readonly needsHome: boolean;
}

/**
 * Checks and tidies process.env: of two entries with one name the last stays, at its place; an empty HOME is looked up. Where there is no
 * process.env at all, there is no HOME either, as in runc (libcontainer/env.go @ v1.5.1). `added`: what the runtime adds.
 *
 * @throws {RuncError} for an entry without `=` or without a name, or with a NUL.
 */
export function environment(
  given: readonly string[] | undefined,
  added: readonly string[] = [],
  field = "/process/env",
): Environment {
  if (given === undefined && added.length === 0) return { entries: [], needsHome: false };
  const env = [...(given ?? []), ...added];
  const last = new Map<string, number>();
  env.forEach((entry, index) => {
    const problem = entryProblem(entry);
    if (problem !== undefined) throw new RuncError("config-invalid", problem, { field: `${field}/${index}` });
    last.set(entry.slice(0, entry.indexOf("=")), index);
  });
  const kept = env.filter((entry, index) => last.get(entry.slice(0, entry.indexOf("="))) === index);
  const entries = kept.filter((entry) => entry !== "HOME=");
  return { entries, needsHome: !entries.some((entry) => entry.startsWith("HOME=")) };
}

/** What {@link environment} says of HOME, without the rest. `added`: whether the runtime adds something. */
export function needsHome(given: readonly string[] | undefined, added: boolean): boolean {
  if (given === undefined) return added;
  const home = given.findLast((entry) => entry.startsWith("HOME="));
  return home === undefined || home === "HOME=";
}

function entryProblem(entry: string): string | undefined {
  if (entry.includes("\0")) return `invalid environment variable: contains nul byte: ${JSON.stringify(entry)}`;
  const equals = entry.indexOf("=");
  if (equals < 0) return `invalid environment variable: missing '=': ${JSON.stringify(entry)}`;
  if (equals === 0) return `invalid environment variable: name cannot be empty: ${JSON.stringify(entry)}`;
  return undefined;
}

/** What a process with socket activation finds in its environment: sd_listen_fds(3). */
export function listenEntries(listenFds: number): readonly string[] {
  return listenFds > 0 ? [`LISTEN_FDS=${listenFds}`, "LISTEN_PID=1"] : [];
}

/** The environment as execve takes it; a HOME that is looked up comes last. */
export function environmentPointers(env: Environment): Data {
  const items: (string | Data)[] = [...env.entries];
  if (env.needsHome) items.push(homeEntry);
  const count = items.length;
  return stringPointers(items, `/* ${count} vars */`);
}

/** unistd.h */
const X_OK = 1;

const lookup = slot("lookup");
const program = slot("program");

/** Tells a directory from a file: only a directory opens with O_DIRECTORY. */
function openDirectory(path: string, arch: Arch): Op {
  const O = openFlag(arch);
  return call("openat", [AT_FDCWD, path, O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC, 0], { out: lookup, tolerate: ["*"] });
}

const found = (path: string): Op => ({ op: "add", left: text(path), right: 0, out: program });

/** The names that args[0] may mean: itself with a slash in it, else below each directory of the container's PATH. */
export function candidates(command: string, env: readonly string[]): readonly string[] {
  if (command.includes("/")) return [command];
  const path = env.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length);
  if (path === undefined || path === "") return [];
  // An empty element means the working directory, which Go's and so runc's look-up refuses to run from.
  return path.split(":").filter((directory) => directory.startsWith("/")).map((directory) =>
    `${directory === "/" ? "" : directory.replace(/\/+$/, "")}/${command}`
  );
}

/**
 * Finds the program now, so that a missing one is an error of `create`. `filtered`: a seccomp filter is in force, whose profile may be
 * older than faccessat2(2).
 */
export function lookupSteps(
  command: string,
  env: readonly string[],
  arch: Arch,
  options: { filtered?: boolean } = {},
): readonly Step[] {
  // Real and effective ids are the same by now, so that both calls mean the same.
  const access = (path: string, rest: Partial<CallOp>): Op =>
    options.filtered
      ? call("faccessat", [AT_FDCWD, path, X_OK], rest)
      : call("faccessat2", [AT_FDCWD, path, X_OK, AccessFlag.AT_EACCESS], rest);
  const quoted = JSON.stringify(command);
  const from = "/process/args/0";
  const tooManyFiles = fail(
    Errno.EMFILE,
    `exec: ${quoted}: ${errnoText(Errno.EMFILE)}`,
    "RLIMIT_NOFILE of process.rlimits, or the caller's limit, leaves no descriptor to look for the program with",
  );
  if (command.includes("/")) {
    const stat = (errno: ErrnoName) => `exec: ${quoted}: stat ${command}: ${errnoText(Errno[errno])}`;
    return [step(`look for ${command}`, from, [
      access(command, {
        meaning: {
          ENOENT: stat("ENOENT"),
          ENOTDIR: stat("ENOTDIR"),
          ELOOP: stat("ELOOP"),
          ENAMETOOLONG: stat("ENAMETOOLONG"),
          EACCES: `exec: ${quoted}: permission denied`,
          "*": `exec: ${quoted}`,
        },
        hint: { EACCES: "the file needs its execute bit for process.user" },
      }),
      openDirectory(command, arch),
      when(lookup, "==", -Errno.EMFILE, [tooManyFiles]),
      when(lookup, "!=", -Errno.ENOTDIR, [fail(Errno.EISDIR, `exec: ${quoted}: is a directory`)]),
      found(command),
    ])];
  }
  const tries = candidates(command, env).map((path) =>
    step(`look for ${path}`, from, [
      when(program, "!=", 0, [{ op: "endStep" }]),
      access(path, { endStepOn: ["*"] }),
      openDirectory(path, arch),
      when(lookup, "==", -Errno.ENOTDIR, [found(path)]),
    ])
  );
  const missing = fail(
    Errno.ENOENT,
    `exec: ${quoted}: executable file not found in $PATH`,
    "PATH is process.env's, and it is searched inside the container",
  );
  const start: Op = { op: "add", left: 0, right: 0, out: program };
  return [
    step(`look for ${command} in the container's PATH`, from, [start]),
    ...tries,
    step(`make sure that ${command} was found`, from, [
      // What the last file that there was answered.
      when(program, "==", 0, [when(lookup, "==", -Errno.EMFILE, [tooManyFiles]), missing]),
    ]),
  ];
}

/** execve's usual refusals. The parent may have gone: what is left to tell with is the container's own stderr. */
const execErrors: readonly ErrnoName[] = [
  "ENOENT",
  "EACCES",
  "ENOEXEC",
  "E2BIG",
  "ENOMEM",
  "ELOOP",
  "EPERM",
  "ETXTBSY",
];

/** Sees to it that the program gets no descriptor that is not the container's (CVE-2024-21626). */
export function closeSteps(inheritedFds: number): readonly Step[] {
  return [step("close everything that is not the container's", "", [
    call("close_range", [3 + inheritedFds, -1, CloseRange.CLOSE_RANGE_CLOEXEC]),
  ])];
}

/** Becomes the program. Exit 255 where execve refuses. */
export function execSteps(process: Process, env: Environment): readonly Step[] {
  const args = process.args!;
  const say = (reason: string): readonly Op[] => {
    const line = `exec ${args[0]}: ${reason}\n`;
    return [
      call("write", [2, line, new TextEncoder().encode(line).length], { tolerate: ["*"] }),
      call("exit_group", [255]),
    ];
  };
  return [
    step(`become ${args[0]}`, "/process/args", [
      call("execve", [
        program,
        stringPointers(args, JSON.stringify(args)),
        environmentPointers(env),
      ], {
        onError: [
          ...execErrors.map((name) => ({ errnos: [name], ops: say(errnoText(Errno[name])) })),
          { errnos: ["*"] as const, ops: say("failed") },
        ],
      }),
    ]),
  ];
}
