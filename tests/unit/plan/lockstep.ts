/**
 * Runs a plan twice, side by side: its ops as op.ts describes them, and its encoded bytes as format.ts does. Both must make the same
 * system calls with the same arguments, also when calls fail, and tell of failures by the same op and step. Knows nothing of how
 * the encoder does it: loops, shared data and numbers of slots are its own business.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Errno, type ErrnoName } from "../../../lib/ffi/errno.ts";
import { type Arch, syscallNumber } from "../../../lib/ffi/syscalls.ts";
import { encode } from "../../../lib/plan/native/encode.ts";
import { header } from "../../../lib/plan/native/format.ts";
import {
  type CallOp,
  type Data,
  type FailOp,
  type ForkOp,
  NO_CGROUP,
  type Op,
  type Operand,
  type Plan,
  type Slot,
  type Step,
  type Struct,
  type WarnOp,
} from "../../../lib/plan/op.ts";

/** What the kernel is to answer: a result (−errno of a failure), and what it writes to which argument. */
export interface Answer {
  readonly result: number;
  readonly writes?: readonly (readonly [argument: number, bytes: Uint8Array])[];
}

/** What the kernel is called with. */
export interface Called {
  /** A number, or the data that it is the address of. */
  readonly args: readonly Value[];
  /** What is in memory, at the address that is an argument or elsewhere. */
  bytes(where: number | Data, length: number): Uint8Array;
}

/** What happened: each call that was made, and how it ended. */
export interface Trace {
  readonly calls: readonly (CallOp | ForkOp)[];
  readonly end: "exec" | "exit" | "error" | "table ends";
}

/** How to run a plan. */
export interface LockstepOptions {
  readonly arch: Arch;
  readonly fds: Readonly<Record<string, number>>;
  readonly from: "stage" | "init";
  readonly fold?: boolean;
  readonly answer: (op: CallOp | ForkOp, called: Called) => Answer;
}

/** A value of the reference: a number, or where a piece of data is. */
export type Value = bigint | Data;

/** What the two sides tell of. */
type Event =
  | { readonly kind: "call"; readonly op: CallOp; readonly step: Step; readonly args: readonly Value[] }
  | { readonly kind: "fork"; readonly op: ForkOp; readonly step: Step; readonly cgroup: Value | undefined }
  | {
    readonly kind: "report";
    readonly op: CallOp | ForkOp | FailOp | WarnOp;
    readonly step: Step;
    readonly value: bigint;
  };

type MachineEvent =
  | { readonly kind: "call"; readonly number: number; readonly args: readonly bigint[] }
  | { readonly kind: "report"; readonly offset: number; readonly cursor: bigint; readonly value: bigint };

/** Whether ops go on behind one, at the step's end, or nowhere. */
type How = "on" | "endStep" | "dead";

const wrap = (value: bigint) => BigInt.asIntN(64, value);

// --- the ops -----------------------------------------------------------------------------------------------------------------

/** Memory of the reference: numbers as bytes, addresses as what they point to. */
interface Memory {
  readonly bytes: Uint8Array;
  readonly pointers: Map<number, Data>;
}

/** Carries ops out one by one. */
class Reference {
  readonly #slots = new Map<string, Value>();
  readonly #memory = new Map<object | string, Memory>();
  readonly #fds: LockstepOptions["fds"];

  constructor(fds: LockstepOptions["fds"]) {
    this.#fds = fds;
  }

