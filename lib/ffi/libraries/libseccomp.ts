/**
 * libseccomp: compiles seccomp profiles. It is only opened if a container has one.
 *
 * Its functions return −errno themselves, and −1 is one of those values (EPERM). So they are called by address without
 * kernel.ts's trampoline, which would read errno on −1.
 *
 * @see seccomp_init(3), seccomp_rule_add(3), seccomp_syscall_resolve_name(3), seccomp_export_bpf(3)
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Errno } from "../errno.ts";
import { alloc, cString, type Kernel, syscallError } from "../kernel.ts";
import { isThere, memfd } from "../files.ts";
import { type LibraryFunctions, openLibrary, type WantedLibrary } from "./open_library.ts";

const NAME = "libseccomp.so.2";

const library: WantedLibrary = {
  name: NAME,
  purpose: "to compile seccomp profiles",
  field: "/linux/seccomp",
  hint: "install libseccomp 2.5 or newer: libseccomp2 (Debian, Ubuntu), libseccomp (Fedora, Alpine)",
};

const functions = {
  seccomp_version: { parameters: [], result: "pointer" },
  seccomp_arch_native: { parameters: [], result: "u32" },
  seccomp_syscall_resolve_name_arch: { parameters: ["u32", "buffer"], result: "i32" },
  seccomp_syscall_resolve_num_arch: { parameters: ["u32", "i32"], result: "pointer" },
  seccomp_init: { parameters: ["u32"], result: "pointer" },
  seccomp_release: { parameters: ["pointer"], result: "void" },
  seccomp_arch_add: { parameters: ["pointer", "u32"], result: "i32" },
  seccomp_attr_set: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  seccomp_rule_add_array: { parameters: ["pointer", "u32", "i32", "u32", "buffer"], result: "i32" },
  seccomp_export_bpf: { parameters: ["pointer", "i32"], result: "i32" },
} as const;

type Functions = LibraryFunctions<typeof functions>;

/** enum scmp_filter_attr, seccomp.h */
const SCMP_FLTATR_CTL_OPTIMIZE = 8;

/** A condition on an argument, `struct scmp_arg_cmp`. */
export interface Comparison {
  /** 0 to 5. */
  readonly argument: number;
  /** `enum scmp_compare`. */
  readonly operator: number;
  /** The value to compare with; for SCMP_CMP_MASKED_EQ the mask. */
  readonly value: bigint;
  /** For SCMP_CMP_MASKED_EQ: the value that the masked argument must have. */
  readonly valueTwo: bigint;
}

/** The result of {@link Libseccomp.resolve} for an unknown name: __NR_SCMP_ERROR. */
export const UNKNOWN_SYSCALL = -1;

/**
 * Identifies the library that {@link Libseccomp} would open, as a text that changes when the library is replaced. The
 * library is not opened, because opening it takes longer than everything else when a compiled filter is cached.
 * Undefined if the library is in another directory or missing. ld.so(8)
 */
export function installedLibseccomp(kernel: Kernel): string | undefined {
  if (Deno.env.has("LD_LIBRARY_PATH") || Deno.env.has("LD_PRELOAD")) return undefined;
  const found = libraryDirectories(kernel).flatMap((directory) => identityOf(kernel, `${directory}/${NAME}`));
  // The linker's cache lists libraries in other directories.
  return found.length === 0 ? undefined : [...found, ...identityOf(kernel, "/etc/ld.so.cache")].join("\n");
}

function libraryDirectories({ arch }: Kernel): readonly string[] {
  const triple = `${arch}-linux-gnu`;
  return [`/usr/local/lib/${triple}`, "/usr/local/lib", `/lib/${triple}`, "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
}

function identityOf(kernel: Kernel, path: string): readonly string[] {
  // Checked first because exceptions are expensive.
  if (!isThere(kernel, path)) return [];
  const { isFile, dev, ino, size, mtime } = Deno.statSync(path);
  return isFile ? [`${path} ${dev} ${ino} ${size} ${mtime?.getTime()}`] : [];
}

/** The library, opened. */
export class Libseccomp {
  readonly #kernel: Kernel;
  readonly #functions: Functions;

  /** @throws {RuncError} `host-lacks` if the library is not installed. */
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#functions = openLibrary(kernel, library, functions);
  }

  /** `2.5.4`. */
  get version(): string {
    // struct scmp_version: three unsigned ints.
    const view = new Deno.UnsafePointerView(this.#functions.seccomp_version.call()!);
    return [0, 4, 8].map((offset) => view.getUint32(offset)).join(".");
  }

  /** The SCMP_ARCH token of this machine. */
  get nativeArch(): number {
    return this.#functions.seccomp_arch_native.call();
  }

  /**
   * The number of a system call on an architecture. {@link UNKNOWN_SYSCALL} if no architecture has the name; another
   * negative number if only other architectures have it. `arch`: SCMP_ARCH token.
   */
  resolve(name: string, arch: number): number {
    return this.#functions.seccomp_syscall_resolve_name_arch.call(arch, cString(name));
  }

  /** The name of a system call on an architecture; undefined if the library has none. `arch`: SCMP_ARCH token. */
  nameOf(number: number, arch: number): string | undefined {
    const text = this.#functions.seccomp_syscall_resolve_num_arch.call(arch, number);
    if (text === null) return undefined;
    const name = Deno.UnsafePointerView.getCString(text);
    this.#kernel.call("free", BigInt(Deno.UnsafePointer.value(text)));
    return name;
  }

  /**
   * An empty filter for this machine's architecture. `action`: SCMP_ACT value for system calls without a rule. @throws
   * {RuncError}
   */
  filter(action: number): SeccompContext {
    const context = this.#functions.seccomp_init.call(action);
    if (context === null) throw new RuncError("config-invalid", "error creating filter: invalid default action");
    return new SeccompContext(this.#kernel, this.#functions, context);
  }
}

/** A filter under construction. */
export class SeccompContext implements Disposable {
  readonly #kernel: Kernel;
  readonly #functions: Functions;
  readonly #context: Deno.PointerObject;

  /** Takes ownership of `context`. */
  constructor(kernel: Kernel, functions: Functions, context: Deno.PointerObject) {
    this.#kernel = kernel;
    this.#functions = functions;
    this.#context = context;
  }

  /** Adds an architecture; adding one twice is fine. Returns 0 or −errno. */
  addArch(arch: number): number {
    const result = this.#functions.seccomp_arch_add.call(this.#context, arch);
    return result === -Errno.EEXIST ? 0 : result;
  }

  /**
   * Asks for a binary tree over the system call numbers. Libraries before 2.5 refuse, which only makes the filter
   * slower.
   */
  optimize(): void {
    this.#functions.seccomp_attr_set.call(this.#context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  }

  /** Adds a rule; it matches if all comparisons hold. Returns 0 or −errno. */
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

  /** The filter as an array of `struct sock_filter`. @throws {RuncError} */
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
