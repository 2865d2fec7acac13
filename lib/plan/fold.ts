/**
 * Makes an encoded plan smaller: consecutive steps of the same shape (ten masked paths, forty capabilities) become one
 * loop over a table of their differences. The plan itself stays a list of single steps; only its encoding is folded,
 * and an error message names the step that failed, not the loop.
 *
 * @module
 */

import type { DataKeys } from "./data_key.ts";
import { HEAD_SIZE } from "./native/format.ts";
import { runTurns, TURN, type Waits } from "../ffi/waits.ts";
import { at, slot, struct } from "./build.ts";
import { type Handler, type Instruction, isLabel, type Label, type Lowered } from "./lower.ts";
import { countSlots } from "./share_slots.ts";
import type { Operand, Slot, Step, Struct, Word } from "./op.ts";

/** Points to the row after the loop's current one. Reports carry its value. Always the first slot. */
export const cursor: Slot = slot("cursor");

/** An instruction of a folded plan. */
export interface Folded extends Instruction {
  /** In a loop: the instruction that it stands for in each turn, and the table that the cursor walks through. */
  readonly turns?: { readonly instructions: readonly Instruction[]; readonly table: Struct; readonly rowSize: number };
}

/** A folded plan. */
export interface FoldedPlan {
  readonly instructions: readonly Folded[];
  readonly initEntry: number;
}

/** The instructions of one step: `list[start]` up to `list[end]`. */
interface Block {
  readonly step: Step;
  readonly start: number;
  readonly end: number;
}

function blocksOf(list: readonly Instruction[]): readonly Block[] {
  const blocks: Block[] = [];
  for (let start = 0; start < list.length;) {
    let end = start + 1;
    while (end < list.length && list[end]!.step === list[start]!.step) end++;
    blocks.push({ step: list[start]!.step, start, end });
    start = end;
  }
  return blocks;
}

/**
 * Whether the labels are the same place in both blocks. False for a label outside its block: it must not leave the
 * loop.
 */
function sameTarget(one: Label, block: Block, other: Label, otherBlock: Block): boolean {
  const place = one.at! - block.start;
  return place === other.at! - otherBlock.start && place >= 0 && place <= block.end - block.start;
}

function sameArgument(one: Operand | Label, block: Block, other: Operand | Label, otherBlock: Block): boolean {
  if (isLabel(one)) return isLabel(other) && sameTarget(one, block, other, otherBlock);
  return !isLabel(other) && slotOf(one) === slotOf(other);
}

function slotOf(value: Operand): string | undefined {
  return typeof value === "object" && "slot" in value ? value.slot : undefined;
}

function sameHandler(one: Handler, block: Block, other: Handler, otherBlock: Block): boolean {
  if (one.errno !== other.errno) return false;
  if (one.target === undefined || other.target === undefined) return one.target === other.target;
  return sameTarget(one.target, block, other.target, otherBlock);
}

/**
 * Whether one instruction can stand for both: everything is equal except numbers, descriptors and data in the
 * arguments.
 */
function sameInstruction(one: Instruction, block: Block, other: Instruction, otherBlock: Block): boolean {
  return one.code === other.code && one.out?.slot === other.out?.slot && one.retryAgain === other.retryAgain &&
    one.args.length === other.args.length && one.handlers.length === other.handlers.length &&
    one.args.every((arg, index) => sameArgument(arg, block, other.args[index]!, otherBlock)) &&
    one.handlers.every((handler, index) => sameHandler(handler, block, other.handlers[index]!, otherBlock));
}

/**
 * Whether two blocks have the same shape. This is cheap: most neighbours differ in length or in their first
 * instruction.
 */
function sameShape(list: readonly Instruction[], one: Block, other: Block): boolean {
  if (one.end - one.start !== other.end - other.start) return false;
  for (let index = 0; index < one.end - one.start; index++) {
    if (!sameInstruction(list[one.start + index]!, one, list[other.start + index]!, other)) return false;
  }
  return true;
}

/** Values with equal keys are equal. */
function valueKey(value: Operand, keys: DataKeys): string {
  if (typeof value === "number") return String(value | 0);
  if ("data" in value) return value.data === "at" ? `${keys.of(value.base)}+${value.offset}` : keys.of(value);
  return "fd" in value ? `fd ${value.fd}` : `slot ${value.slot}`;
}

