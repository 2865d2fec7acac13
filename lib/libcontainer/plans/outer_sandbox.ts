/**
 * Adapts a plan to a sandbox around this runtime that refuses newer system calls. Other calls replace them, unless that
 * weakens a protection. A call without a replacement fails with an error that names the call and the sandbox. Pure.
 *
 * docs/outer_sandbox.md has the table of all calls.
 *
 * @module
 */

import { AT_FDCWD, CloseRange, FileType, FsMagic, openFlag, Resolve } from "../../ffi/constants.ts";
import { Errno, type ErrnoName } from "../../ffi/errno.ts";
import type { Arch, SyscallName } from "../../ffi/syscalls.ts";
import { buffer, call, fail, fixedFd, load, set, slot, when, whenFailed } from "../../plan/build.ts";
import type { CallOp, Op, Operand, Plan, Slot, Step, Struct } from "../../plan/op.ts";
import type { CgroupEntry } from "../config/launch_request.ts";
import { lacksMountCalls, newMountCalls, OldMounts } from "../steps/mounts/old_mounts.ts";
import { loadStat, statBuffer } from "../steps/stat.ts";

type Refused = ReadonlySet<SyscallName>;

const SANDBOX = "a sandbox around this runtime refuses it, such as the seccomp profile of an engine";

/** The hint for refused calls: `statx: a sandbox around …`. */
export const refusalHint = (...calls: readonly SyscallName[]): string => `${calls.join(", ")}: ${SANDBOX}`;

/** Calls that the error names if they are refused and have no replacement. */
const needed: readonly SyscallName[] = [...newMountCalls, "pidfd_open"];

/** The plan without the refused calls. Returns the same plan if no call is refused. */
export function withoutRefused(plan: Plan, refused: Refused | undefined, arch: Arch): Plan {
  if (refused === undefined || refused.size === 0) return plan;
  const replacing = new Replacing(refused, arch);
  return { stage: replacing.steps(plan.stage), init: replacing.steps(plan.init) };
}

/** Without clone3(2) a process cannot start in a cgroup2. It enters it later, as it enters those of v1. */
export function enterWithoutClone3(entry: CgroupEntry, refused: Refused | undefined): CgroupEntry {
  const { cloneInto, taskFiles } = entry;
  if (cloneInto === undefined || !refused?.has("clone3")) return entry;
  return { taskFiles: [...taskFiles, { path: `${cloneInto}/cgroup.procs` }] };
}

class Replacing {
  readonly #refused: Refused;
  readonly #arch: Arch;
  readonly #mounts?: OldMounts;

  constructor(refused: Refused, arch: Arch) {
    this.#refused = refused;
    this.#arch = arch;
    if (lacksMountCalls(refused)) this.#mounts = new OldMounts(arch);
  }

