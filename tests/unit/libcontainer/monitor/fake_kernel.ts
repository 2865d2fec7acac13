/**
 * A kernel for monitors: files, signals, one child and a clock, as far as a monitor's plan reaches them. What it is asked is answered as the manual
 * pages say; what the world does meanwhile is told by the test.
 *
 * @module
 */

import { assert } from "@std/assert";
import { Ioctl } from "../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import type { CallOp, ForkOp } from "../../../../lib/plan/op.ts";
import type { Answer, Called } from "../../plan/lockstep.ts";

const POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16, POLLNVAL = 32;
const SIGNAL_INFO_SIZE = 128;
/** The signalfd. What the monitor opens gets numbers behind it. */
export const SIGNALS = 100;

/** Something open. What a side does not have is never ready, and fails with EBADF. */
export class File {
  /** Bytes to be read, a piece for each read. */
  readonly input: Uint8Array[] = [];
  /** No more will come. */
  inputHasEnded = false;
  /** What was written. */
  output = "";
  /** How many bytes the next write takes at most; 0 is not ready. */
  room = Infinity;
  /** Nobody reads what is written: EPIPE. */
  isBroken = false;
  /** Reading fails with this errno at the end. */
  endErrno = 0;

  feed(...texts: readonly string[]): this {
    for (const text of texts) this.input.push(new TextEncoder().encode(text));
    return this;
  }

  ends(): this {
    this.inputHasEnded = true;
    return this;
  }

  get isReadable(): boolean {
    return this.input.length > 0 || this.inputHasEnded;
  }

  events(): number {
    return (this.input.length > 0 ? POLLIN : 0) | (this.inputHasEnded ? POLLHUP : 0) |
      (this.room > 0 ? POLLOUT : 0) | (this.isBroken ? POLLERR : 0);
  }

  read(limit: number): Uint8Array | number {
    const piece = this.input.shift();
    if (piece === undefined) return this.inputHasEnded ? this.endErrno === 0 ? 0 : -this.endErrno : -Errno.EAGAIN;
    if (piece.length > limit) this.input.unshift(piece.subarray(limit));
    return piece.subarray(0, limit);
  }

  write(bytes: Uint8Array): number {
    if (this.isBroken) return -Errno.EPIPE;
    const length = Math.min(this.room, bytes.length);
    if (length === 0) return -Errno.EAGAIN;
    this.output += new TextDecoder().decode(bytes.subarray(0, length));
    return length;
  }
}

/** One call that was made, as a test compares it. */
export type Made = readonly [name: string, ...args: readonly (number | string)[]];

/** Something that the monitor is woken by: an event, or the end of its patience. */
export type Happening = (() => void) | "time is over";

/** What a test says of the world. */
export interface World {
  /** Open descriptors. */
  readonly files: Map<number, File>;
  /** What happens while the monitor waits, in order: when nothing is ready, and the wait may last, the next one does. */
  readonly happenings: Happening[];
  /** Called before each wait. */
  readonly beforeWait?: () => void;
}

/** @see World */
export class FakeKernel {
  readonly files: Map<number, File>;
  readonly #happenings: Happening[];
  readonly #beforeWait?: () => void;
  readonly #signals: number[] = [];
  readonly #ended: [pid: number, status: number][] = [];
  /** Calls that are neither waiting, reading nor writing. */
  readonly made: Made[] = [];
  /** errno of calls by name; they succeed otherwise. */
  readonly failing = new Map<string, number>();
  /** Files that unlinkat cannot remove. */
  readonly sticky = new Set<string>();
  /** Status of the children that the monitor forks. */
  childStatus = 0;
  /** clone returns in the child, which executes something. */
  isChild = false;
  /** What a child executed: path, argv, and the address of its environment. */
  executed: readonly [path: string, argv: readonly string[], environment: bigint] | undefined;
  /** Datagrams that were sent; `fd` for one with a descriptor. */
  readonly sent: string[] = [];
  #nextFd = SIGNALS + 1;
  static readonly FORKED = 777;

  constructor(world: World) {
    this.files = world.files;
    this.#happenings = world.happenings;
    this.#beforeWait = world.beforeWait;
  }

  signal(...numbers: readonly number[]): void {
    this.#signals.push(...numbers);
  }

  /** A child ends: of ours, or an orphan. */
  ends(pid: number, status: number): void {
    this.#ended.push([pid, status]);
    this.signal(17);
  }

