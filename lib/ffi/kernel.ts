/**
 * The interface to libc: every native call of the program goes through one {@link Kernel}.
 *
 * `Deno.dlopen` binds only `dlsym`, because each bound symbol costs a compiled trampoline of its own (0.3 ms). Every
 * other function is looked up with `dlsym` at its first call and then called by address, through a few bytes of machine
 * code that return −errno (see machine_code.ts).
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { Errno, errnoName, errnoText } from "./errno.ts";
import { callsListing, listingBytes, rowListing, trampolineListing } from "./machine_code.ts";
import type { Arch } from "./syscalls.ts";

/** A C argument: an integer, a buffer passed by address, or NULL. */
export type Argument = number | bigint | Uint8Array<ArrayBuffer> | null;

/** A call of a libc function, which is not made yet. */
export interface Call {
  /** The function's name. */
  readonly call: string;
  /** Its arguments. */
  readonly args: readonly Argument[];
}

/** What a row of {@link callsListing} has room for. */
const MOST_ROW_ARGUMENTS = 3;

const PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4;
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20;

const mmapSignature = { parameters: ["u64", "u64", "i32", "i32", "i32", "i64"], result: "u64" } as const;
const mprotectSignature = { parameters: ["u64", "u64", "i32"], result: "i32" } as const;
/** The words of a row of {@link rowListing}: a function and its arguments. */
const ROW_WORDS = 8;
/** bsearch(3) of one element calls its comparison once, with the addresses of the key and of the element. */
const bsearchSignature = {
  name: "bsearch",
  parameters: ["pointer", "pointer", "usize", "usize", "pointer"],
  result: "void",
} as const;

const word = "i64" as const;
const callSignature = { parameters: ["pointer", word, word, word, word, word, word, word], result: word } as const;
const asyncSignature = { ...callSignature, nonblocking: true } as const;

/** Zeroed memory for a C call. It is outside the JavaScript heap, so its address does not change. */
export function alloc(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(size));
}

/**
 * `text` as a NUL-terminated string.
 *
 * @throws {RuncError} if it contains a NUL, where C would cut it.
 */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new RuncError("usage", `${JSON.stringify(text)} contains a NUL byte`);
  // At most three bytes of UTF-8 per UTF-16 unit.
  const bytes = alloc(text.length * 3 + 1);
  const { written } = new TextEncoder().encodeInto(text, bytes);
  return bytes.subarray(0, written + 1);
}

/** The address of a buffer, valid as long as the buffer is referenced. */
export function addressOf(buffer: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)));
}

/** The same as a number. Nothing of this program is mapped above 2^53: the kernel does so only on request. */
function addressNumber(buffer: Uint8Array<ArrayBuffer>): number {
  return Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)));
}

/** The machine's architecture as the kernel names it. */
export function hostArch(): Arch {
  return Deno.build.arch;
}

/**
 * The function at `address` with that signature. The cast is needed because Deno's type wants a pointer that carries
 * the signature.
 */
export function bind<const Signature extends Deno.ForeignFunction>(
  address: Deno.PointerObject,
  signature: Signature,
): Deno.UnsafeFnPointer<Signature> {
  return new Deno.UnsafeFnPointer<Signature>(
    address as ConstructorParameters<typeof Deno.UnsafeFnPointer<Signature>>[0],
    signature,
  );
}

/**
 * Calls on this thread, for a program that makes many. Deno calls an address in 5 to 10 µs, but a symbol in 0.03 µs once
 * V8 has optimised the caller. libc has a symbol that calls any address: bsearch(3). So the function and its arguments
 * are written to a row in memory, and bsearch calls the code that makes the row's call.
 */
class FastCalls {
  readonly #library: Deno.DynamicLibrary<{ callRow: typeof bsearchSignature }>;
  readonly #code: Deno.PointerObject;
  readonly #words = new BigInt64Array(new ArrayBuffer(8 * ROW_WORDS));
  /** The same memory. V8 does not optimise code for long that stores large integers. */
  readonly #halves = new Int32Array(this.#words.buffer);
  readonly #row = Deno.UnsafePointer.of(this.#words);

  /** `code`: {@link rowListing}. */
  constructor(code: Deno.PointerObject) {
    this.#library = Deno.dlopen("libc.so.6", { callRow: bsearchSignature });
    this.#code = code;
  }

  /** The result, or −errno. `address`: of the function. */
  call(address: number, args: readonly Argument[]): number {
    const halves = this.#halves;
    this.#putNumber(0, address);
    const count = args.length;
    for (let index = 1; index < ROW_WORDS; index++) {
      const value = index <= count ? args[index - 1]! : 0;
      if (typeof value === "number") this.#putNumber(index, value);
      else if (typeof value === "bigint") this.#putLarge(index, value);
      else this.#putNumber(index, value === null || value.length === 0 ? 0 : addressNumber(value));
    }
    this.#library.symbols.callRow(this.#row, this.#row, 1n, 8n, this.#code);
    return halves[1]! * 0x100000000 + (halves[0]! >>> 0);
  }

