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
import { callBlocking, readable, TURN, type Waits } from "../waits.ts";

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

/** sd-bus reports its state as poll(2) events. */
const POLLOUT = 4;
/** While there is something left to write: how often that is tried. Messages are far smaller than a socket's buffer. */
const WRITE_AGAIN_MS = 2;

/** Opens the library. The linker reads it and those that it needs from disk. */
function* openLibrary(): Waits<number> {
  const library = yield* callBlocking("dlopen", cString("libsystemd.so.0"), RTLD_NOW);
  if (library === 0) {
    throw new RuncError("host-lacks", "cannot open libsystemd.so.0", {
      hint: "install libsystemd0 (Debian), systemd-libs (Fedora) or libelogind (Alpine), or leave out --systemd-cgroup",
    });
  }
  return library;
}

/**
 * One connection. Dispose of it after use.
 *
 * sd_bus_call(3) and sd_bus_wait(3) would block the thread, for up to half a minute, and {@link callBlocking} cannot run
 * them on another one: kernel.ts's trampoline misreads their −1. So the connection is used as an event loop does: its
 * descriptor is waited for, and sd_bus_process(3), which does not block, reads and writes what is there.
 */
export class Bus implements Disposable {
  readonly #kernel: Kernel;
  readonly #library: number;
  readonly #functions = new Map<string, Function>();
  #bus = 0n;
  /** Messages that came before the reply to a call, each with a reference. */
  readonly #early: bigint[] = [];

  private constructor(kernel: Kernel, library: number) {
    this.#kernel = kernel;
    this.#library = library;
  }

  /**
   * Begins a connection. The other side's answers are waited for by the first call.
   *
   * @throws {RuncError} `host-lacks` without the library, `cgroup-failed` if the connection fails.
   */
  static *open(kernel: Kernel, options: BusOptions): Waits<Bus> {
    const bus = new Bus(kernel, yield* openLibrary());
    bus.#start(options);
    return bus;
  }

