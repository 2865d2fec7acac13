import { assert, assertEquals } from "@std/assert";
import { containerDeviceFilter, type DeviceFilter } from "../../../../lib/cgroups/devices/rules.ts";
import { deviceProgram, encodeProgram } from "../../../../lib/cgroups/devices/v2.ts";

/** The program as hexadecimal bytes beside its text. */
function listing(filter: DeviceFilter): string {
  const program = deviceProgram(filter);
  const bytes = encodeProgram(program);
  return program.map(({ text }, index) => `${bytes.subarray(8 * index, 8 * index + 8).toHex()} ${text}`).join("\n");
}

const start = `6112000000000000 r2 = *(u32 *)(r1 + 0x0)
54020000ffff0000 w2 &= 0xffff
6113000000000000 r3 = *(u32 *)(r1 + 0x0)
7403000010000000 w3 >>= 0x10
6114040000000000 r4 = *(u32 *)(r1 + 0x4)
6115080000000000 r5 = *(u32 *)(r1 + 0x8)
`;

// The bytes were read back with llvm-objdump 14 (which does not know JSET32, opcode 46) and loaded by Linux 6.18.
Deno.test("deviceProgram() allows the exceptions of a filter that denies", () => {
  const exceptions = [
    { type: "c", major: 1, minor: 3, access: 7 },
    { type: "b", major: -1, minor: -1, access: 1 },
    { type: "c", major: 0xfffffffe, minor: -1, access: 6 },
  ] as const;
  assertEquals(
    listing({ allowsByDefault: false, exceptions }),
    `${start}5602040002000000 if w2 != 0x2 goto +0x4
5604030001000000 if w4 != 0x1 goto +0x3
5605020003000000 if w5 != 0x3 goto +0x2
b400000001000000 w0 = 0x1
9500000000000000 exit
5602030001000000 if w2 != 0x1 goto +0x3
4603020006000000 if w3 & 0x6 goto +0x2
b400000001000000 w0 = 0x1
9500000000000000 exit
5602040002000000 if w2 != 0x2 goto +0x4
4603030001000000 if w3 & 0x1 goto +0x3
56040200feffffff if w4 != 0xfffffffe goto +0x2
b400000001000000 w0 = 0x1
9500000000000000 exit
b400000000000000 w0 = 0x0
9500000000000000 exit`,
  );
});

Deno.test("deviceProgram() denies the exceptions of a filter that allows, whichever access of theirs is asked", () => {
  const exceptions = [{ type: "b", major: 8, minor: -1, access: 4 }] as const;
  assertEquals(
    listing({ allowsByDefault: true, exceptions }),
    `${start}5602050001000000 if w2 != 0x1 goto +0x5
4603010004000000 if w3 & 0x4 goto +0x1
0500030000000000 goto +0x3
5604020008000000 if w4 != 0x8 goto +0x2
b400000000000000 w0 = 0x0
9500000000000000 exit
b400000001000000 w0 = 0x1
9500000000000000 exit`,
  );
});

interface Request {
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  readonly access: number;
}

/** Runs the encoded program as the kernel would: the few instructions that it uses, 32-bit. */
function run(code: Uint8Array, { type, major, minor, access }: Request): number {
  const view = new DataView(code.buffer);
  const context: Readonly<Record<number, number>> = { 0: access << 16 | (type === "b" ? 1 : 2), 4: major, 8: minor };
  const registers = new Uint32Array(11);
  for (let at = 0; at < code.length; at += 8) {
    const destination = view.getUint8(at + 1) & 15;
    const offset = view.getInt16(at + 2, true);
    const immediate = view.getUint32(at + 4, true);
    const value = registers[destination] ?? 0;
    const opcode = view.getUint8(at);
    if (opcode === 0x95) return registers[0] ?? 0;
    else if (opcode === 0x61) registers[destination] = context[offset] ?? 0;
    else if (opcode === 0x54) registers[destination] = value & immediate;
    else if (opcode === 0x74) registers[destination] = value >>> immediate;
    else if (opcode === 0xb4) registers[destination] = immediate;
    else if (opcode === 0x05) at += 8 * offset;
    else if (opcode === 0x56) at += value !== immediate ? 8 * offset : 0;
    else if (opcode === 0x46) at += value & immediate ? 8 * offset : 0;
    else throw new Error(`opcode ${opcode}`);
  }
  throw new Error("no exit");
}

/** What the v1 controller does with the same filter: __devcgroup_check_permission, security/device_cgroup.c. */
function allows({ allowsByDefault, exceptions }: DeviceFilter, request: Request): boolean {
  const about = exceptions.filter(({ type, major, minor }) =>
    type === request.type && [-1, request.major].includes(major) && [-1, request.minor].includes(minor)
  );
  if (allowsByDefault) return !about.some(({ access }) => access & request.access);
  return about.some(({ access }) => (request.access & ~access) === 0);
}

Deno.test("deviceProgram() answers every request as the v1 controller does", () => {
  const filters = [
    containerDeviceFilter([{ allow: false, access: "rwm" }]),
    containerDeviceFilter([{ allow: true, type: "b", major: 8, access: "r" }, {
      allow: true,
      type: "b",
      minor: 3,
      access: "w",
    }]),
    containerDeviceFilter([{ allow: true, access: "rwm" }]),
    containerDeviceFilter([{ allow: true, access: "rwm" }, { allow: false, type: "b", major: 8, access: "w" }]),
    containerDeviceFilter([{ allow: true, access: "rwm" }, {
      allow: false,
      type: "b",
      major: 8,
      minor: 3,
      access: "rm",
    }]),
  ];
  let allowed = 0, denied = 0;
  for (const filter of filters) {
    const code = encodeProgram(deviceProgram(filter));
    for (const type of ["b", "c"] as const) {
      for (const major of [0, 1, 5, 8, 136, 0xffffffff]) {
        for (const minor of [0, 3, 200]) {
          for (let access = 1; access <= 7; access++) {
            const request = { type, major, minor, access };
            const wanted = allows(filter, request);
            assertEquals(run(code, request) === 1, wanted, JSON.stringify({ filter, request }));
            if (wanted) allowed++;
            else denied++;
          }
        }
      }
    }
  }
  assert(allowed > 300 && denied > 300);
});