/** The arguments at one place, one per row. Equal columns are stored once. */
type Column = readonly Operand[];

/** The differences between blocks of one shape. */
interface Columns {
  readonly columns: readonly Column[];
  /** Size of a value in each column, in bytes. */
  readonly widths: readonly Word["size"][];
  /** Size of a row, in bytes. */
  readonly rowSize: number;
  /** The column of an argument, by `<index in the block> <index of the argument>`. */
  readonly columnAt: ReadonlyMap<string, number>;
}

function columnsOf(list: readonly Instruction[], blocks: readonly Block[], keys: DataKeys): Columns {
  const columns: Column[] = [];
  const columnAt = new Map<string, number>();
  const known = new Map<string, number>();
  const [first] = blocks as [Block, ...Block[]];
  for (let index = 0; index < first.end - first.start; index++) {
    list[first.start + index]!.args.forEach((arg, place) => {
      if (isLabel(arg) || (typeof arg === "object" && "slot" in arg)) return;
      // Fast path: most arguments are the same number in every block.
      if (blocks.every((block) => list[block.start + index]!.args[place] === arg)) return;
      const column = blocks.map((block) => list[block.start + index]!.args[place] as Operand);
      const values = column.map((value) => valueKey(value, keys));
      if (values.every((value) => value === values[0])) return;
      const key = values.join("\n");
      const number = known.get(key) ?? columns.push(column) - 1;
      known.set(key, number);
      columnAt.set(`${index} ${place}`, number);
    });
  }
  const widths = columns.map(widthOf);
  return { columns, widths, rowSize: widths.reduce((sum, width) => sum + width, 0), columnAt };
}

function sizeOf(instruction: Pick<Instruction, "args" | "handlers">): number {
  return HEAD_SIZE + 4 * (instruction.args.length + instruction.handlers.length);
}

/** Size of a column's values in bytes: 8 for addresses, the smallest size that fits for numbers. */
function widthOf(column: Column): Word["size"] {
  const fits = (limit: number) => column.every((value) => typeof value === "number" && value >= 0 && value < limit);
  return fits(0x100) ? 1 : fits(0x10000) ? 2 : fits(0x80000000) ? 4 : 8;
}

function tableOf({ columns, widths, rowSize }: Columns, rows: number): Struct {
  const words: Word[] = [];
  let place = 0;
  for (let row = 0; row < rows; row++) {
    columns.forEach((column, index) => {
      const value = column[row]!;
      const size = widths[index]!;
      // Like an immediate operand: 32 bits, sign-extended.
      const word = typeof value === "number" ? value | 0 : value as Exclude<Operand, number | Slot>;
      words.push({ at: place, size, value: word });
      place += size;
    });
  }
  return struct("/* table of a loop */", rowSize * rows, words);
}

class Folding {
  readonly #list: readonly Instruction[];
  readonly out: Folded[] = [];
  /** The new index of each instruction of the list, for labels of steps that were not folded. */
  readonly #moved: number[] = [];

  readonly #keys: DataKeys;

  constructor(list: readonly Instruction[], keys: DataKeys) {
    this.#list = list;
    this.#keys = keys;
  }