  *steps(steps: readonly Step[]): Generator<Event, "on" | "dead", bigint> {
    for (const step of steps) if ((yield* this.#ops(step.ops, step)) === "dead") return "dead";
    return "on";
  }

  *#ops(ops: readonly Op[], step: Step): Generator<Event, How, bigint> {
    for (const op of ops) {
      const how = yield* this.#op(op, step);
      if (how !== "on") return how;
    }
    return "on";
  }

  *#op(op: Op, step: Step): Generator<Event, How, bigint> {
    switch (op.op) {
      case "call":
        return yield* this.#call(op, step);
      case "if": {
        const same = this.#equal(this.value(op.left), this.value(op.right));
        return yield* this.#ops(same === (op.is === "==") ? op.then : op.otherwise ?? [], step);
      }
      case "repeat": {
        let how: How;
        do how = yield* this.#ops(op.body, step); while (
          how === "on" && !this.#equal(this.value(op.until.left), this.value(op.until.right))
        );
        return how;
      }
      case "load": {
        const { memory, offset } = this.place(this.#data(op.from));
        let value = 0n;
        for (let index = 0; index < op.size; index++) {
          value |= BigInt(memory.bytes[offset + index]!) << BigInt(8 * index);
        }
        this.#slots.set(op.out.slot, wrap(value));
        return "on";
      }
      case "store": {
        const value = this.value(op.value);
        assert(typeof value === "bigint", "stores of addresses are not known here");
        this.write(this.#data(op.to), bytesOf(value, op.size));
        return "on";
      }
      case "and":
      case "add":
      case "sub":
      case "shr":
        this.#slots.set(op.out.slot, this.#combine(op.op, this.value(op.left), this.value(op.right)));
        return "on";
      case "warn":
        yield { kind: "report", op, step, value: this.#number(op.value) };
        return "on";
      case "fail":
        yield { kind: "report", op, step, value: this.#number(op.value) };
        return "dead";
      case "endStep":
        return "endStep";
    }
    return yield* this.#fork(op, step);
  }

  *#call(op: CallOp, step: Step): Generator<Event, How, bigint> {
    const result = yield { kind: "call", op, step, args: op.args.map((arg) => this.value(arg)) };
    const handled = result < 0n ? handlingOf(op, Number(-result)) : "tolerate";
    if (handled === undefined) {
      yield { kind: "report", op, step, value: -result };
      return "dead";
    }
    if (op.out !== undefined) this.#slots.set(op.out.slot, result);
    if (handled === "tolerate") return "on";
    return handled === "endStep" ? "endStep" : yield* this.#ops(handled, step);
  }

  *#fork(op: ForkOp, step: Step): Generator<Event, How, bigint> {
    const result = yield { kind: "fork", op, step, cgroup: op.intoCgroup && this.value(op.intoCgroup) };
    if (result < 0n) {
      yield { kind: "report", op, step, value: -result };
      return "dead";
    }
    this.#slots.set(op.out.slot, result);
    return yield* this.#ops(result === 0n ? op.child : op.parent, step);
  }

  value(operand: Operand): Value {
    // As an operand word: 32 bits, sign-extended.
    if (typeof operand === "number") return BigInt.asIntN(32, BigInt(operand));
    if ("slot" in operand) return this.#slots.get(operand.slot) ?? 0n;
    return "data" in operand ? operand : BigInt(this.#fds[operand.fd]!);
  }

  #number(operand: Operand): bigint {
    const value = this.value(operand);
    assert(typeof value === "bigint");
    return value;
  }

  /** The memory that an operand names, by itself or by its address. */
  #data(operand: Data | Slot): Data {
    const value = this.value(operand);
    assert(typeof value === "object", "this is no address");
    return value;
  }

