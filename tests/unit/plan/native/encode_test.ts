/** Images are taken apart here from what format.ts and elf(5) say about bytes, with none of the encoder's code. */

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import {
  at,
  buffer,
  bytes,
  call,
  fail,
  fixedFd,
  load,
  slot,
  stack,
  step,
  store,
  stringPointers,
  struct,
  text,
  when,
} from "../../../../lib/plan/build.ts";
import { encode, refuseLongTable } from "../../../../lib/plan/native/encode.ts";
import { HEADER_SIZE, SLOT_COUNT } from "../../../../lib/plan/native/format.ts";
import type { Op, Plan, Struct } from "../../../../lib/plan/op.ts";

const fds = { sync: 250, proc: 251 };
const [a, b] = [slot("a"), slot("b")];
const umask = (mode: number) => call("umask", [mode]);

const plan = (...ops: readonly Op[]): Plan => ({ stage: [], init: [step("", "", ops)] });
const encodedOps = (ops: readonly Op[]) =>
  program(encode({ stage: [], init: [step("", "", ops)] }, { arch: "x86_64", fds }).image);
const encoded = (...ops: readonly Op[]) => encodedOps(ops);

/** A program as it lies in memory: from its first byte, with the zeroed memory behind it. */
function program(image: Uint8Array<ArrayBuffer>) {
  const elf = new DataView(image.buffer);
  // elf(5): the second program header (56 bytes each, from e_phoff on) is the program's.
  const segment = Number(elf.getBigUint64(32, true)) + 56;
  const field = (offset: number) => Number(elf.getBigUint64(segment + offset, true));
  const [fileOffset, base, fileSize, memorySize] = [field(8), field(16), field(32), field(40)];
  const memory = new Uint8Array(memorySize);
  memory.set(image.subarray(fileOffset, fileOffset + fileSize));
  const view = new DataView(memory.buffer);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const relocations = Array.from(
    { length: u32(44) },
    (_, index) => u32(28) + elf.getUint32(fileOffset + u32(40) + 4 * index, true),
  );
  return {
    memory,
    view,
    u32,
    base,
    fileSize,
    trailerSize: image.length - fileOffset - fileSize,
    relocations,
    /** The bytes at an absolute address. */
    at: (address: number, length: number) => memory.slice(address - base, address - base + length),
    /** The NUL-terminated string at an absolute address. */
    text: (address: number) =>
      new TextDecoder().decode(memory.subarray(address - base, memory.indexOf(0, address - base))),
    /** The 8-byte word at an absolute address. */
    word: (address: number) => Number(view.getBigUint64(address - base, true)),
  };
}
type Program = ReturnType<typeof program>;

interface Decoded {
  readonly offset: number;
  readonly code: number;
  readonly operands: readonly (readonly [kind: number, word: number])[];
  readonly out: number;
  readonly handlers: readonly (readonly [errno: number, target: number])[];
  readonly flags: number;
}

/** The instruction table, one after the other. */
function decode({ view, u32 }: Program): readonly Decoded[] {
  const all: Decoded[] = [];
  for (let offset = u32(20); offset < u32(20) + u32(24);) {
    const [count, out, handlers, flags] = [4, 5, 6, 7].map((index) => view.getUint8(offset + index)) as [
      number,
      number,
      number,
      number,
    ];
    const kinds = view.getUint16(offset + 2, true);
    const word = (index: number) => u32(offset + 8 + 4 * index);
    all.push({
      offset,
      code: view.getUint16(offset, true),
      operands: Array.from({ length: count }, (_, index) => [(kinds >> (2 * index)) & 3, word(index)] as const),
      out,
      handlers: Array.from({ length: handlers }, (_, index) => {
        const handler = word(count + index);
        return [handler >>> 24, (handler & 0xffffff) * 4] as const;
      }),
      flags,
    });
    offset += 8 + 4 * (count + handlers);
  }
  return all;
}

/** The address that an operand of the only instruction is. */
function addressIn(one: Program, operand = 0, instruction = 0): number {
  const [kind, word] = decode(one)[instruction]!.operands[operand]!;
  assertEquals(kind, 2, "an address");
  return word;
}

const IMMEDIATE = 0, SLOT = 1, ADDRESS = 2, NO_SLOT = 0xff;