  /** Copies a block unchanged. */
  copy(block: Block): void {
    for (let index = block.start; index < block.end; index++) {
      this.#moved[index] = this.out.length;
      this.out.push(this.#list[index]!);
    }
  }

  /** Writes blocks of one shape as a loop if that is smaller. */
  fold(blocks: readonly Block[]): void {
    const columns = columnsOf(this.#list, blocks, this.#keys);
    const count = columns.columns.length;
    const [first] = blocks as [Block, ...Block[]];
    const body = this.#list.slice(first.start, first.end);
    const bodySize = body.reduce((sum, instruction) => sum + sizeOf(instruction), 0);
    const before = bodySize * blocks.length;
    // The cost of a loop: setting the cursor, a load and an addition per column, the jump, and the table.
    const after = 16 + 32 * count + bodySize + 20 + columns.rowSize * blocks.length;
    if (blocks.length < 2 || count === 0 || after >= before) {
      for (const block of blocks) this.copy(block);
      return;
    }
    this.#loop(blocks, columns, body);
  }

  #loop(blocks: readonly Block[], columns: Columns, body: readonly Instruction[]): void {
    const { widths, rowSize, columnAt } = columns;
    const [first] = blocks as [Block, ...Block[]];
    const table = tableOf(columns, blocks.length);
    const head = { handlers: [], retryAgain: false, step: first.step, op: body[0]!.op };
    this.#moved[first.start] = this.out.length;
    this.out.push({ ...head, code: "add", args: [table, 0], out: cursor });
    const start: Label = { at: this.out.length };
    widths.forEach((width, index) => {
      this.out.push({ ...head, code: "load", args: [cursor, width], out: slot(`column ${index}`) });
      this.out.push({ ...head, code: "add", args: [cursor, width], out: cursor });
    });
    const offset = this.out.length - first.start;
    const move = (label: Label): Label => ({ at: label.at! + offset });
    body.forEach((instruction, index) => {
      const args = instruction.args.map((arg, place) => {
        const column = columnAt.get(`${index} ${place}`);
        if (column !== undefined) return slot(`column ${column}`);
        return isLabel(arg) ? move(arg) : arg;
      });
      const handlers: Handler[] = instruction.handlers.map(({ errno, target }) => ({
        errno,
        target: target && move(target),
      }));
      const instructions = blocks.map((block) => this.#list[block.start + index]!);
      this.out.push({ ...instruction, args, handlers, turns: { instructions, table, rowSize } });
    });
    this.out.push({ ...head, code: "jumpNotEqual", args: [cursor, at(table, table.size), start] });
  }

  /** Labels of copied blocks still refer to the old list. Each label is moved once. */
  finish(initEntry: number): FoldedPlan {
    const moved = new Map<Label, Label>();
    const place = (label: Label): Label => {
      let known = moved.get(label);
      if (known === undefined) moved.set(label, known = { at: this.#moved[label.at!] ?? this.out.length });
      return known;
    };
    const instructions = this.out.map((instruction): Folded => {
      const isLoop = instruction.turns !== undefined || instruction.args.includes(cursor) || instruction.out === cursor;
      if (isLoop || !hasLabels(instruction)) return instruction;
      const args = instruction.args.map((arg) => isLabel(arg) ? place(arg) : arg);
      const handlers = instruction.handlers.map(({ errno, target }) => ({ errno, target: target && place(target) }));
      return { ...instruction, args, handlers };
    });
    return { instructions, initEntry: this.#moved[initEntry] ?? this.out.length };
  }
}

function hasLabels({ args, handlers }: Instruction): boolean {
  return handlers.length > 0 || args.some(isLabel);
}

/**
 * Folds a flat plan. Returns it unchanged if the loops would need more than `slotLimit` slots, including {@link
 * cursor}. Pure: equal plans give equal results.
 */
export function fold(plan: Lowered, keys: DataKeys, slotLimit: number): FoldedPlan {
  return runTurns(folding(plan, keys, slotLimit));
}

/** {@link fold}, for a caller that lets others have their turn. */
export function* folding(plan: Lowered, keys: DataKeys, slotLimit: number): Waits<FoldedPlan> {
  const folded = yield* foldAll(plan, keys);
  return countSlots(folded.instructions) <= slotLimit ? folded : plan;
}

function* foldAll({ instructions, initEntry }: Lowered, keys: DataKeys): Waits<FoldedPlan> {
  const folding = new Folding(instructions, keys);
  const blocks = blocksOf(instructions);
  for (let index = 0; index < blocks.length;) {
    const first = blocks[index]!;
    let end = index + 1;
    while (end < blocks.length && blocks[end]!.start !== initEntry && sameShape(instructions, first, blocks[end]!)) {
      end++;
    }
    if (end === index + 1) folding.copy(first);
    else folding.fold(blocks.slice(index, end));
    // A turn for others after each 16 steps.
    if (end >> 4 !== index >> 4) yield TURN;
    index = end;
  }
  return folding.finish(initEntry);
}