  #equal(left: Value, right: Value): boolean {
    if (typeof left === "bigint" || typeof right === "bigint") {
      // No piece of data is at an address that a plan would compare a number with.
      return left === right;
    }
    const [one, other] = [this.place(left), this.place(right)];
    return one.key === other.key && one.offset === other.offset;
  }

  #combine(op: "and" | "add" | "sub" | "shr", left: Value, right: Value): Value {
    if (typeof left === "object") return this.#moved(op, left, right);
    assert(typeof right === "bigint");
    switch (op) {
      case "and":
        return wrap(left & right);
      case "add":
        return wrap(left + right);
      case "sub":
        return wrap(left - right);
      case "shr":
        return wrap(BigInt.asUintN(64, left) >> (right & 63n));
    }
  }

  /** An address with a number added to it, or its distance from another one in the same memory. */
  #moved(op: "and" | "add" | "sub" | "shr", left: Data, right: Value): Value {
    if (typeof right === "object") {
      const [to, from] = [this.place(left), this.place(right)];
      assert(op === "sub" && to.key === from.key, "what is this address for?");
      return BigInt(to.offset - from.offset);
    }
    assert(op === "add", "what is this address for?");
    if (right === 0n) return left;
    assert(left.data !== "text" && left.data !== "fdPath");
    const [base, offset] = left.data === "at" ? [left.base, left.offset] : [left, 0];
    return { data: "at", base, offset: offset + Number(right) };
  }

  /** The memory of a piece of data, and the offset that the data means in it. */
  place(data: Data): { memory: Memory; offset: number; key: object | string } {
    const [piece, offset] = data.data === "at" ? [data.base, data.offset] : [data, 0];
    const key = piece.data === "buffer" ? piece.name : piece;
    let memory = this.#memory.get(key);
    if (memory === undefined) this.#memory.set(key, memory = initial(piece, this.#fds));
    return { memory, offset, key };
  }

  write(data: Data, bytes: Uint8Array): void {
    const { memory, offset } = this.place(data);
    memory.bytes.set(bytes, offset);
  }

  read(data: Value | undefined, length: number): Uint8Array {
    assert(typeof data === "object", "this is no address");
    const { memory, offset } = this.place(data);
    return memory.bytes.slice(offset, offset + length);
  }
}

function bytesOf(value: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn));
}

function initial(piece: Exclude<Data, { data: "at" }>, fds: LockstepOptions["fds"]): Memory {
  const text = (content: string): Memory => ({
    bytes: new TextEncoder().encode(content + "\0"),
    pointers: new Map(),
  });
  switch (piece.data) {
    case "text":
      return text(piece.text);
    case "fdPath":
      return text(`self/fd/${fds[piece.fd]}`);
    case "bytes":
      return { bytes: piece.bytes.slice(), pointers: new Map() };
    case "buffer":
      return { bytes: new Uint8Array(piece.size), pointers: new Map() };
    case "struct":
      return initialStruct(piece, fds);
  }
}

function initialStruct({ size, words }: Struct, fds: LockstepOptions["fds"]): Memory {
  const memory: Memory = { bytes: new Uint8Array(size), pointers: new Map() };
  for (const { at, size, value } of words) {
    if (typeof value === "object" && "data" in value) memory.pointers.set(at, value);
    else memory.bytes.set(bytesOf(BigInt(typeof value === "object" ? fds[value.fd]! : value), size), at);
  }
  return memory;
}

/** What a call says about one of its errnos. The first that names it decides; `*` is every errno. */
function handlingOf(op: CallOp, errno: number): "tolerate" | "endStep" | readonly Op[] | undefined {
  const fits = (names: readonly (ErrnoName | "*")[]) => names.some((name) => name === "*" || Errno[name] === errno);
  if (fits(op.tolerate ?? [])) return "tolerate";
  if (fits(op.endStepOn ?? [])) return "endStep";
  return op.onError?.find(({ errnos }) => fits(errnos))?.ops;
}

// --- the bytes ---------------------------------------------------------------------------------------------------------------

/** Walks an instruction table. */
class Machine {
  readonly memory: Uint8Array;
  readonly view: DataView;
  readonly base: bigint;
  readonly #slots = new BigInt64Array(255);
  readonly #end: number;

  constructor(image: Uint8Array<ArrayBuffer>) {
    const elf = new DataView(image.buffer);
    // The second program header of elf(5): file offset, address, size in the file and in memory.
    const segment = Number(elf.getBigUint64(32, true)) + 56;
    const [offset, address, fileSize, memorySize] = [8, 16, 32, 40].map((at) =>
      elf.getBigUint64(segment + at, true)
    ) as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    this.memory = new Uint8Array(Number(memorySize));
    this.memory.set(image.subarray(Number(offset), Number(offset + fileSize)));
    this.view = new DataView(this.memory.buffer);
    this.base = address;
    this.#end = this.field(header.table) + this.field(header.tableLength);
  }

