/**
 * A copy of Deno with its relocations applied: a position-independent executable becomes one for a fixed address, as many programs are.
 *
 * Deno has 159,000 of them, and the dynamic linker applies them at every start, which copies the pages that they are in: 3 ms. The price is that
 * the copy is always at the same address: one thing less for an attacker to guess. That is why nobody gets it without asking.
 *
 * @see https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html, chapters 4 and 5
 *
 * @module
 */

/** Where the copy goes; whatever begins there is not needed by Linux, which maps libraries, heap and stack far above. */
const BASE = 0x10000000n;

/** e_type, e_machine and the relocation type that only adds the base. */
const ET_EXEC = 2, ET_DYN = 3, PT_LOAD = 1, PT_DYNAMIC = 2;
const relativeTypes: Readonly<Record<number, bigint>> = { 62: 8n, 183: 1027n };

/** Tags of the dynamic section; addresses are those of the gABI, and GNU's range of addresses for the newer ones. */
const Tag = {
  SYMTAB: 6n,
  RELA: 7n,
  RELASZ: 8n,
  JMPREL: 23n,
  PLTRELSZ: 2n,
  RELACOUNT: 0x6ffffff9n,
  FLAGS_1: 0x6ffffffbn,
};
const addressTags: readonly bigint[] = [
  3n, // PLTGOT
  4n, // HASH
  5n, // STRTAB
  Tag.SYMTAB,
  Tag.RELA,
  12n, // INIT
  13n, // FINI
  Tag.JMPREL,
  25n, // INIT_ARRAY
  26n, // FINI_ARRAY
  0x6ffffef5n, // GNU_HASH
  0x6ffffff0n, // VERSYM
  0x6ffffffen, // VERNEED
  0x6ffffffcn, // VERDEF
];
const DF_1_PIE = 0x08000000n;
const RELA_SIZE = 24, SYMBOL_SIZE = 24, PHDR_SIZE = 56, DYN_SIZE = 16;

interface Segment {
  readonly type: number;
  readonly at: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

function segmentsOf(view: DataView): readonly Segment[] {
  const start = Number(view.getBigUint64(0x20, true));
  return Array.from({ length: view.getUint16(0x38, true) }, (_, index) => {
    const at = start + index * PHDR_SIZE;
    return {
      type: view.getUint32(at, true),
      at,
      offset: Number(view.getBigUint64(at + 8, true)),
      address: Number(view.getBigUint64(at + 16, true)),
      size: Number(view.getBigUint64(at + 32, true)),
    };
  });
}

/**
 * Changes the program in `bytes`, in place and without changing its size.
 *
 * @throws {Error} where it is not a position-independent executable of a known shape; `bytes` are then of no use.
 */
export function prelink(bytes: Uint8Array<ArrayBuffer>): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const relative = relativeTypes[view.getUint16(18, true)];
  if (view.getUint32(0) !== 0x7f454c46 || view.getUint16(16, true) !== ET_DYN || relative === undefined) {
    throw new Error("it is not a position-independent executable for x86_64 or aarch64");
  }
  const segments = segmentsOf(view);
  const offsetOf = (address: number) => {
    const segment = segments.find((one) =>
      one.type === PT_LOAD && address >= one.address && address < one.address + one.size
    );
    if (segment === undefined) throw new Error(`address 0x${address.toString(16)} is not in the file`);
    return address - segment.address + segment.offset;
  };
  const add = (at: number) => view.setBigUint64(at, view.getBigUint64(at, true) + BASE, true);

  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) throw new Error("it is not dynamically linked");
  const entries = new Map<bigint, number>();
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += DYN_SIZE) {
    entries.set(view.getBigUint64(at, true), at + 8);
  }
  const value = (tag: bigint) => {
    const at = entries.get(tag);
    return at === undefined ? 0 : Number(view.getBigUint64(at, true));
  };

  const count = value(Tag.RELACOUNT);
  const rela = offsetOf(value(Tag.RELA));
  for (let index = 0, at = rela; index < count; index++, at += RELA_SIZE) {
    if (view.getBigUint64(at + 8, true) !== relative) throw new Error(`relocation ${index} is of another type`);
    const target = offsetOf(Number(view.getBigUint64(at, true)));
    view.setBigUint64(target, view.getBigUint64(at + 16, true) + BASE, true);
  }
  // What is left names symbols of libraries, which the linker has to look up.
  for (let at = rela + count * RELA_SIZE; at < rela + value(Tag.RELASZ); at += RELA_SIZE) add(at);
  const jumps = value(Tag.JMPREL) === 0 ? 0 : offsetOf(value(Tag.JMPREL));
  for (let at = jumps; at < jumps + value(Tag.PLTRELSZ); at += RELA_SIZE) add(at);
  // The symbol table ends where the string table begins or before; one that is defined has a section.
  const symbols = offsetOf(value(Tag.SYMTAB));
  for (let at = symbols; at + SYMBOL_SIZE <= symbols + symbolBytes(view, entries, offsetOf); at += SYMBOL_SIZE) {
    const isTls = (view.getUint8(at + 4) & 0xf) === 6;
    if (view.getUint16(at + 6, true) !== 0 && !isTls) add(at + 8);
  }
  view.setBigUint64(entries.get(Tag.RELA)!, BigInt(value(Tag.RELA) + count * RELA_SIZE), true);
  view.setBigUint64(entries.get(Tag.RELASZ)!, BigInt(value(Tag.RELASZ) - count * RELA_SIZE), true);
  view.setBigUint64(entries.get(Tag.RELACOUNT)!, 0n, true);
  const flags = entries.get(Tag.FLAGS_1);
  if (flags !== undefined) view.setBigUint64(flags, view.getBigUint64(flags, true) & ~DF_1_PIE, true);
  for (const tag of addressTags) {
    const at = entries.get(tag);
    if (at !== undefined) add(at);
  }
  for (const { at, address, size } of segments) {
    // The stack's has none.
    if (address === 0 && size === 0) continue;
    add(at + 16);
    add(at + 24);
  }
  add(24);
  view.setUint16(16, ET_EXEC, true);
  // The section headers, which nobody needs to run it, would still tell of the old addresses.
  view.setBigUint64(0x28, 0n, true);
  view.setUint16(0x3c, 0, true);
  view.setUint16(0x3e, 0, true);
}

/** The version table has two bytes for each symbol and is followed by what it belongs to. */
function symbolBytes(
  view: DataView,
  entries: ReadonlyMap<bigint, number>,
  offsetOf: (address: number) => number,
): number {
  const value = (tag: bigint) => Number(view.getBigUint64(entries.get(tag)!, true));
  const symbols = value(Tag.SYMTAB);
  const next = [0x6ffffff0n, 0x6ffffef5n, 5n, 0x6ffffffen].filter((tag) => entries.has(tag)).map(value)
    .filter((address) => address > symbols);
  if (next.length === 0) throw new Error("its symbol table has no end");
  return offsetOf(Math.min(...next)) - offsetOf(symbols);
}

/** Writes the copy of the executable `from` to `to`. @throws {Error} as {@link prelink}. */
export function prelinkFile(from: string, to: string): void {
  const bytes = Deno.readFileSync(from);
  prelink(bytes);
  // By renaming: the old one may be running.
  const fresh = `${to}.new`;
  Deno.writeFileSync(fresh, bytes);
  Deno.chmodSync(fresh, 0o755);
  Deno.renameSync(fresh, to);
}
