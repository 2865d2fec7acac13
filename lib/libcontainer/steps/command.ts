/**
 * The container's program: environment, path search, execve. Runs in: init, as the user.
 *
 * @module
 */

import { AccessFlag, AT_FDCWD, CloseRange, FileType, openFlag } from "../../ffi/constants.ts";
import { Errno, type ErrnoName, errnoText } from "../../ffi/errno.ts";
import { call, fail, set, slot, step, stringPointers, text, when } from "../../plan/build.ts";
import type { CallOp, Data, Op, Slot, Step } from "../../plan/op.ts";
import type { Process, User } from "../../specs/config.ts";
import { RuncError } from "../../errors.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { homeEntry } from "./protocol.ts";
import { loadStat, statBuffer } from "./stat.ts";

/** The environment for execve. `needsHome`: HOME must be looked up in the container's /etc/passwd. */
export interface Environment {
  readonly entries: readonly string[];
  readonly needsHome: boolean;
}

/**
 * Checks and cleans up process.env: of two entries with one name the last value stays, and an empty HOME is looked up.
 * Without process.env, HOME is not set, as in runc (libcontainer/env.go @ v1.5.1). `added`: entries that the runtime
 * adds.
 *
 * @throws {RuncError} for an entry without `=`, without a name, or with a NUL.
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

/** Whether HOME must be looked up, as in {@link environment}. `added`: whether the runtime adds an entry. */
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

/** The environment of a process with socket activation: sd_listen_fds(3). */
export function listenEntries(listenFds: number): readonly string[] {
  return listenFds > 0 ? [`LISTEN_FDS=${listenFds}`, "LISTEN_PID=1"] : [];
}

/** The environment for execve. A HOME that is looked up comes last. */
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

/** What to do after checking a file. */
type Outcomes =
  /** The errors for a file that the process cannot run. */
  | {
    readonly refused: Pick<CallOp, "meaning" | "hint">;
    readonly directory: readonly Op[];
    /** For a file whose mode does not let the process execute it. */
    readonly denied: readonly Op[];
  }
  /** Ends the step without an error. */
  | "endStep";

/** Uses the file as the program if it can be executed. */
type Look = (path: string, otherwise: Outcomes) => readonly Op[];

/**
 * Two calls, because only a directory can be opened with O_DIRECTORY. `tooManyFiles`: for when no more descriptor can
 * be opened.
 */
function lookByOpening(arch: Arch, tooManyFiles: Op): Look {
  const O = openFlag(arch);
  return (path, otherwise) => {
    const refused = otherwise === "endStep" ? { endStepOn: ["*"] as const } : otherwise.refused;
    return [
      call("faccessat2", [AT_FDCWD, path, X_OK, AccessFlag.AT_EACCESS], refused),
      call("openat", [AT_FDCWD, path, O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC, 0], { out: lookup, tolerate: ["*"] }),
      ...(otherwise === "endStep" ? [when(lookup, "==", -Errno.ENOTDIR, [found(path)])] : [
        when(lookup, "==", -Errno.EMFILE, [tooManyFiles]),
        when(lookup, "!=", -Errno.ENOTDIR, otherwise.directory),
        found(path),
      ]),
    ];
  };
}

/**
 * Uses only calls that runc makes here too (Go's exec.LookPath): newfstatat(2), and faccessat2(2), which an older
 * seccomp profile may not have. If faccessat2 is refused, the file's mode decides whether the process may execute it.
 */
function lookByMode({ uid, gid, additionalGids = [] }: User, arch: Arch): Look {
  const [mode, type, owner, group, bit] = ["mode", "type", "owner", "group", "bit"].map(slot) as [
    Slot,
    Slot,
    Slot,
    Slot,
    Slot,
  ];
  const bits: readonly Op[] = uid === 0 ? [set(bit, 0o111)] : [
    loadStat("uid", owner, arch),
    loadStat("gid", group, arch),
    set(bit, 0o001),
    ...[gid, ...additionalGids].map((one) => when(group, "==", one, [set(bit, 0o010)])),
    when(owner, "==", uid, [set(bit, 0o100)]),
  ];
  return (path, otherwise) => {
    const isStep = otherwise === "endStep";
    const next: readonly Op[] = [{ op: "endStep" }];
    const { refused, directory, denied } = isStep ? { refused: {}, directory: next, denied: next } : otherwise;
    const byMode: readonly Op[] = [
      ...bits,
      { op: "and", left: mode, right: bit, out: bit },
      when(bit, "==", 0, denied),
    ];
    return [
      call("newfstatat", [AT_FDCWD, path, statBuffer, 0], isStep ? { endStepOn: ["*"] } : refused),
      loadStat("mode", mode, arch),
      { op: "and", left: mode, right: FileType.S_IFMT, out: type },
      when(type, "==", FileType.S_IFDIR, directory),
      call("faccessat2", [AT_FDCWD, path, X_OK, AccessFlag.AT_EACCESS], {
        ...refused,
        onError: [
          { errnos: ["ENOSYS", "EPERM"], ops: byMode },
          ...(isStep ? [{ errnos: ["*"], ops: next } as const] : []),
        ],
      }),
      found(path),
    ];
  };
}

