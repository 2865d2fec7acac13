/**
 * The plan's vocabulary: a container's setup as data.
 *
 * A {@link Step} says what is done, which field of config.json asked for it, and which {@link Op}s do it. Ops name
 * system calls with symbolic operands. Control flow is structured; its only conditions are errnos and slot values.
 * Pure: nothing here touches the system.
 *
 * @module
 */

import type { SyscallName } from "../ffi/syscalls.ts";
import type { ErrnoName } from "../ffi/errno.ts";

/** A JSON pointer into config.json such as `/mounts/2`; empty if no field asked for the step. */
export type ConfigPath = string;

/** A named 64-bit result of an earlier op. The value is only known when the plan runs. */
export interface Slot {
  /** The name. Within a plan equal names are one slot. */
  readonly slot: string;
}

/** A descriptor whose number is fixed when the plan is encoded. The parent passes it to the stage at that number. */
export interface FixedFd {
  /** The name. The parent knows the number. */
  readonly fd: string;
}

/** Data in the image. As an operand its address is passed. */
export type Data = Text | FdPath | Bytes | Buffer | Struct | At;

/** A NUL-terminated UTF-8 string. Equal strings are stored once. */
export interface Text {
  /** The kind of data. */
  readonly data: "text";
  /** Without the NUL. */
  readonly text: string;
}

/** `self/fd/<number of fd>`: the path of a fixed descriptor below a procfs mount. */
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

/** Zeroed writable memory of `size` bytes. Buffers with the same name share memory. */
export interface Buffer {
  /** The kind of data. */
  readonly data: "buffer";
  /** Buffers with the same name share memory. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A C struct or array: words at offsets. A word is a number, a fixed descriptor's number or an address. */
export interface Struct {
  /** The kind of data. */
  readonly data: "struct";
  /** In bytes. Bytes without a word are zero. */
  readonly size: number;
  /** The words that are not zero. */
  readonly words: readonly Word[];
  /** How explain prints it. */
  readonly show: string;
}

/** One little-endian word of a {@link Struct}. An address takes 8 bytes. */
export interface Word {
  /** Offset in bytes. */
  readonly at: number;
  /** In bytes. */
  readonly size: 1 | 2 | 4 | 8;
  /** The content. */
  readonly value: number | bigint | FixedFd | Data;
}

/** The address `offset` bytes into another piece of data. */
export interface At {
  /** The kind of data. */
  readonly data: "at";
  /** The data that it points into. */
  readonly base: Bytes | Buffer | Struct;
  /** In bytes. */
  readonly offset: number;
}

/** An operand of a system call or an op: a number, an earlier result, a descriptor, or the address of data. */
export type Operand = number | Slot | FixedFd | Data;

/** One system call. A negative result ends the plan unless its errno is listed here. */
export interface CallOp {
  /** The kind of op. */
  readonly op: "call";
  /** The system call. */
  readonly call: SyscallName;
  /** Its arguments. Missing ones are 0. */
  readonly args: readonly Operand[];
  /** Receives the result, or −errno of a tolerated failure. */
  readonly out?: Slot;
  /** After these errnos the plan continues as if the call had succeeded. */
  readonly tolerate?: readonly (ErrnoName | "*")[];
  /** After these errnos the step is done. */
  readonly endStepOn?: readonly (ErrnoName | "*")[];
  /**
   * After these errnos `ops` run, then the plan continues after the call. `"*"` stands for every errno that is not
   * listed before it.
   */
  readonly onError?: readonly { readonly errnos: readonly (ErrnoName | "*")[]; readonly ops: readonly Op[] }[];
  /** EAGAIN means that a rename raced with the call. It is retried at most 128 times (openat2(2), RESOLVE_IN_ROOT). */
  readonly retryAgain?: boolean;
  /** A message for a given errno of this call (`"*"`: any), instead of the generic one. */
  readonly meaning?: Readonly<Partial<Record<ErrnoName | "*", string>>>;
  /** A hint for a given errno of this call. */
  readonly hint?: Readonly<Partial<Record<ErrnoName | "*", string>>>;
}

/** Runs `then` if the comparison is true, else `otherwise`. */
export interface IfOp {
  /** The kind of op. */
  readonly op: "if";
  /** Compared with `right` as 64 bits. */
  readonly left: Operand;
  /** The comparison. */
  readonly is: "==" | "!=";
  /** Compared with `left`. */
  readonly right: Operand;
  /** Runs if the comparison is true. */
  readonly then: readonly Op[];
  /** Runs if the comparison is false. */
  readonly otherwise?: readonly Op[];
}

/** Runs `body`, and repeats it until `left` equals `right`. */
export interface RepeatOp {
  /** The kind of op. */
  readonly op: "repeat";
  /** The ops to repeat. */
  readonly body: readonly Op[];
  /** The loop ends when these are equal. */
  readonly until: { readonly left: Operand; readonly right: Operand };
}

/** Reads `size` bytes from memory into `out`, zero-extended. */
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
  /** The value to write. */
  readonly value: Operand;
}

