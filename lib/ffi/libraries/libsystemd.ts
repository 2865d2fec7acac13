/**
 * The part of sd-bus that is needed to talk to systemd: method calls, and waiting for signals.
 *
 * libsystemd is opened with the first {@link Bus}. Its functions return −errno themselves, so they are called by
 * address without kernel.ts's trampoline, which takes −1 (here: EPERM) to mean that errno has the error.
 *
 * @see sd-bus(3)
 * @module
 */

import { RuncError } from "../../errors.ts";
import { basicTypes, type BusValue, type BusVariant, completeTypes, encodeNumber, isBasic } from "./dbus_value.ts";
import { Errno, errnoName, errnoText } from "../errno.ts";
import { monotonicMs } from "../clock.ts";
import { addressOf, alloc, cString, type Kernel } from "../kernel.ts";

const RTLD_NOW = 2;

const word = "i64" as const;
const signature = { parameters: [word, word, word, word, word, word, word], result: word } as const;
type Function = Deno.UnsafeFnPointer<typeof signature>;
type Argument = number | bigint | Uint8Array<ArrayBuffer>;

/** The destination of a message. */
export interface Address {
  /** Bus name: `org.freedesktop.systemd1`. */
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
}

/** The arguments of a method call: their types, and one value each. */
export interface Arguments {
  readonly signature: string;
  readonly values: readonly BusValue[];
}

/** An error reply from the other side. */
export class BusError extends RuncError {
  /** `org.freedesktop.systemd1.UnitExists`. */
  readonly busName: string;

  constructor(busName: string, message: string, errno: number) {
    super("cgroup-failed", message, { errno, errnoName: errnoName(errno) });
    this.busName = busName;
  }
}

/** How to reach a bus. */
export interface BusOptions {
  /** `unix:path=/run/dbus/system_bus_socket`. */
  readonly address: string;
  /** The other side is the service itself, not a bus. */
  readonly isDirect?: boolean;
}

/** Opens the library. */
function openLibrary(kernel: Kernel): number {
  const library = kernel.call("dlopen", cString("libsystemd.so.0"), RTLD_NOW);
  if (library === 0) {
    throw new RuncError("host-lacks", "cannot open libsystemd.so.0", {
      hint: "install libsystemd0 (Debian), systemd-libs (Fedora) or libelogind (Alpine), or leave out --systemd-cgroup",
    });
  }
  return library;
}

/** One connection. Dispose of it after use. */
export class Bus implements Disposable {
  readonly #kernel: Kernel;
  readonly #library: number;
  readonly #functions = new Map<string, Function>();
  #bus = 0n;

  /** @throws {RuncError} `host-lacks` without the library, `cgroup-failed` if the connection fails. */
  constructor(kernel: Kernel, options: BusOptions) {
    this.#kernel = kernel;
    this.#library = openLibrary(kernel);
    const pointer = alloc(8);
    this.#must("sd_bus_new", pointer);
    this.#bus = readWord(pointer);
    try {
      this.#must("sd_bus_set_address", this.#bus, cString(options.address));
      this.#must("sd_bus_set_bus_client", this.#bus, options.isDirect ? 0 : 1);
      this.#must("sd_bus_start", this.#bus);
    } catch (error) {
      this[Symbol.dispose]();
      throw error instanceof RuncError ? error.within(`cannot connect to ${options.address}`) : error;
    }
  }