  steps(steps: readonly Step[]): readonly Step[] {
    return steps.map((step) => ({ ...step, ops: this.#ops(step.ops) }));
  }

  #ops(ops: readonly Op[]): readonly Op[] {
    return ops.flatMap((op) => this.#op(op));
  }

  #op(op: Op): readonly Op[] {
    switch (op.op) {
      case "call":
        // OldMounts also replaces the calls of `onError`, which repeat the attempt.
        if (op.call === "mount_setattr" && this.#mounts !== undefined) return this.#call(op);
        return this.#call({
          ...op,
          ...(op.onError && { onError: op.onError.map((branch) => ({ ...branch, ops: this.#ops(branch.ops) })) }),
        });
      case "if":
        return [{ ...op, then: this.#ops(op.then), ...(op.otherwise && { otherwise: this.#ops(op.otherwise) }) }];
      case "repeat":
        return [{ ...op, body: this.#ops(op.body) }];
      case "fork":
        return [{ ...op, child: this.#ops(op.child), parent: this.#ops(op.parent) }];
      default:
        return [op];
    }
  }

  #call(op: CallOp): readonly Op[] {
    this.#mounts?.see(op);
    const mounts = this.#mounts?.replace(op);
    if (mounts !== undefined) return mounts.flatMap((each) => each.op === "call" ? this.#call(each) : [each]);
    if (!this.#refused.has(op.call)) return [op];
    switch (op.call) {
      case "close_range":
        return closeOneByOne(op);
      case "faccessat2":
        // Real and effective ids are equal at this point.
        return [{ ...op, call: "faccessat", args: op.args.slice(0, 3) }];
      case "execveat":
        return executeByName(op);
      case "openat2":
        return new Walk(op, this.#arch, this.#refused).ops();
      default:
        return [needed.includes(op.call) ? withHint(op) : op];
    }
  }
}

/** Adds a hint that names the sandbox, for a refused call. */
function withHint(op: CallOp): CallOp {
  const hint = refusalHint(op.call);
  return { ...op, hint: { ...op.hint, EPERM: hint, ENOSYS: hint } };
}

/** fcntl.h */
const F_SETFD = 2, FD_CLOEXEC = 1;

/**
 * Closes or marks the descriptors one by one, up to the highest fixed one. The parent marked higher ones close-on-exec
 * before it started the stage. Those that the plan opens are close-on-exec anyway.
 */
function closeOneByOne({ args: [from, to, flags] }: CallOp): readonly Op[] {
  if (typeof from !== "number") return [];
  const marks = flags === CloseRange.CLOSE_RANGE_CLOEXEC;
  const number = slot("number");
  const end = marks ? fixedFd("next foreign") : to!;
  return [
    set(number, from - 1),
    {
      op: "repeat",
      body: [
        { op: "add", left: number, right: 1, out: number },
        marks
          ? call("fcntl", [number, F_SETFD, FD_CLOEXEC], { tolerate: ["EBADF"] })
          : call("close", [number], { tolerate: ["EBADF"] }),
      ],
      until: { left: number, right: end },
    },
  ];
}

/** Executes a descriptor by its link in the host's procfs. */
function executeByName(op: CallOp): readonly Op[] {
  const [file, , argv, environment] = op.args;
  if (typeof file !== "object" || !("fd" in file)) return [op];
  return [
    call("fchdir", [fixedFd("proc")]),
    { ...op, call: "execve", args: [{ data: "fdPath", fd: file.fd }, argv!, environment!] },
  ];
}

const SYMLINK = `a symlink is followed by openat2(2) alone, and ${SANDBOX}`;

/**
 * Replaces openat2(2): opens each component below the previous one, and follows no symlink. So no path leads out of the
 * root or to a magic link, as with RESOLVE_IN_ROOT, _BENEATH, _NO_SYMLINKS and _NO_MAGICLINKS. In a procfs, the last
 * component must be on the same mount.
 */
class Walk {
  readonly #op: CallOp;
  readonly #arch: Arch;
  readonly #refused: Refused;
  readonly #path: string;
  readonly #flags: number;
  readonly #resolve: number;
  readonly #here = slot("here");
  readonly #next = slot("next component");

  constructor(op: CallOp, arch: Arch, refused: Refused) {
    this.#op = op;
    this.#arch = arch;
    this.#refused = refused;
    const [, path, how] = op.args as [Operand, { text: string }, Struct];
    this.#path = path.text;
    const word = (offset: number) => Number(how.words.find(({ at }) => at === offset)?.value ?? 0);
    this.#flags = word(0);
    this.#resolve = word(16);
  }

  ops(): readonly Op[] {
    const { out, tolerate = [], endStepOn = [], onError = [] } = this.#op;
    const named = [...tolerate, ...endStepOn, ...onError.flatMap(({ errnos }) => errnos)];
    const result = slot("walked");
    return [
      ...this.#walk(named),
      set(result, this.#here),
      ...(out === undefined ? [] : [set(out, result)]),
      ...this.#dispatch(result, endStepOn, [{ op: "endStep" }]),
      ...onError.flatMap(({ errnos, ops }) => this.#dispatch(result, errnos, ops)),
    ];
  }

  /** Leaves a descriptor or −errno in `here`. */
  #walk(named: readonly (ErrnoName | "*")[]): readonly Op[] {
    const [start] = this.#op.args as [Operand];
    const O = openFlag(this.#arch);
    const components = this.#path.split("/").filter((part) => part !== "" && part !== ".");
    const isProc = (this.#resolve & Resolve.RESOLVE_NO_XDEV) !== 0;
    const fromRoot = start === AT_FDCWD && this.#path.startsWith("/");
    const through = O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC;
    const open = (directory: Operand, name: string, flags: number, out: Slot): Op =>
      call("openat", [directory, name, flags, 0], {
        out,
        tolerate: [...new Set(named)],
        meaning: this.#op.meaning,
        hint: { ELOOP: SYMLINK, ENOTDIR: SYMLINK, ...this.#op.hint },
      });
    const [first = ".", ...rest] = components;
    // In the host's procfs, `self` is the kernel's link. A container cannot change it, so it is followed.
    const noFollow = (name: string) => isProc && name === "self" ? 0 : O.O_NOFOLLOW;
    const flagsOf = (index: number, name: string) =>
      index === Math.max(components.length - 1, 0) ? this.#flags | noFollow(name) : through | noFollow(name);
    let ops: readonly Op[] = this.#checks(isProc);
    for (let index = rest.length - 1; index >= 0; index--) {
      const name = rest[index]!;
      ops = whenFailed(this.#here, [], [
        open(this.#here, name, flagsOf(index + 1, name), this.#next),
        call("close", [this.#here]),
        set(this.#here, this.#next),
        ...ops,
      ]);
    }
    const begin = fromRoot ? "/" : undefined;
    if (begin === undefined) return [open(start, first, flagsOf(0, first), this.#here), ...ops];
    if (components.length === 0) return [open(AT_FDCWD, begin, this.#flags, this.#here), ...ops];
    const root = slot("start of walk");
    return [
      call("openat", [AT_FDCWD, begin, through, 0], { out: root }),
      open(root, first, flagsOf(0, first), this.#here),
      call("close", [root]),
      ...ops,
    ];
  }

  /** Checks the last descriptor. */
  #checks(isProc: boolean): readonly Op[] {
    if (isProc) return this.#sameMount();
    // O_PATH with O_NOFOLLOW opens the link itself.
    if ((this.#flags & openFlag(this.#arch).O_PATH) === 0) return [];
    const wantsLink = (this.#flags & openFlag(this.#arch).O_NOFOLLOW) !== 0 &&
      (this.#resolve & Resolve.RESOLVE_NO_SYMLINKS) === 0;
    if (wantsLink) return [];
    const type = slot("type");
    const text = `${this.#path} is a symlink`;
    return whenFailed(this.#here, [], [
      call("fstat", [this.#here, statBuffer]),
      loadStat("mode", type, this.#arch),
      { op: "and", left: type, right: FileType.S_IFMT, out: type },
      when(type, "==", FileType.S_IFLNK, [fail(Errno.ELOOP, this.#op.meaning?.ELOOP ?? text, SYMLINK)]),
    ]);
  }

  /**
   * The file must be in a procfs, on the mount where the walk began. Otherwise a mount over the file would receive the
   * data that is written (CVE-2025-52881).
   */
  #sameMount(): readonly Op[] {
    const [start] = this.#op.args as [Operand];
    const [type, ours, theirs] = [slot("type"), slot("mount of proc"), slot("mount of file")];
    const statfs = buffer("statfs", 120);
    const statx = buffer("statx", 256);
    const covered = fail(Errno.EXDEV, `${this.#path} below /proc is covered by another mount`);
    if (this.#refused.has("statx")) {
      return [fail(Errno.EPERM, `cannot make sure what ${this.#path} below /proc is`, refusalHint("openat2", "statx"))];
    }
    const mount = (fd: Operand, out: Slot): readonly Op[] => [
      call("statx", [fd, "", AT_EMPTY_PATH, STATX_MNT_ID, statx]),
      load({ data: "at", base: statx, offset: 144 }, 8, out),
    ];
    return whenFailed(this.#here, [], [
      call("fstatfs", [this.#here, statfs]),
      load(statfs, 4, type),
      when(type, "!=", FsMagic.PROC, [covered]),
      ...mount(start, ours),
      ...mount(this.#here, theirs),
      when(ours, "!=", theirs, [covered]),
    ]);
  }

  /** Runs `ops` if the walk ended with one of these errnos. */
  #dispatch(result: Slot, errnos: readonly (ErrnoName | "*")[], ops: readonly Op[]): readonly Op[] {
    return errnos.flatMap((name) => name === "*" ? whenFailed(result, ops) : [when(result, "==", -Errno[name], ops)]);
  }
}

const AT_EMPTY_PATH = 0x1000, STATX_MNT_ID = 0x1000;