  /** The socket is nonblocking, so nothing here waits. */
  #start(options: BusOptions): void {
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
   * @throws {BusError} if the reply is an error, if the connection ends, or with errno ETIMEDOUT if there was no reply
   * in time.
   */
  *call(
    to: Address,
    member: string,
    { signature, values }: Arguments = { signature: "", values: [] },
    { timeoutMs, answer = "" }: { timeoutMs: number; answer?: string },
  ): Waits<readonly BusValue[]> {
    const deadline = monotonicMs(this.#kernel) + timeoutMs;
    const pointer = alloc(8);
    const names = [to.destination, to.path, to.interface, member].map(cString);
    this.#must("sd_bus_message_new_method_call", this.#bus, pointer, ...names);
    const request = readWord(pointer);
    let cookie: bigint;
    try {
      completeTypes(signature).forEach((type, index) => this.#append(request, type, values[index]!));
      cookie = this.#send(request);
    } finally {
      this.#invoke("sd_bus_message_unref", request);
    }
    const reply = yield* this.#reply(cookie, deadline);
    try {
      this.#refuseError(reply);
      return completeTypes(answer).map((type) => this.#read(reply, type));
    } finally {
      this.#invoke("sd_bus_message_unref", reply);
    }
  }

  /**
   * Waits for a signal whose values `accept` accepts. The bus must have been asked to send it (AddMatch). Signals that
   * arrived during an earlier call count too.
   *
   * Returns undefined after `timeoutMs`.
   */
  *waitForSignal<Result>(
    wanted: { readonly interface: string; readonly member: string; readonly signature: string },
    accept: (values: readonly BusValue[]) => Result | undefined,
    timeoutMs: number,
  ): Waits<Result | undefined> {
    const deadline = monotonicMs(this.#kernel) + timeoutMs;
    const names = [cString(wanted.interface), cString(wanted.member)];
    for (;;) {
      const message = this.#early.shift() ?? (yield* this.#receive(deadline));
      if (message === undefined) return undefined;
      try {
        if (this.#must("sd_bus_message_is_signal", message, ...names) > 0) {
          const result = accept(completeTypes(wanted.signature).map((type) => this.#read(message, type)));
          if (result !== undefined) return result;
        }
      } finally {
        this.#invoke("sd_bus_message_unref", message);
      }
    }
  }

  /** Closes the connection. Nothing is left to write: every call has waited for its reply. */
  [Symbol.dispose](): void {
    if (this.#bus === 0n) return;
    for (const message of this.#early.splice(0)) this.#invoke("sd_bus_message_unref", message);
    this.#invoke("sd_bus_close_unref", this.#bus);
    this.#bus = 0n;
  }

  /** Returns the message's cookie, by which its reply is known. */
  #send(request: bigint): bigint {
    const cookie = alloc(8);
    this.#failCall("sd_bus_send", this.#invoke("sd_bus_send", this.#bus, request, cookie));
    return readWord(cookie);
  }

  /** The reply to the message with that cookie. The caller must unref it. Other messages are kept. */
  *#reply(cookie: bigint, deadline: number): Waits<bigint> {
    const bytes = alloc(8);
    for (;;) {
      const message = yield* this.#receive(deadline);
      if (message === undefined) throw new BusError("ETIMEDOUT", errnoText(Errno.ETIMEDOUT), Errno.ETIMEDOUT);
      const isReply = this.#invoke("sd_bus_message_get_reply_cookie", message, bytes) >= 0;
      if (isReply && readWord(bytes) === cookie) return message;
      // A reply that nobody waits for any more came after its deadline.
      if (isReply) this.#invoke("sd_bus_message_unref", message);
      else this.#early.push(message);
    }
  }

  /** The next message; undefined after the deadline. The caller must unref it. */
  *#receive(deadline: number): Waits<bigint | undefined> {
    for (;;) {
      const pointer = alloc(8);
      const more = this.#failCall("sd_bus_process", this.#invoke("sd_bus_process", this.#bus, pointer));
      const message = readWord(pointer);
      if (message !== 0n) return message;
      if (more > 0) {
        yield TURN;
        continue;
      }
      const left = deadline - monotonicMs(this.#kernel);
      if (left <= 0) return undefined;
      yield* this.#wait(left);
    }
  }

  /** Waits until there is something to do. sd-bus has deadlines of its own while it connects. */
  *#wait(leftMs: number): Waits<void> {
    const bytes = alloc(8);
    const fd = this.#must("sd_bus_get_fd", this.#bus);
    const events = this.#must("sd_bus_get_events", this.#bus);
    const hasDeadline = this.#must("sd_bus_get_timeout", this.#bus, bytes) > 0;
    // CLOCK_MONOTONIC in microseconds.
    const ownMs = hasDeadline ? Math.max(0, Number(readWord(bytes)) / 1000 - monotonicMs(this.#kernel)) : leftMs;
    const writeMs = (events & POLLOUT) === 0 ? leftMs : WRITE_AGAIN_MS;
    // What has been sent to systemd is done in any case, so its answer is waited for.
    yield* readable([fd], Math.min(leftMs, ownMs, writeMs), { isDeaf: true });
  }

  /** @throws {BusError} if the reply is an error. */
  #refuseError(reply: bigint): void {
    // sd_bus_error: const char *name, const char *message, int. It belongs to the message.
    const address = this.#invokeWord("sd_bus_message_get_error", reply);
    const pointer = Deno.UnsafePointer.create(address);
    if (pointer === null) return;
    const [name, message] = [0, 8].map((offset) => readText(new Deno.UnsafePointerView(pointer).getBigUint64(offset)));
    const errno = this.#invoke("sd_bus_message_get_errno", reply);
    throw new BusError(name || errnoName(errno), message || errnoText(errno), errno);
  }

  /** Returns `result`. @throws {BusError} if it is −errno: the connection is of no use. */
  #failCall(name: string, result: number): number {
    if (result >= 0) return result;
    throw new BusError(errnoName(-result), `${name}: ${errnoText(-result)}`, -result);
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

  /** Calls a function and returns its result, an int. */
  #invoke(name: string, ...args: Argument[]): number {
    return Number(BigInt.asIntN(32, this.#invokeWord(name, ...args)));
  }

  /** Calls a function and returns its result. `args` stay referenced until it has returned. */
  #invokeWord(name: string, ...args: Argument[]): bigint {
    const words = args.map((argument) =>
      argument instanceof Uint8Array ? addressOf(argument) : BigInt.asIntN(64, BigInt(argument))
    );
    const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n, g = 0n] = words;
    const result = this.#function(name).call(a, b, c, d, e, f, g);
    return args.length > 7 ? BigInt(-Errno.EINVAL) : result;
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