  /**
   * Calls a method. Returns the first values of the reply; `answer` gives their types, which may be basic types and
   * variants of them only.
   *
   * @throws {BusError} if the reply is an error, or with errno ETIMEDOUT if there was no reply in time.
   */
  call(
    to: Address,
    member: string,
    { signature, values }: Arguments = { signature: "", values: [] },
    { timeoutMs, answer = "" }: { timeoutMs: number; answer?: string },
  ): readonly BusValue[] {
    const pointer = alloc(8);
    const names = [to.destination, to.path, to.interface, member].map(cString);
    this.#must("sd_bus_message_new_method_call", this.#bus, pointer, ...names);
    const request = readWord(pointer);
    try {
      completeTypes(signature).forEach((type, index) => this.#append(request, type, values[index]!));
      const reply = this.#send(request, timeoutMs);
      try {
        return completeTypes(answer).map((type) => this.#read(reply, type));
      } finally {
        this.#invoke("sd_bus_message_unref", reply);
      }
    } finally {
      this.#invoke("sd_bus_message_unref", request);
    }
  }

  /**
   * Waits for a signal whose values `accept` accepts. The bus must have been asked to send it (AddMatch).
   *
   * Returns undefined after `timeoutMs`.
   */
  waitForSignal<Result>(
    wanted: { readonly interface: string; readonly member: string; readonly signature: string },
    accept: (values: readonly BusValue[]) => Result | undefined,
    timeoutMs: number,
  ): Result | undefined {
    const deadline = monotonicMs(this.#kernel) + timeoutMs;
    const names = [cString(wanted.interface), cString(wanted.member)];
    for (;;) {
      const pointer = alloc(8);
      const more = this.#must("sd_bus_process", this.#bus, pointer);
      const message = readWord(pointer);
      if (message !== 0n) {
        try {
          if (this.#must("sd_bus_message_is_signal", message, ...names) > 0) {
            const result = accept(completeTypes(wanted.signature).map((type) => this.#read(message, type)));
            if (result !== undefined) return result;
          }
        } finally {
          this.#invoke("sd_bus_message_unref", message);
        }
      }
      if (more > 0) continue;
      const left = deadline - monotonicMs(this.#kernel);
      if (left <= 0) return undefined;
      const waited = this.#invoke("sd_bus_wait", this.#bus, Math.ceil(left * 1000));
      if (waited < 0 && waited !== -Errno.EINTR) throw this.#failure("sd_bus_wait", waited);
    }
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    if (this.#bus === 0n) return;
    this.#invoke("sd_bus_flush_close_unref", this.#bus);
    this.#bus = 0n;
  }

  /** Returns the reply. The caller must unref it. */
  #send(request: bigint, timeoutMs: number): bigint {
    // sd_bus_error: const char *name, const char *message, int.
    const error = alloc(24);
    const pointer = alloc(8);
    const result = this.#invoke("sd_bus_call", this.#bus, request, Math.ceil(timeoutMs * 1000), error, pointer);
    if (result >= 0) return readWord(pointer);
    const [name, message] = [0, 8].map((offset) => readText(readWord(error.subarray(offset, offset + 8))));
    this.#invoke("sd_bus_error_free", error);
    throw new BusError(name || errnoName(-result), message || errnoText(-result), -result);
  }

  #append(message: bigint, type: string, value: BusValue): void {
    if (isBasic(type)) {
      const bytes = basicTypes[type].size === 0
        ? cString(String(value))
        : encodeNumber(type, value as number | bigint | boolean);
      this.#must("sd_bus_message_append_basic", message, type.charCodeAt(0), bytes);
      return;
    }
    const { kind, contents, parts } = containerOf(type, value);
    this.#must("sd_bus_message_open_container", message, kind.charCodeAt(0), cString(contents));
    for (const part of parts) this.#append(message, part.signature, part.value);
    this.#must("sd_bus_message_close_container", message);
  }

  #read(message: bigint, type: string): BusValue {
    if (type === "v") return this.#readVariant(message);
    if (!isBasic(type)) throw new TypeError(`D-Bus type ${type} is not supported`);
    const bytes = alloc(8);
    this.#must("sd_bus_message_read_basic", message, type.charCodeAt(0), bytes);
    if (basicTypes[type].size === 0) return readText(readWord(bytes));
    const view = new DataView(bytes.buffer);
    if (type === "d") return view.getFloat64(0, true);
    return type === "b" ? view.getInt32(0, true) !== 0 : view.getBigUint64(0, true);
  }

  #readVariant(message: bigint): BusValue {
    const kind = alloc(1);
    const contents = alloc(8);
    this.#must("sd_bus_message_peek_type", message, kind, contents);
    const inside = readText(readWord(contents));
    this.#must("sd_bus_message_enter_container", message, "v".charCodeAt(0), cString(inside));
    const value = this.#read(message, inside);
    this.#must("sd_bus_message_exit_container", message);
    return value;
  }

  #must(name: string, ...args: Argument[]): number {
    const result = this.#invoke(name, ...args);
    if (result < 0) throw this.#failure(name, result);
    return result;
  }

  #failure(name: string, result: number): RuncError {
    return new RuncError("cgroup-failed", `${name}: ${errnoText(-result)}`, {
      call: name,
      errno: -result,
      errnoName: errnoName(-result),
    });
  }

  /** Calls a function and returns its result, an int. `args` stay referenced until it has returned. */
  #invoke(name: string, ...args: Argument[]): number {
    const words = args.map((argument) =>
      argument instanceof Uint8Array ? addressOf(argument) : BigInt.asIntN(64, BigInt(argument))
    );
    const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n, g = 0n] = words;
    const result = this.#function(name).call(a, b, c, d, e, f, g);
    return args.length > 7 ? -Errno.EINVAL : Number(BigInt.asIntN(32, result));
  }

  #function(name: string): Function {
    const known = this.#functions.get(name);
    if (known !== undefined) return known;
    const address = this.#kernel.call("dlsym", this.#library, cString(name));
    const pointer = Deno.UnsafePointer.create(BigInt(address));
    if (pointer === null) {
      throw new RuncError("host-lacks", `libsystemd.so.0 has no ${name}`, {
        hint: "--systemd-cgroup needs systemd 246 or newer",
      });
    }
    const bound: Function = new Deno.UnsafeFnPointer(
      pointer as ConstructorParameters<typeof Deno.UnsafeFnPointer<typeof signature>>[0],
      signature,
    );
    this.#functions.set(name, bound);
    return bound;
  }
}

/** A container type in the form that sd_bus_message_open_container(3) takes, and its contents. */
function containerOf(
  type: string,
  value: BusValue,
): { readonly kind: string; readonly contents: string; readonly parts: readonly BusVariant[] } {
  if (type === "v") {
    const variant = value as BusVariant;
    return { kind: "v", contents: variant.signature, parts: [variant] };
  }
  const list = value as readonly BusValue[];
  if (type.startsWith("a")) {
    const item = type.slice(1);
    return { kind: "a", contents: item, parts: list.map((value) => ({ signature: item, value })) };
  }
  const contents = type.slice(1, -1);
  const parts = completeTypes(contents).map((signature, index) => ({ signature, value: list[index]! }));
  return { kind: "r", contents, parts };
}

function readWord(bytes: Uint8Array<ArrayBuffer>): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

/** A C string. NULL gives an empty string. */
function readText(address: bigint): string {
  const pointer = Deno.UnsafePointer.create(address);
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}
