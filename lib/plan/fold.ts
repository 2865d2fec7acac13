/**
 * Makes a flat plan smaller: steps of the same shape that follow each other (ten masked paths, forty capabilities) become one loop over
 * a table of what differs. The plan stays a list of single steps; only its encoding is folded, and every failure is told as that
 * of the step that it belongs to.
 *
 * @module
 */

import type { DataKeys } from "./data_key.ts";
import { HEAD_SIZE } from "./native/format.ts";
import { at, slot, struct } from "./build.ts";
import type { Handler, Instruction, Label, Lowered } from "./lower.ts";
import { isLabel } from "./lower.ts";
import type { Operand, Slot, Step, Struct, Word } from "./op.ts";

/** Points behind the row that a loop is at; reports carry its value. Always the first slot. */
export const cursor: Slot = slot("cursor");

/** An instruction of a folded plan. */
export interface Folded extends Instruction {
  /** In a loop: the instruction that it stands for in each turn, and the table that the cursor walks. */
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

/** What must be equal in two instructions for one to stand for both: all but the numbers, descriptors and data among the arguments. */
function shapeOf(instruction: Instruction, block: Block): string | undefined {
  const inside = (label: Label) => label.at! >= block.start && label.at! <= block.end;
  const targets = [...instruction.args.filter(isLabel), ...instruction.handlers.flatMap(({ target }) => target ?? [])];
  if (!targets.every(inside)) return undefined;
  const args = instruction.args.map((arg) => {
    if (isLabel(arg)) return `L${arg.at! - block.start}`;
    return typeof arg === "object" && "slot" in arg ? `S${arg.slot}` : "V";
  });
  const handlers = instruction.handlers.map(({ errno, target }) =>
    `${errno}>${target === undefined ? "" : target.at! - block.start}`
  );
  return [instruction.code, instruction.out?.slot ?? "", instruction.retryAgain, args, handlers].join(" ");
}

function shapeOfBlock(list: readonly Instruction[], block: Block): string | undefined {
  const shapes = list.slice(block.start, block.end).map((instruction) => shapeOf(instruction, block));
  return shapes.includes(undefined) ? undefined : shapes.join("\n");
}

/** Equal keys are the same value. */
function valueKey(value: Operand, keys: DataKeys): string {
  if (typeof value === "number") return String(value | 0);
  if ("data" in value) return value.data === "at" ? `${keys.of(value.base)}+${value.offset}` : keys.of(value);
  return "fd" in value ? `fd ${value.fd}` : `slot ${value.slot}`;
}

/** The arguments at one place, a row each; equal columns are one. */
type Column = readonly Operand[];

/** What differs between blocks of one shape. */
interface Columns {
  readonly columns: readonly Column[];
  /** Number of the column of an argument, by `<index in the block> <index of the argument>`. */
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
      const column = blocks.map((block) => list[block.start + index]!.args[place] as Operand);
      const values = column.map((value) => valueKey(value, keys));
      if (values.every((value) => value === values[0])) return;
      const key = values.join("\n");
      const number = known.get(key) ?? columns.push(column) - 1;
      known.set(key, number);
      columnAt.set(`${index} ${place}`, number);
    });
  }
  return { columns, columnAt };
}

function sizeOf(instruction: Pick<Instruction, "args" | "handlers">): number {
  return HEAD_SIZE + 4 * (instruction.args.length + instruction.handlers.length);
}

/** Bytes that each value of a column takes: an address 8, numbers as few as they fit. */
function widthOf(column: Column): Word["size"] {
  const fits = (limit: number) => column.every((value) => typeof value === "number" && value >= 0 && value < limit);
  return fits(0x100) ? 1 : fits(0x10000) ? 2 : fits(0x80000000) ? 4 : 8;
}

function tableOf(columns: readonly Column[], rows: number): Struct {
  const words: Word[] = [];
  let place = 0;
  for (let row = 0; row < rows; row++) {
    for (const column of columns) {
      const value = column[row]!;
      const size = widthOf(column);
      // As an immediate operand would be: 32 bits, sign-extended.
      const word = typeof value === "number" ? value | 0 : value as Exclude<Operand, number | Slot>;
      words.push({ at: place, size, value: word });
      place += size;
    }
  }
  return struct("/* table of a loop */", place, words);
}

function rowSizeOf(columns: readonly Column[]): number {
  return columns.reduce((sum, column) => sum + widthOf(column), 0);
}

