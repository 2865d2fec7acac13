/**
 * How tests look at plans: which steps there are, what they call, and which bytes the kernel would get.
 *
 * Bytes are worked out here and not by the encoder, so that a mistake in it cannot hide.
 *
 * @module
 */

import { formatCall, formatOp } from "../../lib/plan/explain.ts";
import type { CallOp, Data, Op, Plan, Step, Struct } from "../../lib/plan/op.ts";

export const labels = (steps: readonly Step[]): readonly string[] => steps.map(({ label }) => label);

/** `label` and the field that it comes from. */
export const origins = (steps: readonly Step[]): readonly (readonly [label: string, from: string])[] =>
  steps.map(({ label, from }) => [label, from]);

/** The step with this label. */
export function stepOf(steps: readonly Step[], label: string): Step {
  const found = steps.find((step) => step.label === label);
  if (found === undefined) throw new Error(`no step "${label}" in:\n${labels(steps).join("\n")}`);
  return found;
}

/** What explain prints of the steps' ops, without the labels. */
export const lines = (steps: readonly Step[]): readonly string[] =>
  steps.flatMap(({ ops }) => ops).flatMap((op) => formatOp(op));

/** All ops of a list and inside them, in the order in which they stand. */
export function allOps(ops: readonly Op[]): readonly Op[] {
  return ops.flatMap((op) => [op, ...allOps(inside(op))]);
}

function inside(op: Op): readonly Op[] {
  switch (op.op) {
    case "call":
      return (op.onError ?? []).flatMap((branch) => branch.ops);
    case "if":
      return [...op.then, ...(op.otherwise ?? [])];
    case "repeat":
      return op.body;
    case "fork":
      return [...op.child, ...op.parent];
    default:
      return [];
  }
}

/** The system calls of the steps, those of error branches too. */
export const callsOf = (steps: readonly Step[]): readonly CallOp[] =>
  steps.flatMap(({ ops }) => allOps(ops)).filter((op) => op.op === "call");

/** The same in strace notation. */
export const callLines = (steps: readonly Step[]): readonly string[] =>
  callsOf(steps).map(({ call, args }) => formatCall(call, args));

/** The calls of one name. */
export const callsNamed = (steps: readonly Step[], name: CallOp["call"]): readonly CallOp[] =>
  callsOf(steps).filter(({ call }) => call === name);

/** A struct among the arguments of a call. */
export function structArg({ args, call }: CallOp, index: number): Struct {
  const arg = args[index];
  if (typeof arg !== "object" || !("data" in arg) || arg.data !== "struct") {
    throw new Error(`argument ${index} of ${call} is no struct`);
  }
  return arg;
}

/** The bytes of a struct as hexadecimal digits, a word of 8 digits every 4 bytes. Addresses are 0 and descriptors 0x77. */
export function structHex({ size, words }: Struct): string {
  const bytes = new Uint8Array(size);
  for (const { at, size, value } of words) {
    let rest = BigInt.asUintN(64, BigInt(typeof value !== "object" ? value : "data" in value ? 0 : 0x77));
    for (let index = 0; index < size; index++, rest >>= 8n) bytes[at + index] = Number(rest & 0xffn);
  }
  return bytes.toHex().replace(/.{8}(?=.)/g, "$& ");
}

/** The texts and data that a `char *[]` points to. */
export function pointedTo(data: Data): readonly string[] {
  if (data.data !== "struct") throw new Error("not an array of pointers");
  return data.words.map(({ value }) => {
    if (typeof value === "object" && "data" in value && value.data === "text") return value.text;
    if (typeof value === "object" && "data" in value && value.data === "buffer") return `<${value.name}>`;
    throw new Error("not a pointer to a text");
  });
}

/** Numbers for every fixed descriptor that the plan names, and for `sync`, where reports go. */
export function descriptorsOf({ stage, init }: Plan): Readonly<Record<string, number>> {
  const names = new Set(["sync"]);
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
    if ("fd" in value && typeof value.fd === "string") names.add(value.fd);
    for (const part of Object.values(value)) visit(part);
  };
  visit([stage, init]);
  return Object.fromEntries([...names].map((name, index) => [name, 200 + index]));
}
