/**
 * The plan's vocabulary: a container's setup as data.
 *
 * A {@link Step} says what is done, which line of config.json asked for it, and the {@link Op}s that do it. Ops name
 * system calls with symbolic operands; control flow is structured, and the only conditions are errnos and slot values.
 * Pure: nothing here touches the system.
 *
 * @module
 */

import type { SyscallName } from "../ffi/syscalls.ts";
import type { ErrnoName } from "../ffi/errno.ts";

/** A JSON pointer into config.json such as `/mounts/2`; empty where no field asked for it. */
export type ConfigPath = string;

/** A named 64-bit result of an earlier op: known only when the plan runs. */
export interface Slot {
  /** The name; equal names in a plan are one slot. */
  readonly slot: string;
}

/** A descriptor whose number is fixed when the plan is encoded; the parent puts it there when it spawns the stage. */
export interface FixedFd {
  /** The name; the parent knows the number. */
  readonly fd: string;
}

/** Something in the image's data: an operand that is passed as its address. */
export type Data = Text | FdPath | Bytes | Buffer | Struct | At;

/** A NUL-terminated UTF-8 string. Equal strings are stored once. */
export interface Text {
  /** The kind of data. */
  readonly data: "text";
  /** Without the NUL. */
  readonly text: string;
}

/** `self/fd/<number of fd>`: a fixed descriptor's name below a procfs. */
export interface FdPath {
  /** The kind of data. */
  readonly data: "fdPath";
  /** Name of the descriptor. */
  readonly fd: string;
}

/** Initialised memory. */
export interface Bytes {
  /** The kind of data. */
  readonly data: "bytes";
  /** The content. */
  readonly bytes: Uint8Array;
  /** How explain prints it. */
  readonly show: string;
}