for (const arch of ["x86_64", "aarch64"] as const) {
  Deno.test(`the ${arch} program's header says where everything is`, () => {
    const stage = [step("", "", [umask(1)])];
    const init = [step("", "", [call("chdir", [stringPointers(["x"], "")]), call("getcwd", [buffer("cwd", 13), 13])])];
    const { image } = encode({ stage, init }, { arch, fds });
    const one = program(image);
    assertEquals(one.at(one.base, 4), new TextEncoder().encode("RUNP"));
    const fields = [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48].map(one.u32);
    assertEquals(HEADER_SIZE, 80 + 8 * SLOT_COUNT);
    // 3 instructions of 12, 12 and 16 bytes, then data at a multiple of 16: two pointers, a text of two bytes, padding.
    const [second, data, end] = [HEADER_SIZE + 12, HEADER_SIZE + 48, HEADER_SIZE + 72];
    assertEquals(fields, [2, HEADER_SIZE, second, 250, HEADER_SIZE, 40, data, 24, 16, end, 1, one.base]);
    assertEquals(one.base % 16, 0);
    // Below 0x20000000: an address fits an operand word.
    assert(one.base > 0x10000000 && one.base + one.memory.length < 0x20000000);
    assertEquals([one.fileSize, one.memory.length, one.trailerSize], [end, end + 16, 4]);
  });
}

Deno.test("an instruction is a head, operands and handlers", () => {
  const cases: readonly [op: Op, hex: string][] = [
    // umask(0o22) = 95 = 0x5f
    [umask(0o22), "5f00 0000 01 ff 00 00 12000000"],
    [call("umask", [-1], { out: a }), "5f00 0000 01 02 00 00 ffffffff"],
    [call("setsid", []), "7000 0000 00 ff 00 00"],
    [call("setsid", [], { tolerate: ["EPERM"], retryAgain: true }), "7000 0000 00 ff 01 01 00000001"],
    [call("setsid", [], { tolerate: ["*"] }), "7000 0000 00 ff 01 00 000000ff"],
    // Descriptors are numbers by now; slots are numbered by first use, behind those of loops and of the initial stack.
    [call("close", [fixedFd("sync")]), "0300 0000 01 ff 00 00 fa000000"],
    [call("fchown", [a, 0xffffffff, b], { out: a }), "5d00 1100 03 02 00 00 02000000 ffffffff 03000000"],
    [{ op: "and", left: a, right: 0o7777, out: a }, "0580 0100 02 02 00 00 02000000 ff0f0000"],
    // What is not given is 0.
    [{ op: "add", left: 1, right: 0, out: a }, "0680 0000 01 02 00 00 01000000"],
    [call("prctl", [5, 0, 7, 0, 0]), "9d00 0000 03 ff 00 00 05000000 00000000 07000000"],
    [{ op: "add", left: 0, right: 0, out: a }, "0680 0000 00 02 00 00"],
    [{ op: "add", left: stack, right: 8, out: a }, "0680 0100 02 02 00 00 01000000 08000000"],
    [{ op: "sub", left: a, right: b, out: a }, "0a80 0500 02 02 00 00 02000000 03000000"],
    [{ op: "shr", left: a, right: 3, out: a }, "0780 0100 02 02 00 00 02000000 03000000"],
    [fail(a, "why"), "0880 0100 01 ff 00 00 02000000"],
    [{ op: "warn", value: 3, why: "hm" }, "0980 0000 01 ff 00 00 03000000"],
  ];
  for (const [op, hex] of cases) {
    const one = encoded(op);
    const table = one.memory.slice(one.u32(20), one.u32(20) + one.u32(24));
    assertEquals(table.toHex(), hex.replaceAll(" ", ""), hex);
  }
});

Deno.test("each architecture has its own system call numbers and the same table otherwise", () => {
  const ops = plan(call("pivot_root", [".", "."]), call("chdir", ["/"]));
  const [x86, arm] = (["x86_64", "aarch64"] as const).map((arch) => program(encode(ops, { arch, fds }).image));
  assertEquals([decode(x86!), decode(arm!)].map((list) => list.map(({ code }) => code)), [[155, 80], [41, 49]]);
  const shape = (one: Program) => decode(one).map(({ operands }) => operands.map(([, word]) => word - one.base));
  assertEquals(shape(x86!), shape(arm!));
});

