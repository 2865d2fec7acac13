/**
 * libseccomp: compiles seccomp profiles. Opened only where a container has one.
 *
 * Its functions return −errno themselves, and −1 is a number among others: they are called by address without the trampoline of
 * kernel.ts, which would look for errno.
 *
 * @see seccomp_init(3), seccomp_rule_add(3), seccomp_syscall_resolve_name(3), seccomp_export_bpf(3)
 * @module
 */

import { RuncError } from "../errors.ts";
import { alloc, bind, cString, type Kernel, syscallError } from "./kernel.ts";
import { isThere, memfd } from "./files.ts";

const NAME = "libseccomp.so.2";
const RTLD_NOW = 2;

const functions = {
  seccomp_version: { parameters: [], result: "pointer" },
  seccomp_arch_native: { parameters: [], result: "u32" },
  seccomp_syscall_resolve_name_arch: { parameters: ["u32", "buffer"], result: "i32" },
  seccomp_init: { parameters: ["u32"], result: "pointer" },
  seccomp_release: { parameters: ["pointer"], result: "void" },
  seccomp_arch_add: { parameters: ["pointer", "u32"], result: "i32" },
  seccomp_attr_set: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  seccomp_rule_add_array: { parameters: ["pointer", "u32", "i32", "u32", "buffer"], result: "i32" },
  seccomp_export_bpf: { parameters: ["pointer", "i32"], result: "i32" },
} as const;

type Functions = { readonly [Name in keyof typeof functions]: Deno.UnsafeFnPointer<(typeof functions)[Name]> };

/** enum scmp_filter_attr, seccomp.h */
const SCMP_FLTATR_CTL_OPTIMIZE = 8;
const EEXIST = 17;

/** A condition on an argument, `struct scmp_arg_cmp`. */
export interface Comparison {
  /** 0 to 5. */
  readonly argument: number;
  /** `enum scmp_compare`. */
  readonly operator: number;
  /** What to compare with; the mask of SCMP_CMP_MASKED_EQ. */
  readonly value: bigint;
  /** For SCMP_CMP_MASKED_EQ: what the masked argument must be. */
  readonly valueTwo: bigint;
}

/** What {@link Libseccomp.resolve} answers for a name that it does not know: __NR_SCMP_ERROR. */
export const UNKNOWN_SYSCALL = -1;

/**
 * Which library {@link Libseccomp} would open, as text: another one, or a newer one in its place, gives another text. It is not opened, which
 * takes longer than all else where a filter is there already. Undefined where it may lie elsewhere, or nowhere. ld.so(8)
 */
export function installedLibseccomp(kernel: Kernel): string | undefined {
  if (Deno.env.has("LD_LIBRARY_PATH") || Deno.env.has("LD_PRELOAD")) return undefined;
  const found = libraryDirectories(kernel).flatMap((directory) => identityOf(kernel, `${directory}/${NAME}`));
  // What the linker knows of other directories.
  return found.length === 0 ? undefined : [...found, ...identityOf(kernel, "/etc/ld.so.cache")].join("\n");
}

