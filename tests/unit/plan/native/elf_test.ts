import { assert, assertEquals } from "@std/assert";
import { buildImage, programBase } from "../../../../lib/plan/native/elf.ts";
import { interpreterCode } from "../../../../lib/plan/native/interpreter_code.ts";

const program = new Uint8Array(100).fill(0x11);
const trailer = new Uint8Array(8).fill(0x22);

/** elf(5), `Elf64_Phdr`: what we look at, in the struct's order. */
function segments(image: Uint8Array<ArrayBuffer>) {
  const view = new DataView(image.buffer);
  const start = Number(view.getBigUint64(32, true));
  return Array.from({ length: view.getUint16(56, true) }, (_, index) => {
    const at = start + index * view.getUint16(54, true);
    const word = (offset: number) => Number(view.getBigUint64(at + offset, true));
    const [type, flags] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    return {
      type,
      flags,
      offset: word(8),
      address: word(16),
      fileSize: word(32),
      memorySize: word(40),
      align: word(48),
    };
  });
}

for (const { arch, machine } of [{ arch: "x86_64", machine: 62 }, { arch: "aarch64", machine: 183 }] as const) {
  const { image, programOffset } = buildImage({ arch, program, zeroLength: 5000, trailer });
  const codeEnd = 232 + interpreterCode[arch].length / 2;

  Deno.test(`an ${arch} image is a little-endian 64-bit ELF executable that starts at its code`, () => {
    const view = new DataView(image.buffer);
    assertEquals(image.subarray(0, 7).toHex(), "7f454c46020101");
    assertEquals(view.getUint16(16, true), 2);
    assertEquals(view.getUint16(18, true), machine);
    assertEquals(view.getBigUint64(24, true), 0x400000n + 232n);
    assertEquals(image.subarray(232, codeEnd).toHex(), interpreterCode[arch]);
  });

  Deno.test(`an ${arch} image maps code read-execute, the program read-write, and asks for a plain stack`, () => {
    const [code, data, stack, ...others] = segments(image);
    assertEquals(others, []);
    const [r_x, rw_, align] = [5, 6, 0x10000];
    assertEquals(code, {
      type: 1,
      flags: r_x,
      offset: 0,
      address: 0x400000,
      fileSize: codeEnd,
      memorySize: codeEnd,
      align,
    });
    assertEquals(data, {
      type: 1,
      flags: rw_,
      offset: programOffset,
      address: programBase(arch),
      fileSize: 100,
      memorySize: 5100,
      align,
    });
    assertEquals([stack?.type, stack?.flags], [0x6474e551, rw_]);
  });

  Deno.test(`an ${arch} image can be mapped with pages of 4 to 64 KiB`, () => {
    const loaded = segments(image).filter((segment) => segment.type === 1);
    for (const { offset, address } of loaded) assertEquals(address % 0x10000, offset);
    const pages = loaded.map((segment) => Math.floor(segment.address / 0x10000));
    assertEquals(new Set(pages).size, pages.length);
  });

  Deno.test(`an ${arch} image has the program at a multiple of 16, then the trailer, then nothing`, () => {
    assertEquals(programOffset % 16, 0);
    assert(programOffset >= codeEnd);
    assertEquals(image.subarray(programOffset, programOffset + 100), program);
    assertEquals(image.subarray(programOffset + 100), trailer);
  });
}