Deno.test("loads and stores have the address, the size and the value", () => {
  const one = encoded(load(buffer("m", 16), 2, a), store(at(buffer("m", 16), 8), 8, a));
  const start = one.base + one.u32(28) + one.u32(32);
  assertEquals(decode(one).map(({ code, operands, out }) => ({ code, operands, out })), [
    { code: 0x8003, operands: [[ADDRESS, start], [IMMEDIATE, 2]], out: 2 },
    { code: 0x8004, operands: [[ADDRESS, start + 8], [IMMEDIATE, 8], [SLOT, 2]], out: NO_SLOT },
  ]);
});

Deno.test("jumps hold the byte offset that they go to", () => {
  const one = encoded(
    when(a, "==", 1, [umask(1)], [umask(2)]),
    { op: "repeat", body: [umask(3)], until: { left: a, right: 5 } },
  );
  const list = decode(one);
  const offset = (index: number) => list[index]?.offset ?? one.u32(20) + one.u32(24);
  assertEquals(list.map(({ code, operands }) => [code, ...operands.map(([, word]) => word)]), [
    [0x8002, 2, 1, offset(3)],
    [95, 1],
    [0x8000, offset(4)],
    [95, 2],
    [95, 3],
    [0x8002, 2, 5, offset(4)],
  ]);
  assertEquals(list[0]!.operands.map(([kind]) => kind), [SLOT, IMMEDIATE, IMMEDIATE]);
});

Deno.test("a jump behind the last instruction goes to the table's end", () => {
  const one = encoded(when(a, "!=", 1, [umask(1)]));
  const [jump] = decode(one);
  assertEquals([jump!.code, jump!.operands[2]], [0x8001, [IMMEDIATE, one.u32(20) + one.u32(24)]]);
});

Deno.test("handlers hold errno and target; target 0 is the next instruction", () => {
  const one = encoded(
    call("umask", [0], {
      tolerate: ["EEXIST"],
      endStepOn: ["ENOENT"],
      onError: [{ errnos: ["EHWPOISON", "*"], ops: [umask(1)] }],
    }),
    umask(2),
  );
  const list = decode(one);
  const end = one.u32(20) + one.u32(24);
  assertEquals(list[0]!.handlers, [[17, 0], [2, end], [133, list[2]!.offset], [0xff, list[2]!.offset]]);
});

