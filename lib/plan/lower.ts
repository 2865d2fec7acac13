/**
 * Turns structured ops into a flat list of instructions with labels, which the encoder lays out.
 *
 * @module
 */

import { CloneFlag, formatFlags } from "../ffi/constants.ts";
import { Errno, type ErrnoName } from "../ffi/errno.ts";
import type { SyscallName } from "../ffi/syscalls.ts";
import { at, struct } from "./build.ts";
import { ANY_ERRNO, type Opcode } from "./native/format.ts";
import {
  type CallOp,
  type ForkOp,
  type IfOp,
  NO_CGROUP,
  type Op,
  type Operand,
  type Plan,
  type RepeatOp,
  type Slot,
  type Step,
} from "./op.ts";

/** A place in the list. `at` is the index of an instruction, once it is known. */
export interface Label {
  at?: number;
}

/** Whether an instruction's argument is a label. */
export function isLabel(arg: Operand | Label): arg is Label {
  return typeof arg === "object" && !("slot" in arg) && !("fd" in arg) && !("data" in arg);
}

/** Where execution continues after a handled errno; without a target at the next instruction. */
export interface Handler {
  readonly errno: number;
  readonly target?: Label;
}

/** One instruction with symbolic operands. */
export interface Instruction {
  readonly code: SyscallName | keyof typeof Opcode;
  readonly args: readonly (Operand | Label)[];
  readonly out?: Slot;
  readonly handlers: readonly Handler[];
  readonly retryAgain: boolean;
  /** The step and the op that it comes from, for error messages. */
  readonly step: Step;
  readonly op: Op;
}

/** A flat plan. `initEntry`: index of the first instruction of init. */
export interface Lowered {
  readonly instructions: readonly Instruction[];
  readonly initEntry: number;
}

const NONE: readonly Handler[] = [];

/**
 * Every container start runs this code, and V8 mostly interprets it. There, for-of creates an object per turn, and so
 * does each callback. So the loops count.
 */

class Lowering {
  readonly list: Instruction[] = [];
  #step!: Step;
  #endOfStep!: Label;

  steps(steps: readonly Step[]): void {
    for (let index = 0; index < steps.length; index++) {
      const step = steps[index]!;
      this.#step = step;
      this.#endOfStep = {};
      this.#ops(step.ops);
      this.#place(this.#endOfStep);
    }
  }