  #putNumber(index: number, value: number): void {
    this.#halves[2 * index] = value;
    this.#halves[2 * index + 1] = Math.floor(value / 0x100000000);
  }

  #putLarge(index: number, value: bigint): void {
    this.#words[index] = BigInt.asIntN(64, value);
  }

  close(): void {
    this.#library.close();
  }
}

/** libc, opened. One per process is enough. Only `main.ts` and users of the library open it. */
export class Kernel {
  /** The machine's architecture. */
  readonly arch: Arch = hostArch();
  readonly #library: Deno.DynamicLibrary<{ dlsym: { parameters: ["u64", "buffer"]; result: "pointer" } }>;
  /** The last call's arguments. They keep a buffer from being collected between taking its address and the call. */
  protected held: readonly Argument[] = [];
  readonly #functions = new Map<string, Deno.PointerObject>();
  /** The addresses of functions, for {@link FastCalls}. */
  readonly #numbers = new Map<string, number>();
  readonly #fast?: FastCalls;
  readonly #call: Deno.UnsafeFnPointer<typeof callSignature>;
  readonly #callAsync: () => Deno.UnsafeFnPointer<typeof asyncSignature>;
  readonly #trampoline: Deno.PointerObject;
  #calls?: Deno.PointerObject;

  /**
   * `isLasting`: the program makes many calls, so it is worth 0.5 ms and a page of memory to make them fast.
   *
   * @throws {RuncError} `host-lacks` if there is no glibc.
   */
  constructor({ isLasting = false }: { readonly isLasting?: boolean } = {}) {
    try {
      this.#library = Deno.dlopen("libc.so.6", { dlsym: { parameters: ["u64", "buffer"], result: "pointer" } });
    } catch (cause) {
      throw new RuncError("host-lacks", "cannot open libc.so.6", {
        cause,
        hint: "this program needs glibc 2.34 or newer",
      });
    }
    const errnoLocation = Deno.UnsafePointer.value(this.#address("__errno_location"));
    const trampoline = this.mapCode(listingBytes(trampolineListing[this.arch], BigInt(errnoLocation)));
    this.#trampoline = trampoline;
    this.#call = bind(trampoline, callSignature);
    this.#callAsync = () => bind(trampoline, asyncSignature);
    if (isLasting) {
      const address = BigInt(Deno.UnsafePointer.value(trampoline));
      this.#fast = new FastCalls(this.mapCode(listingBytes(rowListing[this.arch], address)));
    }
  }

  #address(name: string): Deno.PointerObject {
    let address = this.#functions.get(name) ?? null;
    if (address === null) {
      address = this.#find(name);
      if (address === null) {
        throw new RuncError("host-lacks", `libc has no function ${name}`, {
          hint: "this program needs glibc 2.34 or newer",
        });
      }
      this.#functions.set(name, address);
    }
    return address;
  }