  answer = (op: CallOp | ForkOp, called: Called): Answer => {
    assert(op.op === "call");
    const errno = this.failing.get(op.call);
    if (errno !== undefined) {
      this.#note(op, called);
      return { result: -errno };
    }
    switch (op.call) {
      case "ppoll":
        return this.#poll(called);
      case "read":
      case "recvfrom":
        return this.#read(called);
      case "write":
        return { result: this.#file(called).write(called.bytes(1, Number(called.args[2]))) };
      case "splice":
        return { result: this.#splice(called) };
      case "sendto":
        return this.#send(called);
      case "wait4":
        return this.#wait(called);
      default:
        return this.#other(op, called);
    }
  };

  #note({ call }: CallOp, { args, bytes }: Called): void {
    const words = args.map((arg, index) => {
      if (typeof arg === "bigint") return Number(arg);
      if (arg.data === "text") return arg.text;
      return call === "kill" ? "" : textOf(bytes(index, 64));
    });
    this.made.push([call, ...words]);
  }

  #other(op: CallOp, called: Called): Answer {
    switch (op.call) {
      case "socket":
        return { result: this.#open(new File()) };
      case "pipe2": {
        const fds = new Uint32Array([this.#open(new File()), this.#open(new File())]);
        return { result: 0, writes: [[0, new Uint8Array(fds.buffer)]] };
      }
      case "ioctl":
        // Looked at, and nothing is changed by it.
        if (Number(called.args[1]) === Ioctl.FIONREAD) return this.#count(called);
        this.#note(op, called);
        return { result: 0 };
      case "clone":
        this.#note(op, called);
        return { result: this.isChild ? 0 : FakeKernel.FORKED };
      case "execve":
        this.executed = executedBy(called);
        return { result: 0 };
      case "getpid":
        return { result: 42 };
      case "close":
        this.#note(op, called);
        return { result: this.files.delete(Number(called.args[0])) ? 0 : -Errno.EBADF };
      case "kill":
        if (Number(called.args[0]) === 42) this.signal(Number(called.args[1]));
        else this.#note(op, called);
        return { result: 0 };
      case "unlinkat": {
        this.#note(op, called);
        const [, path] = called.args;
        assert(typeof path === "object" && path.data === "text");
        return { result: this.sticky.has(path.text) ? -Errno.EBUSY : 0 };
      }
      case "sendmsg":
        this.sent.push("fd");
        return { result: 9 };
      default:
        this.#note(op, called);
        return { result: 0 };
    }
  }

  #count({ args }: Called): Answer {
    const file = this.files.get(Number(args[0]));
    if (file === undefined) return { result: -Errno.EBADF };
    const length = file.input.reduce((sum, piece) => sum + piece.length, 0);
    return { result: 0, writes: [[2, new Uint8Array(new Uint32Array([length]).buffer)]] };
  }

  #open(file: File): number {
    this.files.set(this.#nextFd, file);
    return this.#nextFd++;
  }

  #file({ args }: Called): File {
    return this.files.get(Number(args[0])) ?? new File();
  }

  #poll({ args, bytes }: Called): Answer {
    this.#beforeWait?.();
    const count = Number(args[1]);
    const mayWait = typeof args[2] === "bigint" || bytes(2, 16).some((byte) => byte !== 0);
    for (;;) {
      const table = bytes(0, 8 * count);
      const view = new DataView(table.buffer);
      let ready = 0;
      for (let row = 0; row < count; row++) {
        const revents = this.#revents(view.getInt32(8 * row, true), view.getInt16(8 * row + 4, true));
        view.setInt16(8 * row + 6, revents, true);
        if (revents !== 0) ready++;
      }
      if (ready > 0 || !mayWait) return { result: ready, writes: [[0, table]] };
      const happening = this.#happenings.shift();
      assert(happening !== undefined, "the monitor waits for ever");
      if (happening !== "time is over") {
        happening();
        continue;
      }
      assert(typeof args[2] === "object", "the monitor has patience without end");
      return { result: 0, writes: [[0, table]] };
    }
  }

  #revents(fd: number, events: number): number {
    if (fd < 0) return 0;
    if (fd === SIGNALS) return this.#signals.length > 0 ? POLLIN : 0;
    const file = this.files.get(fd);
    return file === undefined ? POLLNVAL : file.events() & (events | POLLERR | POLLHUP);
  }

  #read(called: Called): Answer {
    const limit = Number(called.args[2]);
    if (Number(called.args[0]) === SIGNALS) {
      const signal = this.#signals.shift();
      if (signal === undefined) return { result: -Errno.EAGAIN };
      const info = new Uint8Array(SIGNAL_INFO_SIZE);
      info[0] = signal;
      return { result: info.length, writes: [[1, info]] };
    }
    const bytes = this.#file(called).read(limit);
    return typeof bytes === "number" ? { result: bytes } : { result: bytes.length, writes: [[1, bytes]] };
  }

  /** One piece at a time; what does not fit stays where it is. */
  #splice({ args }: Called): number {
    const [source, sink] = [args[0], args[2]].map((fd) => this.files.get(Number(fd)) ?? new File()) as [File, File];
    if (sink.isBroken) return -Errno.EPIPE;
    if (source.isReadable && source.input.length > 0 && sink.room === 0) return -Errno.EAGAIN;
    const bytes = source.read(Math.min(sink.room, Number(args[4])));
    return typeof bytes === "number" ? bytes : sink.write(bytes);
  }

  /** To a stream that is open, or as a datagram. */
  #send({ args, bytes }: Called): Answer {
    const [fd, length] = [Number(args[0]), Number(args[2])];
    if (fd < SIGNALS) return { result: this.files.get(fd)!.write(bytes(1, length)) };
    this.sent.push(new TextDecoder().decode(bytes(1, length)));
    return { result: length };
  }

  #wait({ args }: Called): Answer {
    const status = (value: number) => new Uint8Array(new Uint32Array([value]).buffer);
    if (Number(args[0]) === FakeKernel.FORKED) {
      return { result: FakeKernel.FORKED, writes: [[1, status(this.childStatus)]] };
    }
    const ended = this.#ended.shift();
    return ended === undefined ? { result: -Errno.ECHILD } : { result: ended[0], writes: [[1, status(ended[1])]] };
  }
}

function executedBy({ args: [path, argv, environment], bytes }: Called): FakeKernel["executed"] {
  assert(typeof path === "object" && path.data === "text" && typeof argv === "object" && argv.data === "struct");
  assert(typeof environment === "bigint");
  const words = argv.words.map(({ value }) => {
    assert(typeof value === "object" && "data" in value);
    return value.data === "text" ? value.text : textOf(bytes(value, 3));
  });
  return [path.text, words, environment];
}

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}
