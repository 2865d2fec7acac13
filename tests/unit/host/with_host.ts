/**
 * Puts a {@link FakeHost} in the place of libc and of Deno's functions on files, while a test runs. libc.ts of the
 * program itself is under test too: what is replaced is what Deno does for it.
 *
 * @module
 */

import { type Call, Called } from "./called.ts";
import { denoFiles } from "./deno_files.ts";
import { Refusal } from "./file_system.ts";
import { FakeHost, type HostOptions } from "./host.ts";
import { fileCalls } from "./libc_files.ts";
import { pathCalls } from "./libc_paths.ts";
import { processCalls } from "./libc_processes.ts";
import { socketCalls } from "./libc_sockets.ts";

const functions: Readonly<Record<string, Call>> = { ...fileCalls, ...pathCalls, ...socketCalls, ...processCalls };

/** What a pointer of the fake host is: an address, or a function. */
interface Pointer {
  readonly address: number;
  readonly name?: string;
}

/** Machine code of the program would run now: it ends the process by a trap. */
export class MachineCode extends Error {}

/** Nothing can go on any more. */
export class Deadlock extends Error {}

/** A call, as the program's machine code makes it: its result or −errno; undefined where it has to wait. */
function attempt(host: FakeHost, name: string, called: Called, isFirst: boolean): number | undefined {
  const call = functions[name];
  if (call === undefined) throw new Error(`the fake host has no function ${name}`);
  try {
    if (isFirst) host.begin(name);
    host.check(name);
    return call(called);
  } catch (error) {
    if (error instanceof Refusal) return -error.errno;
    throw error;
  }
}

/** Lets time pass to the end of a wait. Whether it has one. */
function passTime(host: FakeHost, { deadlineMs = Infinity }: Called): boolean {
  if (deadlineMs === Infinity) return false;
  host.nowMs = Math.max(host.nowMs, deadlineMs);
  return true;
}

function deadlock(name: string): Deadlock {
  return new Deadlock(`${name} waits, and nothing else can go on`);
}

/** Calls a libc function by name. Other processes go on while it waits. */
function invoke(host: FakeHost, name: string, words: readonly bigint[]): number {
  const called = new Called(host, words);
  for (let isFirst = true;; isFirst = false) {
    const result = attempt(host, name, called, isFirst);
    if (result !== undefined) return result;
    if (!host.goOn(called.deadlineMs) && !passTime(host, called)) throw deadlock(name);
  }
}

/** Turns of the event loop after which nobody else can have anything to do. */
const IDLE_TURNS = 20;

/** The same on another thread: this program goes on, too. */
async function invokeAsync(host: FakeHost, name: string, words: readonly bigint[]): Promise<number> {
  const called = new Called(host, words);
  let idle = 0;
  for (let isFirst = true;; isFirst = false) {
    const result = attempt(host, name, called, isFirst);
    if (result !== undefined) return result;
    if (host.goOn(host.nowMs)) idle = 0;
    else if (idle++ > IDLE_TURNS) {
      if (!host.goOn(called.deadlineMs) && !passTime(host, called)) throw deadlock(name);
      idle = 0;
    } else await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** Deno's interface to native code, for the fake host. */
function denoFfi(host: FakeHost): Record<string, unknown> {
  const { memory } = host;
  const pointers = new Map<string, Pointer>();
  const pointerTo = (name: string): Pointer => {
    const found = pointers.get(name) ?? { address: memory.map(8), name };
    pointers.set(name, found);
    return found;
  };
  const direct: Readonly<Record<string, (...args: (number | bigint)[]) => unknown>> = {
    mmap: (_, length) => BigInt(memory.map(Number(length))),
    mprotect: () => 0,
  };
  /** The code of `Kernel.callAllAsync`: rows of a function and three arguments; the result replaces the function. */
  const callAll = async ([rows, count]: readonly bigint[]): Promise<bigint> => {
    const view = memory.view(Number(rows), 32 * Number(count));
    for (let at = 0; at < view.byteLength; at += 32) {
      const [address, ...words] = [0, 8, 16, 24].map((offset) => view.getBigInt64(at + offset, true));
      const [name] = [...pointers].find(([, pointer]) => BigInt(pointer.address) === address)!;
      view.setBigInt64(at, BigInt(await invokeAsync(host, name, words)), true);
    }
    return 0n;
  };
  class FunctionPointer {
    readonly #pointer: Pointer;
    readonly #isAsync: boolean;
    constructor(pointer: Pointer, signature: { readonly nonblocking?: boolean }) {
      this.#pointer = pointer;
      this.#isAsync = signature.nonblocking === true;
    }
    call(...args: readonly unknown[]): unknown {
      const { name } = this.#pointer;
      if (name !== undefined) return direct[name]!(...args as (number | bigint)[]);
      const [target, ...words] = args as [Pointer, ...bigint[]];
      if (target.name === undefined && this.#isAsync) return callAll(words);
      if (target.name === undefined) throw new MachineCode();
      const { name: called } = target;
      return this.#isAsync ? invokeAsync(host, called, words).then(BigInt) : BigInt(invoke(host, called, words));
    }
  }
  class View {
    static getArrayBuffer(pointer: Pointer): ArrayBuffer {
      return memory.buffer(pointer.address);
    }
  }
  return {
    dlopen: () => ({
      symbols: { dlsym: (_: bigint, name: Uint8Array) => pointerTo(new TextDecoder().decode(name.subarray(0, -1))) },
      close: () => {},
    }),
    UnsafePointer: {
      of: (bytes: Uint8Array<ArrayBuffer>) => ({ address: memory.addressOf(bytes) }),
      value: (pointer: Pointer) => pointer.address,
      create: (address: bigint) => address === 0n ? null : { address: Number(address) },
    },
    UnsafeFnPointer: FunctionPointer,
    UnsafePointerView: View,
  };
}

function replace(host: FakeHost): () => void {
  const replaced = { ...denoFfi(host), ...denoFiles(host) } as Record<string, unknown>;
  const target = Deno as unknown as Record<string, unknown>;
  const before = Object.fromEntries(Object.keys(replaced).map((name) => [name, target[name]]));
  Object.assign(target, replaced);
  return () => void Object.assign(target, before);
}

/** Runs `body` on a fake host. Everything is as before then, also after a failure. */
export function withHost<Result>(body: (host: FakeHost) => Result, options?: HostOptions): Result {
  const host = new FakeHost(options);
  const restore = replace(host);
  let isWaiting = false;
  try {
    const result = body(host);
    if (result instanceof Promise) {
      isWaiting = true;
      return result.finally(restore) as Result;
    }
    return result;
  } finally {
    if (!isWaiting) restore();
  }
}