const found = (path: string): Op => set(program, text(path));

/**
 * The candidates for args[0]: the name itself if it has a slash, else the name below each directory of the container's
 * PATH.
 */
export function candidates(command: string, env: readonly string[]): readonly string[] {
  if (command.includes("/")) return [command];
  const path = env.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length);
  if (path === undefined || path === "") return [];
  // An empty element means the working directory. Go, and so runc, does not run programs found there.
  return path.split(":").filter((directory) => directory.startsWith("/")).map((directory) =>
    `${directory === "/" ? "" : directory.replace(/\/+$/, "")}/${command}`
  );
}

/**
 * Finds the program before execve, so that a missing one is an error of `create`. `careful`: a seccomp filter is in
 * force, and may not allow faccessat2(2).
 *
 * `env`: entries of the environment.
 */
export function lookupSteps(
  process: Pick<Process, "args" | "user">,
  env: readonly string[],
  arch: Arch,
  options: { careful?: boolean } = {},
): readonly Step[] {
  const command = process.args![0]!;
  const quoted = JSON.stringify(command);
  const from = "/process/args/0";
  const tooManyFiles = fail(
    Errno.EMFILE,
    `exec: ${quoted}: ${errnoText(Errno.EMFILE)}`,
    "RLIMIT_NOFILE of process.rlimits, or the caller's limit, leaves no descriptor to look for the program with",
  );
  const look = options.careful ? lookByMode(process.user, arch) : lookByOpening(arch, tooManyFiles);
  if (command.includes("/")) {
    const stat = (errno: ErrnoName) => `exec: ${quoted}: stat ${command}: ${errnoText(Errno[errno])}`;
    const denied = `exec: ${quoted}: permission denied`;
    const hint = "make the file executable for process.user";
    const refused = {
      meaning: {
        ENOENT: stat("ENOENT"),
        ENOTDIR: stat("ENOTDIR"),
        ELOOP: stat("ELOOP"),
        ENAMETOOLONG: stat("ENAMETOOLONG"),
        EACCES: denied,
        "*": `exec: ${quoted}`,
      },
      hint: { EACCES: hint },
    };
    return [step(`look for ${command}`, from, [
      ...look(command, {
        refused,
        directory: [fail(Errno.EISDIR, `exec: ${quoted}: is a directory`)],
        denied: [fail(Errno.EACCES, denied, hint)],
      }),
    ])];
  }
  const tries = candidates(command, env).map((path) =>
    step(`look for ${path}`, from, [
      when(program, "!=", 0, [{ op: "endStep" }]),
      ...look(path, "endStep"),
    ])
  );
  const missing = fail(
    Errno.ENOENT,
    `exec: ${quoted}: executable file not found in $PATH`,
    "PATH is process.env's, and it is searched inside the container",
  );
  return [
    step(`look for ${command} in the container's PATH`, from, [set(program, 0)]),
    ...tries,
    step(`make sure that ${command} was found`, from, [
      when(program, "==", 0, [
        // The error of the last existing candidate.
        ...(options.careful ? [] : [when(lookup, "==", -Errno.EMFILE, [tooManyFiles])]),
        missing,
      ]),
    ]),
  ];
}

/** The usual errors of execve. The parent may have gone, so they are printed on the container's stderr. */
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

/** Makes sure that the program gets only the container's descriptors (CVE-2024-21626). */
export function closeSteps(inheritedFds: number): readonly Step[] {
  return [step("close everything that is not the container's", "", [
    call("close_range", [3 + inheritedFds, -1, CloseRange.CLOSE_RANGE_CLOEXEC]),
  ])];
}

/** Executes the program. Exits with 255 if execve fails. */
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
