/**
 * Assembles both interpreters from rows of instructions. Labels are names until the end.
 *
 * One call gives an instruction's text and its bytes, so a listing cannot differ from the code that runs.
 *
 * @module
 */

/** One machine instruction: its text in objdump's spelling, and its bytes. */
export interface Instruction {
  readonly text: string;
  readonly bytes: readonly number[];
}

/** A jump to a label. */
export interface Jump {
  /** The mnemonic and the operands before the label: `jae`, `tbz w9, #0,`. */
  readonly text: string;
  readonly label: string;
  /** Length of the instruction in bytes. It does not depend on the distance. */
  readonly size: number;
  /**
   * `distance`: bytes from the start of this instruction to the label. @throws {RangeError} if the label is out of
   * reach.
   */
  encode(distance: number): readonly number[];
}

/** A label (`"fetch:"`), an instruction, or an instruction with a comment. */
export type Row = `${string}:` | Instruction | Jump | readonly [Instruction | Jump, comment: string];

/** An assembled row. */
export interface Line {
  /** Labels at this line. */
  readonly labels: readonly string[];
  /** From the start of the code, in bytes. */
  readonly offset: number;
  readonly bytes: readonly number[];
  /** The instruction's text; a jump contains its label: `jae failed`. */
  readonly text: string;
  readonly comment: string;
}

/** Assembled code. */
export interface Assembly {
  readonly code: Uint8Array<ArrayBuffer>;
  readonly lines: readonly Line[];
  /** Offsets of the labels. */
  readonly labels: ReadonlyMap<string, number>;
}

interface Placed {
  readonly labels: readonly string[];
  readonly offset: number;
  readonly instruction: Instruction | Jump;
  readonly comment: string;
}

/**
 * Resolves the labels.
 *
 * @throws {RangeError} if a label is missing, duplicate or out of reach.
 */
export function assemble(rows: readonly Row[]): Assembly {
  const { placed, labels } = place(rows);
  const lines = placed.map((row): Line => ({
    labels: row.labels,
    offset: row.offset,
    bytes: bytesOf(row, labels),
    text: isJump(row.instruction) ? `${row.instruction.text} ${row.instruction.label}` : row.instruction.text,
    comment: row.comment,
  }));
  return { code: Uint8Array.from(lines.flatMap((line) => line.bytes)), lines, labels };
}

/** The listing that is checked in: labels, and one line per instruction with its offset, bytes, text and comment. */
export function formatListing(lines: readonly Line[]): string {
  const width = Math.max(...lines.map((line) => line.text.length));
  const byteWidth = Math.max(...lines.map((line) => line.bytes.length)) * 3 - 1;
  return lines.map((line) => {
    const offset = line.offset.toString(16).padStart(4, "0");
    const bytes = line.bytes.map(hexByte).join(" ").padEnd(byteWidth);
    const comment = line.comment && `; ${line.comment}`;
    const labels = line.labels.map((label) => `${label}:\n`).join("");
    return `${labels}  ${offset}  ${bytes}  ${line.text.padEnd(width)}  ${comment}`.trimEnd() + "\n";
  }).join("");
}

/** `value` as little-endian bytes; it may be signed or unsigned. @throws {RangeError} if it does not fit. */
export function littleEndian(value: number, size: 1 | 2 | 4): number[] {
  const limit = 2 ** (8 * size);
  if (value < -limit / 2 || value >= limit) throw new RangeError(`${value} does not fit ${size} bytes`);
  return Array.from({ length: size }, (_, index) => (value >> (8 * index)) & 0xff);
}

function place(rows: readonly Row[]): { placed: Placed[]; labels: Map<string, number> } {
  const placed: Placed[] = [];
  const labels = new Map<string, number>();
  let pending: string[] = [];
  let offset = 0;
  for (const row of rows) {
    if (typeof row === "string") {
      const label = row.slice(0, -1);
      if (labels.has(label)) throw new RangeError(`label ${label} is defined twice`);
      labels.set(label, offset);
      pending.push(label);
      continue;
    }
    const [instruction, comment] = hasComment(row) ? row : [row, ""];
    placed.push({ labels: pending, offset, instruction, comment });
    pending = [];
    offset += isJump(instruction) ? instruction.size : instruction.bytes.length;
  }
  return { placed, labels };
}

function bytesOf({ instruction, offset }: Placed, labels: ReadonlyMap<string, number>): readonly number[] {
  if (!isJump(instruction)) return instruction.bytes;
  const target = labels.get(instruction.label);
  if (target === undefined) throw new RangeError(`no label ${instruction.label}`);
  return instruction.encode(target - offset);
}

const hasComment = (row: Exclude<Row, string>): row is readonly [Instruction | Jump, string] => Array.isArray(row);
const isJump = (instruction: Instruction | Jump): instruction is Jump => "label" in instruction;
const hexByte = (byte: number) => byte.toString(16).padStart(2, "0");
