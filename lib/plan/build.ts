/**
 * Short names for building ops. Each function only returns data.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import type { SyscallName } from "../ffi/syscalls.ts";
import type {
  AddOp,
  At,
  Buffer,
  Bytes,
  CallOp,
  Data,
  FailOp,
  FixedFd,
  IfOp,
  LoadOp,
  Op,
  Operand,
  Slot,
  Step,
  StoreOp,
  Struct,
  Text,
  Word,
} from "./op.ts";

/** A named result. Within a plan the same name is the same slot. */
export const slot = (name: string): Slot => ({ slot: name });

/** The address of the initial stack: argc, argv, environment. @see STACK_SLOT in native/format.ts */
export const stack: Slot = slot("stack");

/** A descriptor, by its name in the encoder's table. */
export const fixedFd = (name: string): FixedFd => ({ fd: name });

/**
 * @throws {RuncError} `config-invalid` if the text contains a NUL, where C would end it. A config that was read from a
 * file has none.
 */
export function text(value: string): Text {
  if (value.includes("\0")) throw new RuncError("config-invalid", `${JSON.stringify(value)} contains a NUL byte`);
  return { data: "text", text: value };
}

export const bytes = (value: Uint8Array, show: string): Bytes => ({ data: "bytes", bytes: value, show });
export const buffer = (name: string, size: number): Buffer => ({ data: "buffer", name, size });
export const struct = (show: string, size: number, words: readonly Word[]): Struct => ({
  data: "struct",
  size,
  words,
  show,
});
export const at = (base: At["base"], offset: number): At => ({ data: "at", base, offset });

/** `char *[]` of the texts, terminated by NULL. */
export function stringPointers(items: readonly (string | Data)[], show: string): Struct {
  const words = items.map((item, index): Word => ({
    at: 8 * index,
    size: 8,
    value: typeof item === "string" ? text(item) : item,
  }));
  return struct(show, 8 * (items.length + 1), words);
}

const operand = (arg: Operand | string) => typeof arg === "string" ? text(arg) : arg;

/** A system call. Strings become NUL-terminated data. */
export function call(
  name: SyscallName,
  args: readonly (Operand | string)[],
  options?: Omit<CallOp, "op" | "call" | "args">,
): CallOp {
  const operands = args.map(operand);
  if (options === undefined) return { op: "call", call: name, args: operands };
  // V8 copies an object fast only where it comes first.
  return { ...options, op: "call", call: name, args: operands };
}

export const load = (from: LoadOp["from"], size: LoadOp["size"], out: Slot): LoadOp => ({
  op: "load",
  from,
  size,
  out,
});
export const store = (to: StoreOp["to"], size: StoreOp["size"], value: Operand): StoreOp => ({
  op: "store",
  to,
  size,
  value,
});
export const fail = (value: Operand, why: string, hint?: string): FailOp => ({ op: "fail", value, why, hint });

export const when = (
  left: Operand,
  is: IfOp["is"],
  right: Operand,
  then: readonly Op[],
  otherwise?: readonly Op[],
): IfOp => ({ op: "if", left, is, right, then, otherwise });

/** `out = value`. */
export const set = (out: Slot, value: Operand): AddOp => ({ op: "add", left: value, right: 0, out });

const sign = slot("sign");

/** Runs `then` if a call's result is −errno, else `otherwise`. */
export function whenFailed(result: Slot, then: readonly Op[], otherwise?: readonly Op[]): readonly Op[] {
  return [{ op: "shr", left: result, right: 63, out: sign }, when(sign, "!=", 0, then, otherwise)];
}

export const step = (label: string, from: string, ops: readonly Op[]): Step => ({ label, from, ops });