function libraryDirectories({ arch }: Kernel): readonly string[] {
  const triple = `${arch}-linux-gnu`;
  return [`/usr/local/lib/${triple}`, "/usr/local/lib", `/lib/${triple}`, "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
}

function identityOf(kernel: Kernel, path: string): readonly string[] {
  // Errors are dear.
  if (!isThere(kernel, path)) return [];
  const { isFile, dev, ino, size, mtime } = Deno.statSync(path);
  return isFile ? [`${path} ${dev} ${ino} ${size} ${mtime?.getTime()}`] : [];
}

/** The library, opened. */
export class Libseccomp {
  readonly #kernel: Kernel;
  readonly #functions: Functions;

  /** @throws {RuncError} `host-lacks` where it is not installed. */
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const library = kernel.call("dlopen", cString(NAME), RTLD_NOW);
    if (library === 0) throw missing(`cannot open ${NAME}, which compiles seccomp profiles`);
    const bound = Object.entries(functions).map(([name, signature]) => {
      const address = Deno.UnsafePointer.create(BigInt(kernel.call("dlsym", library, cString(name))));
      if (address === null) throw missing(`${NAME} has no function ${name}`);
      return [name, bind<Deno.ForeignFunction>(address, signature)];
    });
    this.#functions = Object.fromEntries(bound);
  }

  /** `2.5.4`. */
  get version(): string {
    // struct scmp_version: three unsigned ints.
    const view = new Deno.UnsafePointerView(this.#functions.seccomp_version.call()!);
    return [0, 4, 8].map((offset) => view.getUint32(offset)).join(".");
  }

  /** This machine's SCMP_ARCH token. */
  get nativeArch(): number {
    return this.#functions.seccomp_arch_native.call();
  }

  /**
   * The number of a system call on an architecture, {@link UNKNOWN_SYSCALL} for a name that no architecture has, another negative number
   * for one that other architectures have. `arch`: SCMP_ARCH token.
   */
  resolve(name: string, arch: number): number {
    return this.#functions.seccomp_syscall_resolve_name_arch.call(arch, cString(name));
  }

  /** An empty filter for this machine's architecture. `action`: SCMP_ACT value of what no rule is for. @throws {RuncError} */
  filter(action: number): SeccompContext {
    const context = this.#functions.seccomp_init.call(action);
    if (context === null) throw new RuncError("config-invalid", "error creating filter: invalid default action");
    return new SeccompContext(this.#kernel, this.#functions, context);
  }
}

/** A filter being put together. */
export class SeccompContext implements Disposable {
  readonly #kernel: Kernel;
  readonly #functions: Functions;
  readonly #context: Deno.PointerObject;

  /** Takes `context` over. */
  constructor(kernel: Kernel, functions: Functions, context: Deno.PointerObject) {
    this.#kernel = kernel;
    this.#functions = functions;
    this.#context = context;
  }

  /** Adds an architecture; one that is there already is fine. Returns 0 or −errno. */
  addArch(arch: number): number {
    const result = this.#functions.seccomp_arch_add.call(this.#context, arch);
    return result === -EEXIST ? 0 : result;
  }

  /** Asks for a binary tree over the system calls' numbers; a library before 2.5 cannot, which changes nothing but the speed. */
  optimize(): void {
    this.#functions.seccomp_attr_set.call(this.#context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  }

  /** Adds a rule, all of whose comparisons must hold. Returns 0 or −errno. */
  addRule(action: number, syscall: number, comparisons: readonly Comparison[]): number {
    const array = alloc(24 * comparisons.length);
    const view = new DataView(array.buffer);
    comparisons.forEach(({ argument, operator, value, valueTwo }, index) => {
      view.setUint32(24 * index, argument, true);
      view.setUint32(24 * index + 4, operator, true);
      view.setBigUint64(24 * index + 8, value, true);
      view.setBigUint64(24 * index + 16, valueTwo, true);
    });
    return this.#functions.seccomp_rule_add_array.call(this.#context, action, syscall, comparisons.length, array);
  }

  /** The filter as `struct sock_filter`s. @throws {RuncError} */
  exportBpf(): Uint8Array<ArrayBuffer> {
    using file = memfd(this.#kernel, "seccomp");
    const result = this.#functions.seccomp_export_bpf.call(this.#context, file.number);
    if (result < 0) throw syscallError("seccomp_export_bpf", -result);
    const SEEK_END = 2;
    const size = this.#kernel.must("lseek(seccomp, 0, SEEK_END)", "lseek", file.number, 0, SEEK_END);
    const program = alloc(size);
    this.#kernel.must("pread(seccomp)", "pread", file.number, program, size, 0);
    return program;
  }

  [Symbol.dispose](): void {
    this.#functions.seccomp_release.call(this.#context);
  }
}

function missing(message: string): RuncError {
  return new RuncError("host-lacks", message, {
    field: "/linux/seccomp",
    hint: "install libseccomp 2.5 or newer: libseccomp2 (Debian, Ubuntu), libseccomp (Fedora, Alpine)",
  });
}