Deno.test("init begins at initEntry, and a report's offset names the instruction", () => {
  const { image, instructionAt } = encode({
    stage: [step("first", "", [umask(1), umask(2)])],
    init: [step("second", "", [umask(3)])],
  }, { arch: "x86_64", fds });
  const one = program(image);
  const list = decode(one);
  assertEquals([one.u32(8), one.u32(12)], [list[0]!.offset, list[2]!.offset]);
  const found = [...list.map(({ offset }) => offset), 0, HEADER_SIZE + 2, one.u32(20) + one.u32(24)].map((at) =>
    instructionAt(at, 0n)
  );
  assertEquals(found.map((instruction) => instruction?.step.label), [
    "first",
    "first",
    "second",
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("texts end in NUL, are UTF-8, and are stored once", () => {
  const one = encoded(call("pivot_root", ["/ü", "/ü"]), call("chdir", [""]), call("chdir", [text("/ü")]));
  const addresses = [addressIn(one), addressIn(one, 1), addressIn(one, 0, 2)];
  assertEquals(new Set(addresses).size, 1);
  assertEquals(one.at(addresses[0]!, 4).toHex(), "2fc3bc00");
  assertEquals(one.text(addressIn(one, 0, 1)), "");
});

Deno.test("a text that another one ends with is the other's end", () => {
  const one = encoded(call("pivot_root", ["/a/b", "b"]), call("pivot_root", ["ab", "x/a/b"]));
  const [whole, end, other, longer] = [[0, 0], [0, 1], [1, 0], [1, 1]].map(([index, operand]) =>
    addressIn(one, operand, index)
  ) as [number, number, number, number];
  assertEquals([whole - longer, end - longer], [1, 4]);
  assertEquals([whole, end, other, longer].map(one.text), ["/a/b", "b", "ab", "x/a/b"]);
});

Deno.test("the path of a descriptor has its number", () => {
  assertEquals(
    ((one) => one.text(addressIn(one)))(encoded(call("chdir", [{ data: "fdPath", fd: "proc" }]))),
    "self/fd/251",
  );
});

Deno.test("structs are little-endian words at their offsets, zero elsewhere", () => {
  const data = struct("", 40, [
    { at: 0, size: 1, value: 0xab },
    { at: 2, size: 2, value: 0x1234 },
    { at: 4, size: 4, value: -2 },
    { at: 8, size: 8, value: 0xfedcba9876543210n },
    { at: 16, size: 8, value: -1 },
    { at: 24, size: 4, value: fixedFd("proc") },
  ]);
  const one = encoded(call("umask", [0]), call("chdir", [data]));
  const address = addressIn(one, 0, 1);
  assertEquals(address % 8, 0);
  assertEquals(
    one.at(address, 40).toHex(),
    "ab003412feffffff" + "1032547698badcfe" + "ffffffffffffffff" + "fb00000000000000" + "0000000000000000",
  );
});

Deno.test("bytes are stored as they are, at a multiple of 8", () => {
  const one = encoded(call("chdir", ["x"]), call("chdir", [bytes(Uint8Array.of(1, 0, 255), "")]));
  assertEquals([addressIn(one, 0, 1) % 8, one.at(addressIn(one, 0, 1), 3).toHex()], [0, "0100ff"]);
});

Deno.test("words with addresses are listed as relocations, and nothing else is", () => {
  const inner = struct("", 16, [{ at: 8, size: 8, value: text("inner") }]);
  const outer = struct("", 24, [
    { at: 0, size: 8, value: 7 },
    { at: 8, size: 8, value: at(inner, 4) },
    { at: 16, size: 8, value: buffer("later", 8) },
  ]);
  const one = encoded(call("execve", [outer, stringPointers(["a", "b"], ""), 0]));
  const [start, argv] = [addressIn(one), addressIn(one, 1)];
  const insideOuter = one.word(start + 8) - 4;
  const places = [start + 8, start + 16, insideOuter + 8, argv, argv + 8].map((address) => address - one.base);
  assertEquals([...one.relocations].sort((x, y) => x - y), places.sort((x, y) => x - y));
  assertEquals(one.text(one.word(insideOuter + 8)), "inner");
  assertEquals([one.text(one.word(argv)), one.text(one.word(argv + 8)), one.word(argv + 16)], ["a", "b", 0]);
  // Zeroed memory follows the initialised data.
  assertEquals(one.word(start + 16), one.base + one.u32(28) + one.u32(32));
});

Deno.test("equal structs are stored once, unless one of them is written to or holds an address", () => {
  const make = (value: number): Struct => struct("", 8, [{ at: 0, size: 4, value }]);
  const places = (...structs: readonly Struct[]) => {
    const writes = structs.filter((one) => one.show === "written").map((one) => store(at(one, 4), 4, 1));
    const one = encoded(...writes, ...structs.map((data) => call("chdir", [data])));
    return structs.map((_, index) => addressIn(one, 0, writes.length + index));
  };
  const written = (): Struct => ({ ...make(1), show: "written" });
  const pointing = (): Struct => stringPointers(["x"], "");
  const cases: readonly [name: string, structs: readonly Struct[], distinct: number][] = [
    ["equal", [make(1), make(1), { ...make(1), show: "other text" }], 1],
    ["different values", [make(1), make(2)], 2],
    ["different sizes", [make(1), { ...make(1), size: 16 }], 2],
    ["the written one is its own", [make(1), written(), make(1)], 2],
    ["two written ones", [written(), written()], 2],
    ["addresses", [pointing(), pointing()], 2],
    ["descriptors", [
      struct("", 8, [{ at: 0, size: 4, value: fixedFd("sync") }]),
      struct("", 8, [{ at: 0, size: 4, value: fixedFd("sync") }]),
      struct("", 8, [{ at: 0, size: 4, value: fixedFd("proc") }]),
    ], 2],
  ];
  for (const [name, structs, distinct] of cases) assertEquals(new Set(places(...structs)).size, distinct, name);
});

Deno.test("buffers of one name are the same memory, zeroed and aligned, and do not overlap", () => {
  const one = encoded(
    call("getcwd", [buffer("odd", 13), 13]),
    call("getcwd", [at(buffer("even", 16), 3), 16]),
    call("getcwd", [buffer("odd", 13), 13]),
  );
  const start = one.base + one.u32(28) + one.u32(32);
  assertEquals([0, 1, 2].map((index) => addressIn(one, 0, index) - start), [0, 16 + 3, 0]);
  assertEquals([one.u32(36), one.memory.length], [32, one.fileSize + 32]);
  assertThrows(() => encoded(call("getcwd", [buffer("m", 8), 8]), call("getcwd", [buffer("m", 9), 9])), RangeError);
});

Deno.test("what does not fit the format is refused", () => {
  const word = (size: 1 | 2 | 4 | 8, value: number | bigint) =>
    call("chdir", [struct("", 8, [{ at: 0, size, value }])]);
  const slots = (count: number) =>
    Array.from({ length: count }, (_, index) => call("getpid", [], { out: slot(`${index}`) }));
  const fits: readonly (readonly Op[])[] = [
    slots(SLOT_COUNT - 2),
    [umask(-0x80000000), umask(0xffffffff)],
    [word(1, 255), word(1, -128), word(2, 65535), word(4, -0x80000000), word(8, 0xffffffffffffffffn)],
  ];
  const refused: readonly (readonly Op[])[] = [
    slots(SLOT_COUNT - 1),
    [umask(0x100000000)],
    [umask(-0x80000001)],
    [umask(1.5)],
    [umask(NaN)],
    [word(1, 256)],
    [word(1, -129)],
    [word(2, 65536)],
    [word(4, 0x100000000)],
    [word(8, 0x10000000000000000n)],
    [call("close", [fixedFd("no such")])],
    [call("chdir", [{ data: "fdPath", fd: "no such" }])],
    [call("chdir", [struct("", 8, [{ at: 0, size: 4, value: fixedFd("no such") }])])],
  ];
  for (const ops of fits) encoded(...ops);
  for (const ops of refused) assertThrows(() => encoded(...ops), RangeError, "", JSON.stringify(ops, showBigint));
  assertThrows(() => encode(plan(), { arch: "x86_64", fds: {} }), RangeError, "sync");
});

const showBigint = (_: string, value: unknown) => typeof value === "bigint" ? `${value}n` : value;

Deno.test("a table that handlers cannot point into is refused", () => {
  const limit = 64 << 20;
  refuseLongTable(limit - 4);
  // 64 MiB exactly would change the errno.
  const error = assertThrows(() => refuseLongTable(limit), RuncError, "more than 64 MiB");
  assertEquals(error.code, "unsupported");
});

Deno.test("a handler points as far as the table goes", () => {
  // 7 MiB of handlers, and behind them the end of the step.
  const call255 = call("getpid", [], { tolerate: Array(255).fill("EPERM") });
  const one = encodedOps([call("setsid", [], { endStepOn: ["EPERM"] }), ...Array(7000).fill(call255)]);
  const end = one.u32(20) + one.u32(24);
  assertEquals(decode(one)[0]!.handlers, [[1, end]]);
});

Deno.test("a large plan is folded, also where a small one is not worth it", () => {
  const image = (count: number, fold: boolean | "large") => {
    const steps = Array.from({ length: count }, (_, index) => step(`${index}`, "", [call("umask", [index])]));
    return encode({ stage: steps, init: [] }, { arch: "x86_64", fds: { sync: 3 }, fold }).image.length;
  };
  assertEquals(image(100, "large"), image(100, false));
  assertEquals(image(20_000, "large"), image(20_000, true));
  assert(image(20_000, "large") < image(20_000, false) / 2);
});

Deno.test("a plan with any number of names that live within one step is encoded", () => {
  for (let count = SLOT_COUNT - 4; count < SLOT_COUNT + 4; count++) {
    const steps = Array.from(
      { length: count },
      (_, index) => step(`${index}`, "", [call("getpid", [], { out: slot(`name ${index}`) })]),
    );
    const { image } = encode({ stage: steps, init: [] }, { arch: "x86_64", fds, fold: false });
    assert(image.length > 0, `${count} names`);
  }
});

Deno.test("more handlers than a byte can count are refused", () => {
  assertThrows(() => encoded(call("getpid", [], { tolerate: Array(256).fill("EPERM") })), RangeError);
});

Deno.test("equal plans give equal bytes, and every difference shows", () => {
  const make = (name: string) =>
    plan(
      call("openat", [-100, name, 0, 0], { out: slot("file"), endStepOn: ["ENOENT"] }),
      store(at(struct("", 16, [{ at: 0, size: 8, value: text(name) }]), 8), 4, slot("file")),
      call("getcwd", [buffer("cwd", 32), 32]),
    );
  const bytesOf = (name: string, sync = 250) => encode(make(name), { arch: "x86_64", fds: { sync } }).image.toHex();
  assertEquals(bytesOf("/a"), bytesOf("/a"));
  assertNotEquals(bytesOf("/a"), bytesOf("/b"));
  assertNotEquals(bytesOf("/a"), bytesOf("/a", 251));
});