class Folding {
  readonly #list: readonly Instruction[];
  readonly out: Folded[] = [];
  /** Where each instruction of the list went; for labels of steps that were not folded. */
  readonly #moved: number[] = [];

  readonly #keys: DataKeys;

  constructor(list: readonly Instruction[], keys: DataKeys) {
    this.#list = list;
    this.#keys = keys;
  }

  /** Copies a block as it is. */
  copy(block: Block): void {
    for (let index = block.start; index < block.end; index++) {
      this.#moved[index] = this.out.length;
      this.out.push(this.#list[index]!);
    }
  }

  /** Writes blocks of one shape as a loop, where that is smaller. */
  fold(blocks: readonly Block[]): void {
    const { columns, columnAt } = columnsOf(this.#list, blocks, this.#keys);
    const [first] = blocks as [Block, ...Block[]];
    const body = this.#list.slice(first.start, first.end);
    const bodySize = body.reduce((sum, instruction) => sum + sizeOf(instruction), 0);
    const before = bodySize * blocks.length;
    // Setting the cursor, a load and an addition a column, the jump; and the table.
    const after = 16 + 32 * columns.length + bodySize + 20 + rowSizeOf(columns) * blocks.length;
    if (blocks.length < 2 || columns.length === 0 || after >= before) {
      for (const block of blocks) this.copy(block);
      return;
    }
    this.#loop(blocks, columns, columnAt, body);
  }

  #loop(
    blocks: readonly Block[],
    columns: readonly Column[],
    columnAt: Columns["columnAt"],
    body: readonly Instruction[],
  ): void {
    const [first] = blocks as [Block, ...Block[]];
    const table = tableOf(columns, blocks.length);
    const rowSize = rowSizeOf(columns);
    const head = { handlers: [], retryAgain: false, step: first.step, op: body[0]!.op };
    this.#moved[first.start] = this.out.length;
    this.out.push({ ...head, code: "add", args: [table, 0], out: cursor });
    const start: Label = { at: this.out.length };
    columns.forEach((column, index) => {
      const width = widthOf(column);
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

  /** Labels of what was copied still count in the old list: each gets its new place, once. */
  finish(initEntry: number): FoldedPlan {
    const moved = new Map<Label, Label>();
    const place = (label: Label): Label => {
      let known = moved.get(label);
      if (known === undefined) moved.set(label, known = { at: this.#moved[label.at!] ?? this.out.length });
      return known;
    };
    const instructions = this.out.map((instruction): Folded => {
      const isLoop = instruction.turns !== undefined || instruction.args.includes(cursor) || instruction.out === cursor;
      if (isLoop) return instruction;
      const args = instruction.args.map((arg) => isLabel(arg) ? place(arg) : arg);
      const handlers = instruction.handlers.map(({ errno, target }) => ({ errno, target: target && place(target) }));
      return { ...instruction, args, handlers };
    });
    return { instructions, initEntry: this.#moved[initEntry] ?? this.out.length };
  }
}

/** How many slots instructions use, with the cursor's. */
function countSlots(instructions: readonly Instruction[]): number {
  const names = new Set([cursor.slot]);
  for (const { args, out } of instructions) {
    if (out !== undefined) names.add(out.slot);
    for (const arg of args) if (typeof arg === "object" && "slot" in arg) names.add(arg.slot);
  }
  return names.size;
}

/**
 * Folds a flat plan; leaves it as it is where loops would take more than `slotLimit` slots. Pure: equal plans give equal results.
 */
export function fold(plan: Lowered, keys: DataKeys, slotLimit: number): FoldedPlan {
  const folded = foldAll(plan, keys);
  return countSlots(folded.instructions) <= slotLimit ? folded : plan;
}

function foldAll({ instructions, initEntry }: Lowered, keys: DataKeys): FoldedPlan {
  const folding = new Folding(instructions, keys);
  const blocks = blocksOf(instructions);
  const shapes = blocks.map((block) => shapeOfBlock(instructions, block));
  for (let index = 0; index < blocks.length;) {
    let end = index + 1;
    while (
      end < blocks.length && shapes[index] !== undefined && shapes[end] === shapes[index] &&
      blocks[end]!.start !== initEntry
    ) {
      end++;
    }
    if (end === index + 1) folding.copy(blocks[index]!);
    else folding.fold(blocks.slice(index, end));
    index = end;
  }
  return folding.finish(initEntry);
}