/** Zeroed writable memory of `size` bytes; two with the same name are the same memory. */
export interface Buffer {
  /** The kind of data. */
  readonly data: "buffer";
  /** What makes it the same memory. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A C struct or array: words at offsets, where a word may be a number, a fixed descriptor's number or an address. */
export interface Struct {
  /** The kind of data. */
  readonly data: "struct";
  /** In bytes; what no word covers is zero. */
  readonly size: number;
  /** What is not zero. */
  readonly words: readonly Word[];
  /** How explain prints it. */
  readonly show: string;
}

/** One little-endian word of a {@link Struct}; an address takes 8 bytes. */
export interface Word {
  /** Offset in bytes. */
  readonly at: number;
  /** In bytes. */
  readonly size: 1 | 2 | 4 | 8;
  /** The content. */
  readonly value: number | bigint | FixedFd | Data;
}

/** An address `offset` bytes into another piece of data. */
export interface At {
  /** The kind of data. */
  readonly data: "at";
  /** What it points into. */
  readonly base: Bytes | Buffer | Struct;
  /** In bytes. */
  readonly offset: number;
}

/** What a system call or an op takes: a number, an earlier result, a descriptor, or the address of data. */
export type Operand = number | Slot | FixedFd | Data;

/** One system call. A negative result ends the plan unless its errno is named here. */
export interface CallOp {
  /** The kind of op. */
  readonly op: "call";
  /** The system call. */
  readonly call: SyscallName;
  /** Its arguments; those left out are 0. */
  readonly args: readonly Operand[];
  /** Receives the result, also −errno of a tolerated failure. */
  readonly out?: Slot;
  /** Going on as if it had worked. */
  readonly tolerate?: readonly (ErrnoName | "*")[];
  /** These errnos end the step as done. */
  readonly endStepOn?: readonly (ErrnoName | "*")[];
  /** These errnos run `ops` instead, then go on after the call. `"*"` is every errno not named before it. */
  readonly onError?: readonly { readonly errnos: readonly (ErrnoName | "*")[]; readonly ops: readonly Op[] }[];
  /** EAGAIN means "raced with a rename": try again, at most 128 times (openat2(2), RESOLVE_IN_ROOT). */
  readonly retryAgain?: boolean;
  /** What a given errno (`"*"`: any) of this call means in words; replaces the generic text. */
  readonly meaning?: Readonly<Partial<Record<ErrnoName | "*", string>>>;
  /** What to do about a given errno of this call. */
  readonly hint?: Readonly<Partial<Record<ErrnoName | "*", string>>>;
}

/** Runs `then` where the comparison holds, `otherwise` where it does not. */
export interface IfOp {
  /** The kind of op. */
  readonly op: "if";
  /** Compared with `right`, as 64 bits. */
  readonly left: Operand;
  /** The comparison. */
  readonly is: "==" | "!=";
  /** Compared with `left`. */
  readonly right: Operand;
  /** Where it holds. */
  readonly then: readonly Op[];
  /** Where it does not. */
  readonly otherwise?: readonly Op[];
}

/** Runs `body` once, and again as long as `left` differs from `right` afterwards. */
export interface RepeatOp {
  /** The kind of op. */
  readonly op: "repeat";
  /** What is repeated. */
  readonly body: readonly Op[];
  /** Equal after the last round. */
  readonly until: { readonly left: Operand; readonly right: Operand };
}

/** Reads `size` bytes, zero-extended, from memory into `out`. */
export interface LoadOp {
  /** The kind of op. */
  readonly op: "load";
  /** The memory, or its address. */
  readonly from: Data | Slot;
  /** In bytes. */
  readonly size: 1 | 2 | 4 | 8;
  /** Receives the value. */
  readonly out: Slot;
}

/** Writes the low `size` bytes of `value` into memory. */
export interface StoreOp {
  /** The kind of op. */
  readonly op: "store";
  /** The memory, or its address. */
  readonly to: Data | Slot;
  /** In bytes. */
  readonly size: 1 | 2 | 4 | 8;
  /** What is written. */
  readonly value: Operand;
}

/** `out = left & right`. */
export interface AndOp {
  /** The kind of op. */
  readonly op: "and";
  /** One operand. */
  readonly left: Operand;
  /** The other one. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** `out = left + right`; with `right` 0 it copies. */
export interface AddOp {
  /** The kind of op. */
  readonly op: "add";
  /** One operand. */
  readonly left: Operand;
  /** The other one. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** `out = left - right`. */
export interface SubOp {
  /** The kind of op. */
  readonly op: "sub";
  /** What is subtracted from. */
  readonly left: Operand;
  /** What is subtracted. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** `out = left >> right`, of unsigned numbers. */
export interface ShrOp {
  /** The kind of op. */
  readonly op: "shr";
  /** What is shifted, as 64 bits. */
  readonly left: Operand;
  /** How far: 0 to 63. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** Ends the plan with an error that carries `value` (an exit status, an errno, an address's content). */
export interface FailOp {
  /** The kind of op. */
  readonly op: "fail";
  /** Reported with the error. */
  readonly value: Operand;
  /** The error's text; `{}` stands for the value. */
  readonly why: string;
  /** What to do about it. */
  readonly hint?: string;
}

/** Tells the parent about something that is not fatal, and goes on. */
export interface WarnOp {
  /** The kind of op. */
  readonly op: "warn";
  /** Reported with the warning: an errno, or 0. */
  readonly value: Operand;
  /** The warning's text. */
  readonly why: string;
}

/**
 * clone(2) without a new stack: `child` runs in the new process, `parent` in the old one; both go on after the op unless
 * their ops end the process. `out` holds the child's pid in the parent, 0 in the child.
 */
export interface ForkOp {
  /** The kind of op. */
  readonly op: "fork";
  /** CLONE_* flags with the exit signal in the low byte. */
  readonly flags: number;
  /** Memory that receives the child's pidfd; `flags` must then have CLONE_PIDFD. */
  readonly pidfd?: Data;
  /**
   * Directory of a cgroup2 that the child is born in: clone3(2), CLONE_INTO_CGROUP. The exit signal must then come from CLONE_PARENT. Where it is
   * {@link NO_CGROUP} the child is born in the cgroup of the process that forks.
   */
  readonly intoCgroup?: Slot;
  /** Receives the pid. */
  readonly out: Slot;
  /** Run by the child alone. */
  readonly child: readonly Op[];
  /** Run by the parent alone. */
  readonly parent: readonly Op[];
}

/** What a slot holds where there is no directory to be born in: no descriptor. @see ForkOp.intoCgroup */
export const NO_CGROUP = -1;

/** Ends the step: the next step runs. */
export interface EndStepOp {
  /** The kind of op. */
  readonly op: "endStep";
}

/** Everything that an executor knows how to do. */
export type Op =
  | CallOp
  | IfOp
  | RepeatOp
  | LoadOp
  | StoreOp
  | AndOp
  | AddOp
  | SubOp
  | ShrOp
  | FailOp
  | WarnOp
  | ForkOp
  | EndStepOp;

/** What the container needs, the line of config.json that asked for it, and how it is done. */
export interface Step {
  /** What a person would say: `mount devpts on /dev/pts`. */
  readonly label: string;
  /** The field that asked for it. */
  readonly from: ConfigPath;
  /** In order; a failure ends the plan unless the op says otherwise. */
  readonly ops: readonly Op[];
}

/**
 * A whole launch. `stage` runs in the process that the parent spawned and ends by forking; `init` runs in that child,
 * which becomes the container's process.
 */
export interface Plan {
  /** In the host's namespaces at first. */
  readonly stage: readonly Step[];
  /** In the container's. */
  readonly init: readonly Step[];
}
