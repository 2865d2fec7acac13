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

/** Elf64_Shdr and Elf64_Sym; elf(5). */
const SECTION_SIZE = 64, SYMBOL_SIZE = 24, SHT_DYNSYM = 11;

/** `mov eax, number; syscall; ret` */
const callOf = (number: number) => [0xb8, number & 0xff, number >> 8, 0, 0, 0x0f, 0x05, 0xc3];
/** `mov eax, -ENOSYS; ret`: for functions that libc never looks up, such as `__vdso_sgx_enter_enclave`. */
const refusal = [0xb8, 0xda, 0xff, 0xff, 0xff, 0xc3];

/** The vDSO with its functions replaced. Unchanged, they would read data that does not exist. */
export function standIn(vdso: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(vdso.buffer, vdso.byteOffset);
  const word = (at: number) => Number(view.getBigUint64(at, true));
  const result = vdso.slice();
  const sections = word(0x28);
  for (let index = 0; index < view.getUint16(0x3c, true); index++) {
    const section = sections + index * SECTION_SIZE;
    if (view.getUint32(section + 4, true) !== SHT_DYNSYM) continue;
    const names = word(sections + view.getUint32(section + 0x28, true) * SECTION_SIZE + 0x18);
    const symbols = word(section + 0x18);
    for (let symbol = symbols; symbol < symbols + word(section + 0x20); symbol += SYMBOL_SIZE) {
      // A version name, or the null entry.
      if (word(symbol + 16) === 0) continue;
      const name = textAt(vdso, names + view.getUint32(symbol, true)).replace("__vdso_", "");
      const number = functions[name];
      result.set(number === undefined ? refusal : callOf(number), word(symbol + 8));
    }
  }
  return result;
}

function textAt(bytes: Uint8Array, at: number): string {
  return new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));
}
