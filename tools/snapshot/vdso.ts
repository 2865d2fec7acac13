/**
 * A replacement for the vDSO, the kernel's code for clocks. Its functions are at the addresses that libc remembers, and
 * only make the system call. The kernel's own vDSO is at a different address in each process, and its version changes
 * with kernel updates.
 *
 * @see vdso(7)
 * @module
 */

/** The vDSO's functions, and the system calls with the same arguments and results. */
const functions: Readonly<Record<string, number>> = {
  clock_gettime: 228,
  gettimeofday: 96,
  time: 201,
  getcpu: 309,
  clock_getres: 229,
  getrandom: 318,
};

/** Elf64_Ehdr, Elf64_Shdr, Elf64_Sym and Elf64_Dyn; elf(5). */
const HEADER_SIZE = 64, SECTION_SIZE = 64, SYMBOL_SIZE = 24, DYNAMIC_SIZE = 16;
const SHT_HASH = 5, SHT_DYNAMIC = 6, SHT_DYNSYM = 11;
const SHT_GNU_HASH = 0x6ffffff6, SHT_GNU_VERDEF = 0x6ffffffd, SHT_GNU_VERSYM = 0x6fffffff;
/** The tag of an Elf64_Dyn with the library's own name. */
const DT_SONAME = 14;
/** What libc reads when it looks up a symbol, besides names. */
const kept = new Set([SHT_HASH, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERSYM]);

/** `mov eax, number; syscall; ret` */
const callOf = (number: number) => [0xb8, number & 0xff, number >> 8, 0, 0, 0x0f, 0x05, 0xc3];
/** `mov eax, -ENOSYS; ret`: for functions that libc never looks up, such as `__vdso_sgx_enter_enclave`. */
const refusal = [0xb8, 0xda, 0xff, 0xff, 0xff, 0xc3];

/**
 * The vDSO with its functions replaced: unchanged, they would read data that does not exist. Of the rest, only what is
 * needed to find the functions is kept: the notes contain the kernel's release, and other texts may tell where it was
 * built.
 */
export function standIn(vdso: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(vdso.buffer, vdso.byteOffset);
  const word = (at: number) => Number(view.getBigUint64(at, true));
  const result = new Uint8Array(vdso.length);
  const keep = (at: number, size: number) => result.set(vdso.subarray(at, at + size), at);
  const keepText = (at: number) => keep(at, vdso.indexOf(0, at) - at);
  keep(0, HEADER_SIZE);
  // The program headers: offset, size of each, count.
  keep(word(0x20), view.getUint16(0x36, true) * view.getUint16(0x38, true));
  for (const { type, at, size, names } of sectionsOf(view)) {
    if (kept.has(type)) keep(at, size);
    if (type === SHT_DYNAMIC) {
      for (let entry = at; entry < at + size; entry += DYNAMIC_SIZE) {
        if (word(entry) === DT_SONAME) keepText(names + word(entry + 8));
      }
    }
    if (type !== SHT_DYNSYM) continue;
    for (let symbol = at; symbol < at + size; symbol += SYMBOL_SIZE) {
      const name = names + view.getUint32(symbol, true);
      keepText(name);
      // A version name, or the null entry.
      if (word(symbol + 16) === 0) continue;
      const number = functions[textAt(vdso, name).replace("__vdso_", "")];
      result.set(number === undefined ? refusal : callOf(number), word(symbol + 8));
    }
  }
  return result;
}

interface Section {
  readonly type: number;
  readonly at: number;
  readonly size: number;
  /** Offset of the section with the texts of this one. */
  readonly names: number;
}

function sectionsOf(view: DataView): readonly Section[] {
  const word = (at: number) => Number(view.getBigUint64(at, true));
  const sectionAt = (index: number) => word(0x28) + index * SECTION_SIZE;
  return Array.from({ length: view.getUint16(0x3c, true) }, (_, index) => {
    const section = sectionAt(index);
    const names = word(sectionAt(view.getUint32(section + 0x28, true)) + 0x18);
    return { type: view.getUint32(section + 4, true), at: word(section + 0x18), size: word(section + 0x20), names };
  });
}

function textAt(bytes: Uint8Array, at: number): string {
  return new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));
}