  #find(name: string): Deno.PointerObject | null {
    // 0 is RTLD_DEFAULT: search every loaded library.
    return this.#library.symbols.dlsym(0n, cString(name));
  }

  /** The address of a libc function or variable; undefined if this libc does not have it. */
  addressIfAny(name: string): bigint | undefined {
    const address = this.#find(name);
    return address === null ? undefined : BigInt(Deno.UnsafePointer.value(address));
  }

  /**
   * Copies machine code into memory of its own, which is never writable and executable at once. Returns its address.
   */
  mapCode(code: Uint8Array<ArrayBuffer>): Deno.PointerObject {
    const mmap = bind(this.#address("mmap"), mmapSignature);
    const mprotect = bind(this.#address("mprotect"), mprotectSignature);
    const address = mmap.call(0n, BigInt(code.length), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0n);
    const pointer = Deno.UnsafePointer.create(address);
    // MAP_FAILED is -1.
    if (pointer === null || address === 0xffffffffffffffffn) {
      throw new RuncError("syscall-failed", "mmap of one page failed");
    }
    new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, code.length)).set(code);
    if (mprotect.call(address, BigInt(code.length), PROT_READ | PROT_EXEC) !== 0) {
      throw new RuncError("syscall-failed", "mprotect of one page to PROT_READ|PROT_EXEC failed");
    }
    return pointer;
  }

  /**
   * Calls libc's `name` on this thread. Returns its result, or −errno. The caller retries EINTR.
   *
   * If a struct holds the address of a buffer, pass that buffer as a further argument (up to seven in all). The C
   * function ignores it, and it stays referenced until the call returns.
   */
  call(name: string, ...args: Argument[]): number {
    return this.#fast === undefined
      ? this.#invoke(this.#address(name), args)
      : this.#invokeFast(this.#fast, name, args);
  }

  #invokeFast(fast: FastCalls, name: string, args: readonly Argument[]): number {
    this.held = args;
    let address = this.#numbers.get(name);
    if (address === undefined) {
      address = Number(Deno.UnsafePointer.value(this.#address(name)));
      this.#numbers.set(name, address);
    }
    return fast.call(address, args);
  }

  /** Like {@link call}, for a function at an address, for example from {@link mapCode}. */
  callAt(address: Deno.PointerObject, ...args: Argument[]): number {
    return this.#invoke(address, args);
  }

  #invoke(address: Deno.PointerObject, args: Argument[]): number {
    this.held = args;
    // By index: destructuring an array creates an iterator, and one result object per element. A call has few
    // arguments.
    const count = args.length;
    return Number(this.#call.call(
      address,
      count > 0 ? toWord(args[0]) : 0n,
      count > 1 ? toWord(args[1]) : 0n,
      count > 2 ? toWord(args[2]) : 0n,
      count > 3 ? toWord(args[3]) : 0n,
      count > 4 ? toWord(args[4]) : 0n,
      count > 5 ? toWord(args[5]) : 0n,
      count > 6 ? toWord(args[6]) : 0n,
    ));
  }

  /**
   * Like {@link call}, on another thread and without blocking the event loop. Never use it for calls that change the
   * calling thread's state.
   */
  async callAsync(name: string, ...args: Argument[]): Promise<number> {
    const [a, b, c, d, e, f, g] = args;
    const result = await this.#callAsync().call(
      this.#address(name),
      toWord(a),
      toWord(b),
      toWord(c),
      toWord(d),
      toWord(e),
      toWord(f),
      toWord(g),
    );
    // Using `args` after the call keeps the buffers referenced until it has returned.
    return args.length > 7 ? -1 : Number(result);
  }

  /**
   * Makes several calls in order on another thread, whatever their results are: a switch to it costs more than most
   * calls. Each has up to three arguments. Returns their results, or −errno.
   */
  async callAllAsync(calls: readonly Call[]): Promise<readonly number[]> {
    const table = new BigInt64Array(new ArrayBuffer(calls.length * 8 * (1 + MOST_ROW_ARGUMENTS)));
    calls.forEach(({ call, args }, index) => {
      if (args.length > MOST_ROW_ARGUMENTS) {
        throw new RangeError(`${call} has more than ${MOST_ROW_ARGUMENTS} arguments`);
      }
      const row = [BigInt(Deno.UnsafePointer.value(this.#address(call))), ...args.map(toWord)];
      table.set(row, index * (1 + MOST_ROW_ARGUMENTS));
    });
    this.#calls ??= this.mapCode(listingBytes(callsListing[this.arch]));
    const rows = addressOf(new Uint8Array(table.buffer));
    const trampoline = BigInt(Deno.UnsafePointer.value(this.#trampoline));
    await this.#callAsync().call(this.#calls, rows, BigInt(calls.length), trampoline, 0n, 0n, 0n, 0n);
    // Using `calls` after the call keeps their buffers referenced until it has returned.
    return calls.map((_, index) => Number(table[index * (1 + MOST_ROW_ARGUMENTS)]));
  }

  /**
   * Like {@link call}, but retries on EINTR and throws on failure.
   *
   * `describe`: the call in strace notation, for the message.
   *
   * @throws {RuncError} `syscall-failed` with call, errno and errnoName.
   */
  must(describe: string, name: string, ...args: Argument[]): number {
    const result = this.retry(name, ...args);
    if (result < 0) throw syscallError(describe, -result);
    return result;
  }

  /** Like {@link call}, but retries as long as the result is EINTR. */
  retry(name: string, ...args: Argument[]): number {
    for (;;) {
      const result = this.call(name, ...args);
      if (result !== -Errno.EINTR) return result;
    }
  }

  /**
   * This process's id. `Deno.pid` caches its first result, which in a resumed snapshot (freeze.ts) is another process's
   * id.
   */
  get pid(): number {
    return this.call("getpid");
  }

  /** Closes the library. No call may follow. */
  close(): void {
    this.#fast?.close();
    this.#library.close();
  }
}

function toWord(value: Argument | undefined): bigint {
  if (value === undefined || value === null) return 0n;
  if (typeof value === "number") return BigInt(value);
  if (typeof value === "bigint") return BigInt.asIntN(64, value);
  return value.length === 0 ? 0n : addressOf(value);
}

/** The error for a failed system call. `call`: strace notation. `errno`: positive. */
export function syscallError(call: string, errno: number, hint?: string): RuncError {
  return new RuncError("syscall-failed", `${call}: ${errnoText(errno)}`, {
    call,
    errno,
    errnoName: errnoName(errno),
    hint,
  });
}
