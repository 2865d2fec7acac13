/**
 * Prints steps in strace notation.
 *
 * @module
 */

import { CloneFlag, flagTables, formatFlags } from "../ffi/constants.ts";
import { type SyscallName, syscalls } from "../ffi/syscalls.ts";
import type { CallOp, Data, ForkOp, Op, Operand, Plan } from "./op.ts";

/** `"/dev/pts"`, `{attr_set: …}`, `home+5`. */
export function formatData(data: Data): string {
  switch (data.data) {
    case "text":
      return JSON.stringify(data.text);
    case "fdPath":
      return `"self/fd/<${data.fd}>"`;
    case "bytes":
    case "struct":
      return data.show;
    case "buffer":
      return `&${data.name.replaceAll(" ", "_")}`;
    case "at":
      return `${formatData(data.base)}+${data.offset}`;
  }
}

/** Formats a number by its kind, or a descriptor, or data; `$name` is the result of an earlier call. */
export function formatOperand(operand: Operand, kind = "int"): string {
  if (typeof operand === "number") return formatNumber(operand, kind);
  if ("slot" in operand) return `$${operand.slot.replaceAll(" ", "_")}`;
  if ("data" in operand) return formatData(operand);
  return `<${operand.fd}>`;
}

function formatNumber(value: number, kind: string): string {
  const [name, table] = kind.split(":") as [string, string?];
  if (name === "at" && value === -100) return "AT_FDCWD";
  if ((name === "str" || name === "ptr") && value === 0) return "NULL";
  if (name === "oct") return value === 0 ? "0" : `0${value.toString(8)}`;
  if (name === "hex") return `0x${value.toString(16)}`;
  if (name === "dev") return `makedev(${(value >>> 8) & 0xfff}, ${(value & 0xff) | ((value >>> 12) & 0xfff00)})`;
  if (name === "flags") return formatFlags(flagTable(table!), value);
  if (name === "enum") {
    return Object.entries(flagTable(table!)).find(([, number]) => number === value)?.[0] ?? `${value}`;
  }
  return String(value);
}

function flagTable(name: string): Readonly<Record<string, number>> {
  return flagTables[name] ?? {};
}

/** `mount("proc", ".", "proc", MS_NOSUID, NULL)`. */
export function formatCall(name: SyscallName, args: readonly Operand[]): string {
  const kinds = syscalls[name].args.split(" ");
  return `${name}(${args.map((arg, index) => formatOperand(arg, kinds[index])).join(", ")})`;
}

/** Formats how the call handles the errnos that it expects. */
function formatHandled(op: CallOp): string {
  const parts: string[] = [];
  const names = (list: readonly string[]) => list.map((name) => name === "*" ? "any error" : name).join(", ");
  if (op.tolerate?.length) parts.push(`fine if ${names(op.tolerate)}`);
  if (op.endStepOn?.length) parts.push(`step is done if ${names(op.endStepOn)}`);
  return parts.length === 0 ? "" : `  /* ${parts.join("; ")} */`;
}

/** Formats one op as lines, indented by `indent`. */
export function formatOp(op: Op, indent = ""): readonly string[] {
  const deeper = (ops: readonly Op[]) => ops.flatMap((inner) => formatOp(inner, indent + "  "));
  const out = "out" in op && op.out !== undefined ? `${formatOperand(op.out)} = ` : "";
  switch (op.op) {
    case "call":
      return [
        `${indent}${out}${formatCall(op.call, op.args)}${formatHandled(op)}`,
        ...(op.onError ?? []).flatMap(({ errnos, ops }) => [
          `${indent}on ${errnos.map((name) => name === "*" ? "any error" : name).join(", ")}:`,
          ...deeper(ops),
        ]),
      ];
    case "if":
      return [
        `${indent}if ${formatOperand(op.left)} ${op.is} ${formatOperand(op.right)}:`,
        ...deeper(op.then),
        ...(op.otherwise === undefined ? [] : [`${indent}else:`, ...deeper(op.otherwise)]),
      ];
    case "repeat":
      return [
        `${indent}repeat:`,
        ...deeper(op.body),
        `${indent}until ${formatOperand(op.until.left)} == ${formatOperand(op.until.right)}`,
      ];
    case "load":
      return [`${indent}${out}${op.size} bytes at ${formatOperand(op.from)}`];
    case "store":
      return [`${indent}${op.size} bytes at ${formatOperand(op.to)} = ${formatOperand(op.value)}`];
    case "and":
      return [`${indent}${out}${formatOperand(op.left)} & ${formatOperand(op.right)}`];
    case "add":
      return [`${indent}${out}${formatOperand(op.left)}${op.right === 0 ? "" : ` + ${formatOperand(op.right)}`}`];
    case "sub":
      return [`${indent}${out}${formatOperand(op.left)} - ${formatOperand(op.right)}`];
    case "shr":
      return [`${indent}${out}${formatOperand(op.left)} >> ${formatOperand(op.right)}`];
    case "fail":
      return [`${indent}fail: ${op.why}`];
    case "warn":
      return [`${indent}warn: ${op.why}`];
    case "endStep":
      return [`${indent}step is done`];
    case "fork":
      return [
        `${indent}${out}${formatFork(op)}`,
        ...(op.child.length === 0 ? [] : [`${indent}in the child:`, ...deeper(op.child)]),
        ...(op.parent.length === 0 ? [] : [`${indent}in the parent:`, ...deeper(op.parent)]),
      ];
  }
}

function formatFork({ flags, pidfd, intoCgroup }: ForkOp): string {
  if (intoCgroup === undefined) return formatCall("clone", [flags, 0, pidfd ?? 0, 0, 0]);
  const all = `${formatFlags(CloneFlag, flags & ~0xff)}|CLONE_INTO_CGROUP`;
  return `clone3({flags: ${all}, cgroup: ${formatOperand(intoCgroup)}}, 88)`;
}

/** Groups the steps by the process that runs them: steps after the stage's last fork run in its child. */
export function stepsByProcess({ stage, init }: Plan): Plan {
  const fork = stage.findLastIndex(({ ops }) => ops.some(({ op }) => op === "fork"));
  const end = fork < 0 ? stage.length : fork + 1;
  return { stage: stage.slice(0, end), init: [...stage.slice(end), ...init] };
}
