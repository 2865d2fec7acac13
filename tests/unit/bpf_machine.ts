/**
 * The kernel's classic BPF machine, as far as seccomp filters go: what a test runs a program in.
 *
 * @see https://www.kernel.org/doc/html/latest/networking/filter.html
 * @module
 */

/** What a filter looks at: `struct seccomp_data`. */
export interface Call {
  /** AUDIT_ARCH_*. */
  readonly arch: number;
  /** Number of the system call. */
  readonly nr: number;
  /** Up to six 64-bit arguments. */
  readonly args?: readonly bigint[];
}

export const AuditArch = { I386: 0x40000003, X86_64: 0xc000003e, AARCH64: 0xc00000b7, S390X: 0x80000016 } as const;

function dataOf({ arch, nr, args = [] }: Call): DataView {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  args.forEach((value, index) => data.setBigUint64(16 + 8 * index, BigInt.asUintN(64, value), true));
  return data;
}

/** What the program (`struct sock_filter[]`) answers about a call: SECCOMP_RET_*. @throws where the kernel would refuse the program. */
export function runBpf(program: Uint8Array, call: Call): number {
  const data = dataOf(call);
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [code, jt, jf, k] = [
      view.getUint16(at, true),
      view.getUint8(at + 2),
      view.getUint8(at + 3),
      view.getUint32(at + 4, true),
    ];
    const branch = (holds: boolean) => at += 8 * (holds ? jt : jf);
    switch (code) {
      case 0x20:
        accumulator = data.getUint32(k, true);
        break;
      case 0x54:
        accumulator = (accumulator & k) >>> 0;
        break;
      case 0x05:
        at += 8 * k;
        break;
      case 0x15:
        branch(accumulator === k);
        break;
      case 0x25:
        branch(accumulator > k);
        break;
      case 0x35:
        branch(accumulator >= k);
        break;
      case 0x45:
        branch((accumulator & k) !== 0);
        break;
      case 0x06:
        return k;
      default:
        throw new Error(`instruction ${at / 8} has the unknown code 0x${code.toString(16)}`);
    }
  }
  throw new Error("the program has no end");
}
