/**
 * The errors for what stage and init report: a place in the plan and a number become a step, a call, a field and a hint.
 * Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { errnoName, errnoText } from "../../ffi/errno.ts";
import type { ExitStatus } from "../../ffi/process/process.ts";
import { formatCall } from "../../plan/explain.ts";
import type { Instruction } from "../../plan/lower.ts";
import type { CallOp, FailOp, Step, WarnOp } from "../../plan/op.ts";
import { statusText } from "./host_hooks.ts";

/** The error of the step whose instruction has reported `value`. `hooksSaid`: what hooks in the container printed. */
export function stepFailure(instruction: Instruction, value: number, hooksSaid: () => string): RuncError {
  const { op, step } = instruction;
  return op.op === "fail" ? declared(op, step, value, hooksSaid) : callFailure(instruction, value);
}

/** The text of a warning; undefined for an instruction that does not warn. */
export function stepWarning({ op }: Instruction, value: number): string | undefined {
  if (op.op !== "warn") return undefined;
  const { why } = op as WarnOp;
  return value === 0 ? why : `${why}: ${errnoText(Math.abs(value))}`;
}

function declared(op: FailOp, step: Step, value: number, hooksSaid: () => string): RuncError {
  let message = op.why.replace("{}", String(value));
  if (message.includes("{wait}")) {
    const status: ExitStatus = (value & 0x7f) === 0 ? { code: (value >> 8) & 0xff } : { signal: value & 0x7f };
    message = message.replace("{wait}", `${statusText(status)}, ${hooksSaid()}`);
  }
  const code = step.from.startsWith("/hooks")
    ? "hook-failed"
    : step.from.startsWith("/process/args")
    ? "command-failed"
    : "step-failed";
  return new RuncError(code, message, { field: step.from || undefined, step: step.label, hint: op.hint });
}

function isCall(op: Instruction["op"]): op is CallOp {
  return op.op === "call";
}

/** The error for a failed system call, with the operation's own text for this errno if there is one. */
function callFailure({ op, step, code, args }: Instruction, errno: number): RuncError {
  const name = errnoName(errno) as keyof NonNullable<CallOp["meaning"]>;
  const meaning = isCall(op) ? op.meaning : undefined;
  const hint = isCall(op) ? op.hint : undefined;
  const call = isCall(op) ? formatCall(op.call, op.args) : `${code}(${args.length} arguments)`;
  const exact = meaning?.[name];
  const message = exact ??
    `${meaning?.["*"] ?? `cannot ${step.label}: ${isCall(op) ? op.call : code}`}: ${errnoText(errno)}`;
  return new RuncError(step.from.startsWith("/process/args") ? "command-failed" : "step-failed", message, {
    field: step.from || undefined,
    step: step.label,
    call,
    errno,
    errnoName: name,
    hint: hint?.[name] ?? hint?.["*"],
  });
}

/** The interpreters die by these signals if exit_group(2) returns. */
const TRAPS: readonly number[] = [4, 5];

/** Whether a process died because its filter refuses exit_group(2). */
export const isTrap = (status: ExitStatus | undefined): boolean =>
  status !== undefined && "signal" in status && TRAPS.includes(status.signal);

/** The error for a process that has ended before it was ready. */
export function deathError(who: string, status: ExitStatus | undefined): RuncError {
  return new RuncError("step-failed", deathText(who, status), { hint: deathHint(status) });
}

function deathHint(status: ExitStatus | undefined): string | undefined {
  if (!isTrap(status)) return undefined;
  return "linux.seccomp refuses exit_group: allow it and the other system calls that every program requires";
}

function deathText(who: string, status: ExitStatus | undefined): string {
  if (status !== undefined && "signal" in status && status.signal === 9) {
    return `${who} was killed: was it out of memory? (memory limit too low?)`;
  }
  return `${who} ended before it was ready: ${status === undefined ? "ended" : statusText(status)}`;
}