  field(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  *run(entry: number): Generator<MachineEvent, void, bigint> {
    for (let at = entry; at !== this.#end;) {
      assert(at >= this.field(header.table) && at < this.#end, `a jump to ${at}`);
      const next = yield* this.#instruction(at);
      if (next === undefined) return;
      at = next;
    }
  }

  *#instruction(at: number): Generator<MachineEvent, number | undefined, bigint> {
    const code = this.view.getUint16(at, true);
    const kinds = this.view.getUint16(at + 2, true);
    const [operands, out, handlers] = [4, 5, 6].map((index) => this.view.getUint8(at + index)) as [
      number,
      number,
      number,
    ];
    const args = Array.from(
      { length: operands },
      (_, index) => this.#operand((kinds >> (2 * index)) & 3, at + 8 + 4 * index),
    );
    const next = at + 8 + 4 * (operands + handlers);
    const [a = 0n, b = 0n, c = 0n] = args;
    const set = (value: bigint) => {
      if (out !== 0xff) this.#slots[out] = value;
      return next;
    };
    switch (code) {
      case 0x8000:
        return Number(a);
      case 0x8001:
        return a === b ? Number(c) : next;
      case 0x8002:
        return a !== b ? Number(c) : next;
      case 0x8003: {
        let value = 0n;
        for (let index = 0; index < Number(b); index++) {
          value |= BigInt(this.memory[this.offset(a) + index]!) << BigInt(8 * index);
        }
        return set(wrap(value));
      }
      case 0x8004:
        this.memory.set(bytesOf(c, Number(b)), this.offset(a));
        return next;
      case 0x8005:
        return set(a & b);
      case 0x8006:
        return set(wrap(a + b));
      case 0x800a:
        return set(wrap(a - b));
      case 0x8007:
        return set(wrap(BigInt.asUintN(64, a) >> (b & 63n)));
      case 0x8008:
        yield this.#report(at, a);
        return undefined;
      case 0x8009:
        yield this.#report(at, a);
        return next;
      default: {
        const result = yield { kind: "call", number: code, args };
        if (result >= 0n) return set(result);
        for (let index = 0; index < handlers; index++) {
          const handler = this.view.getUint32(at + 8 + 4 * (operands + index), true);
          if (handler >>> 24 !== 0xff && BigInt(handler >>> 24) !== -result) continue;
          set(result);
          return (handler & 0xffffff) === 0 ? next : (handler & 0xffffff) * 4;
        }
        yield this.#report(at, -result);
        return undefined;
      }
    }
  }

  #operand(kind: number, at: number): bigint {
    const word = this.view.getUint32(at, true);
    if (kind === 1) return this.#slots[word]!;
    return kind === 2 ? BigInt(word) : BigInt(word | 0);
  }

  #report(offset: number, value: bigint): MachineEvent {
    return { kind: "report", offset, value, cursor: this.#slots[0]! };
  }

  /** Offset in memory of an absolute address. A plan has no address of its own header or instructions. */
  offset(address: bigint): number {
    const offset = Number(address - this.base);
    assert(
      offset >= this.field(header.data) && offset < this.memory.length,
      `an address outside of the program's data: 0x${address.toString(16)}`,
    );
    return offset;
  }
}

// --- side by side ------------------------------------------------------------------------------------------------------------

/** Compares what data is to be with what is at an address. Written memory must always be at the same place. */
class Comparison {
  readonly #addresses = new Map<object | string, bigint>();

  constructor(readonly machine: Machine, readonly reference: Reference) {}

  same(data: Data, address: bigint, what: string): void {
    const { memory, offset, key } = this.reference.place(data);
    const start = address - BigInt(offset);
    const { bytes, pointers } = memory;
    const at = this.machine.offset(start);
    const found = this.machine.memory.slice(at, at + bytes.length);
    for (const [place, target] of pointers) {
      this.same(target, this.machine.view.getBigUint64(at + place, true), `${what}, pointer at ${place}`);
      found.set(bytes.subarray(place, place + 8), place);
    }
    // Most often equal, and then there is no need for two texts of a page.
    if (!bytes.every((byte, index) => byte === found[index])) assertEquals(found.toHex(), bytes.toHex(), what);
    const known = this.#addresses.get(key);
    if (known === undefined) this.#addresses.set(key, start);
    else assertEquals(start, known, `${what} is where it was`);
  }
}