/** `out = left & right`. */
export interface AndOp {
  /** The kind of op. */
  readonly op: "and";
  /** One operand. */
  readonly left: Operand;
  /** The other operand. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** `out = left + right`. With `right` 0 it copies `left`. */
export interface AddOp {
  /** The kind of op. */
  readonly op: "add";
  /** One operand. */
  readonly left: Operand;
  /** The other operand. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** `out = left - right`. */
export interface SubOp {
  /** The kind of op. */
  readonly op: "sub";
  /** The minuend. */
  readonly left: Operand;
  /** The subtrahend. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** `out = left >> right`, unsigned. */
export interface ShrOp {
  /** The kind of op. */
  readonly op: "shr";
  /** The 64-bit value to shift. */
  readonly left: Operand;
  /** The number of bits, 0 to 63. */
  readonly right: Operand;
  /** Receives the result. */
  readonly out: Slot;
}

/** Ends the plan with an error that carries `value` (an exit status, an errno, the content of an address). */
export interface FailOp {
  /** The kind of op. */
  readonly op: "fail";
  /** Reported with the error. */
  readonly value: Operand;
  /** The error message; `{}` stands for the value. */
  readonly why: string;
  /** What the user can do about it. */
  readonly hint?: string;
}

/** Sends the parent a warning and continues. */
export interface WarnOp {
  /** The kind of op. */
  readonly op: "warn";
  /** Reported with the warning: an errno, or 0. */
  readonly value: Operand;
  /** The warning's message. */
  readonly why: string;
}

/**
 * clone(2) without a new stack. `child` runs in the new process, `parent` in the old one. Both continue after the op
 * unless their ops end the process. `out` is the child's pid in the parent and 0 in the child.
 */
export interface ForkOp {
  /** The kind of op. */
  readonly op: "fork";
  /** CLONE_* flags, with the exit signal in the low byte. */
  readonly flags: number;
  /** Memory for the child's pidfd. `flags` must then contain CLONE_PIDFD. */
  readonly pidfd?: Data;
  /**
   * Directory of the cgroup2 that the child starts in: clone3(2), CLONE_INTO_CGROUP. The exit signal must then come
   * from CLONE_PARENT. If it is {@link NO_CGROUP}, the child starts in the cgroup of the process that forks.
   */
  readonly intoCgroup?: Slot;
  /** Receives the pid. */
  readonly out: Slot;
  /** Runs in the child only. */
  readonly child: readonly Op[];
  /** Runs in the parent only. */
  readonly parent: readonly Op[];
}

/** The value of the slot if the child has no directory to start in. @see ForkOp.intoCgroup */
export const NO_CGROUP = -1;

/** Ends the step. The next step runs. */
export interface EndStepOp {
  /** The kind of op. */
  readonly op: "endStep";
}

/** Every op that an executor supports. */
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

/** One thing that the container needs: what it is, which field of config.json asked for it, and the ops that do it. */
export interface Step {
  /** What the step does, in words: `mount devpts on /dev/pts`. */
  readonly label: string;
  /** The field that asked for it. */
  readonly from: ConfigPath;
  /** Run in order. A failure ends the plan unless the op handles it. */
  readonly ops: readonly Op[];
}

/**
 * A whole launch. `stage` runs in the process that the parent spawned, and ends by forking. `init` runs in its child,
 * which becomes the container's process.
 */
export interface Plan {
  /** Starts in the host's namespaces. */
  readonly stage: readonly Step[];
  /** Runs in the container's namespaces. */
  readonly init: readonly Step[];
}