  #place(label: Label): void {
    label.at = this.list.length;
  }

  #emit(
    op: Op,
    code: Instruction["code"],
    args: Instruction["args"],
    out?: Slot,
    handlers: readonly Handler[] = NONE,
    retryAgain = false,
  ): void {
    this.list.push({ code, args, out, handlers, retryAgain, step: this.#step, op });
  }

  #ops(ops: readonly Op[]): void {
    for (let index = 0; index < ops.length; index++) this.#op(ops[index]!);
  }

  #op(op: Op): void {
    switch (op.op) {
      case "call":
        return this.#call(op);
      case "if":
        return this.#if(op);
      case "repeat":
        return this.#repeat(op);
      case "fork":
        return this.#fork(op);
      case "load":
        return this.#emit(op, "load", [op.from, op.size], op.out);
      case "store":
        return this.#emit(op, "store", [op.to, op.size, op.value]);
      case "and":
      case "add":
      case "sub":
      case "shr":
        return this.#emit(op, op.op, [op.left, op.right], op.out);
      case "fail":
      case "warn":
        return this.#emit(op, op.op, [op.value]);
      case "endStep":
        return this.#emit(op, "jump", [this.#endOfStep]);
    }
  }

  #call(op: CallOp): void {
    const { out, retryAgain, tolerate, endStepOn, onError } = op;
    if (tolerate === undefined && endStepOn === undefined && onError === undefined) {
      return this.#emit(op, op.call, op.args, out, NONE, retryAgain);
    }
    const handlers: Handler[] = [];
    if (tolerate !== undefined) addHandlers(handlers, tolerate);
    if (endStepOn !== undefined) addHandlers(handlers, endStepOn, this.#endOfStep);
    if (onError === undefined) return this.#emit(op, op.call, op.args, out, handlers, retryAgain);
    const starts: Label[] = [];
    for (let index = 0; index < onError.length; index++) {
      const start: Label = {};
      starts.push(start);
      addHandlers(handlers, onError[index]!.errnos, start);
    }
    this.#emit(op, op.call, op.args, out, handlers, retryAgain);
    if (starts.length > 0) this.#branches(op, onError, starts);
  }

  #branches(op: CallOp, branches: NonNullable<CallOp["onError"]>, starts: readonly Label[]): void {
    const done: Label = {};
    this.#emit(op, "jump", [done]);
    for (let index = 0; index < branches.length; index++) {
      const { ops } = branches[index]!;
      this.#place(starts[index]!);
      this.#ops(ops);
      if (index < branches.length - 1 && goesOn(ops)) this.#emit(op, "jump", [done]);
    }
    this.#place(done);
  }

  #if(op: IfOp): void {
    const otherwise: Label = {};
    const done: Label = {};
    this.#emit(op, op.is === "==" ? "jumpNotEqual" : "jumpEqual", [op.left, op.right, otherwise]);
    this.#ops(op.then);
    if (op.otherwise !== undefined && goesOn(op.then)) this.#emit(op, "jump", [done]);
    this.#place(otherwise);
    this.#ops(op.otherwise ?? []);
    this.#place(done);
  }

  #repeat(op: RepeatOp): void {
    const start: Label = {};
    this.#place(start);
    this.#ops(op.body);
    this.#emit(op, "jumpNotEqual", [op.until.left, op.until.right, start]);
  }

  #fork(op: ForkOp): void {
    const child: Label = {};
    const done: Label = {};
    if (op.intoCgroup === undefined) this.#emit(op, "clone", [op.flags, 0, op.pidfd ?? 0, 0, 0], op.out);
    else this.#cloneIntoCgroup(op, op.intoCgroup);
    this.#emit(op, "jumpEqual", [op.out, 0, child]);
    this.#ops(op.parent);
    if (goesOn(op.parent)) this.#emit(op, "jump", [done]);
    this.#place(child);
    this.#ops(op.child);
    this.#place(done);
  }

  #cloneIntoCgroup(op: ForkOp, cgroup: Slot): void {
    const flags = (op.flags & ~0xff) + CLONE_INTO_CGROUP;
    // struct clone_args, 88 bytes (CLONE_ARGS_SIZE_VER2): flags first, cgroup last. clone3(2)
    const args = struct(`{flags: ${formatFlags(CloneFlag, op.flags & ~0xff)}|CLONE_INTO_CGROUP}`, 88, [
      { at: 0, size: 8, value: flags },
    ]);
    const plain: Label = {};
    const done: Label = {};
    this.#emit(op, "jumpEqual", [cgroup, NO_CGROUP, plain]);
    this.#emit(op, "store", [at(args, 80), 8, cgroup]);
    this.#emit(op, "clone3", [args, 88], op.out);
    this.#emit(op, "jump", [done]);
    this.#place(plain);
    this.#emit(op, "clone", [op.flags], op.out);
    this.#place(done);
  }
}

/** include/uapi/linux/sched.h. It does not fit into 32 bits. */
const CLONE_INTO_CGROUP = 0x200000000;

/** Whether execution can continue after these ops. */
function goesOn(ops: readonly Op[]): boolean {
  if (ops.length === 0) return true;
  const last = ops[ops.length - 1]!;
  return !(last.op === "fail" || last.op === "endStep" || (last.op === "call" && last.call === "exit_group"));
}

function addHandlers(handlers: Handler[], names: readonly (ErrnoName | "*")[], target?: Label): void {
  for (let index = 0; index < names.length; index++) {
    const name = names[index]!;
    const errno = name === "*" ? ANY_ERRNO : Errno[name];
    handlers.push(target === undefined ? { errno } : { errno, target });
  }
}

/** Flattens a plan. Equal plans give equal lists. */
export function lower(plan: Plan): Lowered {
  const lowering = new Lowering();
  lowering.steps(plan.stage);
  const initEntry = lowering.list.length;
  lowering.steps(plan.init);
  return { instructions: lowering.list, initEntry };
}