/** Runs one process of the plan to its end. Fails where ops and bytes differ. */
export function lockstep(plan: Plan, options: LockstepOptions): Trace {
  const { image, instructionAt } = encode(plan, options);
  const machine = new Machine(image);
  const reference = new Reference(options.fds);
  const comparison = new Comparison(machine, reference);
  const steps = options.from === "stage" ? [...plan.stage, ...plan.init] : plan.init;
  const expected = reference.steps(steps);
  const found = machine.run(machine.field(options.from === "stage" ? header.entry : header.initEntry));
  const calls: (CallOp | ForkOp)[] = [];
  let [left, right] = [expected.next(), found.next()];
  for (;;) {
    if (left.done) {
      assertEquals(right.done, true, "the bytes go on");
      return { calls, end: left.value === "dead" ? "error" : "table ends" };
    }
    assert(!right.done, `the bytes end before ${left.value.step.label}`);
    const [event, told] = [left.value, right.value];
    if (event.kind === "report") {
      checkReport(event, told, instructionAt);
      [left, right] = [expected.next(0n), found.next(0n)];
      continue;
    }
    checkCall(event, told, comparison, options.arch);
    calls.push(event.op);
    const args = event.kind === "call" ? event.args : [];
    const { result, writes = [] } = options.answer(event.op, {
      args,
      bytes: (where, length) => reference.read(typeof where === "number" ? args[where] : where, length),
    });
    for (const [argument, bytes] of writes) {
      const data = args[argument];
      assert(typeof data === "object" && told.kind === "call");
      reference.write(data, bytes);
      machine.memory.set(bytes, machine.offset(told.args[argument]!));
    }
    if (event.kind === "call" && event.op.call === "exit_group") return { calls, end: "exit" };
    if (event.kind === "call" && event.op.call === "execve" && result === 0) return { calls, end: "exec" };
    [left, right] = [expected.next(BigInt(result)), found.next(BigInt(result))];
  }
}

function checkReport(
  event: Event & { kind: "report" },
  told: MachineEvent,
  instructionAt: (offset: number, cursor: bigint) => { op: Op; step: Step } | undefined,
): void {
  const where = `the report of ${event.step.label}`;
  assertEquals(told.kind, "report", where);
  if (told.kind !== "report") return;
  assertEquals(told.value, event.value, where);
  const blamed = instructionAt(told.offset, told.cursor);
  assertEquals(blamed?.step.label, event.step.label, where);
  assert(blamed?.step === event.step && blamed.op === event.op, `${where} names the op`);
}

function checkCall(
  event: Event & { kind: "call" | "fork" },
  told: MachineEvent,
  comparison: Comparison,
  arch: Arch,
): void {
  const where = event.step.label;
  assertEquals(told.kind, "call", where);
  if (told.kind !== "call") return;
  if (event.kind === "fork") return checkFork(event, told, comparison, arch);
  assertEquals(told.number, syscallNumber(event.op.call, arch), where);
  event.args.forEach((value, index) => {
    const what = `${where}: argument ${index} of ${event.op.call}`;
    if (typeof value === "object") comparison.same(value, told.args[index]!, what);
    else assertEquals(told.args[index] ?? 0n, value, what);
  });
}

/** clone(2), or where there is a cgroup clone3(2) with a struct that holds its descriptor. */
function checkFork(
  { op, step, cgroup }: Event & { kind: "fork" },
  { number, args }: MachineEvent & { kind: "call" },
  { machine }: Comparison,
  arch: Arch,
): void {
  const isPlain = cgroup === undefined || cgroup === BigInt(NO_CGROUP);
  assertEquals(number, syscallNumber(isPlain ? "clone" : "clone3", arch), step.label);
  if (isPlain) return assertEquals(args[0], BigInt(op.flags), step.label);
  const at = machine.offset(args[0]!);
  assertEquals(machine.view.getBigUint64(at, true), BigInt(op.flags & ~0xff) | (1n << 33n), step.label);
  assertEquals([machine.view.getBigUint64(at + 80, true), args[1]], [cgroup, 88n], step.label);
}
