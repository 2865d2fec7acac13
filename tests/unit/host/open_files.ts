/**
 * What descriptors of the fake host refer to: files, pipes, sockets, processes, terminals.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { FileType } from "../../../lib/ffi/constants.ts";
import { Refusal } from "./file_system.ts";
import type { Inode } from "./file_system.ts";
import type { Process } from "./processes.ts";

export const POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16;

/** An open file description. Descriptors of several processes may share it. */
export class OpenFile {
  /** Descriptors that refer to it, and messages that carry it. */
  refs = 0;
  /** O_NONBLOCK is set. */
  isNonblocking = false;
  position = 0;

  constructor(readonly label: string) {}

  /** The bits of poll(2). */
  events(): number {
    return 0;
  }

  /** Undefined: a read would wait. */
  read(_limit: number): Uint8Array | undefined {
    throw new Refusal(Errno.EINVAL);
  }

  /** Undefined: a write would wait. */
  write(_bytes: Uint8Array): number | undefined {
    throw new Refusal(Errno.EINVAL);
  }

  get inode(): Inode | undefined {
    return undefined;
  }

  retain(): this {
    this.refs++;
    return this;
  }

  release(): void {
    if (--this.refs === 0) this.ended();
  }

  /** The last descriptor is closed. */
  protected ended(): void {}
}

/** A file of the file system, or a memfd. */
export class PlainFile extends OpenFile {
  constructor(readonly node: Inode, label: string, readonly isPath = false, readonly isReadOnly = false) {
    super(label);
  }

  override get inode(): Inode {
    return this.node;
  }

  override events(): number {
    return POLLIN | POLLOUT;
  }

  override read(limit: number): Uint8Array {
    if (this.isPath) throw new Refusal(Errno.EBADF);
    if (this.node.isDirectory) throw new Refusal(Errno.EISDIR);
    const bytes = this.node.content().subarray(this.position, this.position + limit);
    this.position += bytes.length;
    return bytes;
  }

  override write(bytes: Uint8Array): number {
    if (this.isPath || this.isReadOnly) throw new Refusal(Errno.EBADF);
    const F_SEAL_WRITE = 8;
    if ((this.node.seals & F_SEAL_WRITE) !== 0) throw new Refusal(Errno.EPERM);
    if (this.node.write !== undefined) {
      this.node.write(new TextDecoder().decode(bytes));
      return bytes.length;
    }
    const all = new Uint8Array(Math.max(this.node.bytes.length, this.position + bytes.length));
    all.set(this.node.bytes);
    all.set(bytes, this.position);
    this.node.bytes = all;
    this.position += bytes.length;
    return bytes.length;
  }
}

/** A descriptor of a mount of its own. */
export class MountedFile extends PlainFile {
  /** MOUNT_ATTR_* bits. */
  attributes = 0;
}

/** The bytes of a pipe or fifo, and who has its ends. */
export class Pipe {
  readonly pieces: Uint8Array[] = [];
  readers = 0;
  writers = 0;
  hadWriter = false;
  /** How many bytes fit. */
  capacity = 65536;

  get length(): number {
    return this.pieces.reduce((sum, { length }) => sum + length, 0);
  }

  get text(): string {
    return this.pieces.map((piece) => new TextDecoder().decode(piece)).join("");
  }
}

/** One end of a pipe or fifo. */
export class PipeEnd extends OpenFile {
  constructor(readonly pipe: Pipe, readonly side: "read" | "write", label: string, readonly node?: Inode) {
    super(label);
    if (side === "read") pipe.readers++;
    else {
      pipe.writers++;
      pipe.hadWriter = true;
    }
  }

  override get inode(): Inode | undefined {
    return this.node;
  }

  override events(): number {
    const { pipe } = this;
    if (this.side === "read") {
      return (pipe.length > 0 ? POLLIN : 0) | (pipe.writers === 0 && pipe.hadWriter ? POLLHUP : 0);
    }
    return pipe.readers === 0 ? POLLERR : pipe.length < pipe.capacity ? POLLOUT : 0;
  }

  override read(limit: number): Uint8Array | undefined {
    if (this.side === "write") throw new Refusal(Errno.EBADF);
    const piece = this.pipe.pieces.shift();
    if (piece === undefined) return this.pipe.writers === 0 ? new Uint8Array() : undefined;
    if (piece.length > limit) this.pipe.pieces.unshift(piece.slice(limit));
    return piece.slice(0, limit);
  }

  override write(bytes: Uint8Array): number | undefined {
    if (this.side === "read") throw new Refusal(Errno.EBADF);
    if (this.pipe.readers === 0) throw new Refusal(Errno.EPIPE);
    const room = this.pipe.capacity - this.pipe.length;
    if (room <= 0) return undefined;
    this.pipe.pieces.push(bytes.slice(0, room));
    return Math.min(bytes.length, room);
  }

  protected override ended(): void {
    if (this.side === "read") this.pipe.readers--;
    else this.pipe.writers--;
  }
}

/** A message of a socket. */
export interface Packet {
  readonly bytes: Uint8Array;
  /** Retained by the message. */
  readonly fds: readonly OpenFile[];
  readonly sender: number;
}

/** A socket: one of a pair, one that is bound, or one that is connected to a {@link Server}. */
export class Socket extends OpenFile {
  readonly queue: Packet[] = [];
  peer?: Socket;
  server?: Server;
  isClosed = false;
  /** It sends no more. shutdown(2) */
  isMute = false;
  /** SO_PASSCRED */
  tellsSenders = false;
  /** recvmsg fails with this errno once. */
  failsOnce = 0;

  override events(): number {
    const isOver = this.peer?.isClosed ?? false;
    const hasInput = this.queue.length > 0 || this.isAtEnd || this.failsOnce > 0;
    return (hasInput ? POLLIN : 0) | (isOver ? POLLHUP : POLLOUT);
  }

  /** The peer sends no more. */
  get isAtEnd(): boolean {
    return this.peer !== undefined && (this.peer.isClosed || this.peer.isMute);
  }

  /** Undefined: nothing has come. No bytes: the peer is gone. */
  receive(): Packet | undefined {
    const packet = this.queue.shift();
    if (packet !== undefined) return packet;
    return this.isAtEnd ? { bytes: new Uint8Array(), fds: [], sender: 0 } : undefined;
  }

  send(bytes: Uint8Array, fds: readonly OpenFile[], sender: number): number {
    const packet: Packet = { bytes: bytes.slice(), fds: fds.map((each) => each.retain()), sender };
    if (this.server !== undefined) this.server.take(packet);
    else if (this.peer === undefined || this.peer.isClosed) throw new Refusal(Errno.EPIPE);
    else this.peer.queue.push(packet);
    return bytes.length;
  }

  protected override ended(): void {
    this.isClosed = true;
    for (const { fds } of this.queue.splice(0)) fds.forEach((each) => each.release());
  }
}

/** A pair of sockets. */
export function socketPair(label: string): readonly [Socket, Socket] {
  const pair = [new Socket(label), new Socket(label)] as const;
  pair[0].peer = pair[1];
  pair[1].peer = pair[0];
  return pair;
}

/** A program on the host that listens at a path. */
export class Server {
  readonly packets: Packet[] = [];
  /** How many times connect(2) answers EAGAIN. */
  busy = 0;
  /** send and sendmsg fail with this errno. */
  errno = 0;

  constructor(readonly reactsTo: (packet: Packet) => void = ({ fds }) => fds.forEach((each) => each.release())) {}

  take(packet: Packet): void {
    if (this.errno !== 0) {
      for (const each of packet.fds) each.release();
      throw new Refusal(this.errno);
    }
    this.packets.push(packet);
    this.reactsTo(packet);
  }

  get texts(): readonly string[] {
    return this.packets.map(({ bytes }) => new TextDecoder().decode(bytes));
  }
}

/** A pidfd. */
export class PidFd extends OpenFile {
  constructor(readonly process: Process) {
    super(`pidfd of ${process.pid}`);
  }

  override events(): number {
    return this.process.hasEnded ? POLLIN : 0;
  }
}

/** A terminal, or its master. */
export class Terminal extends OpenFile {
  attributes: Uint8Array = new Uint8Array(60).fill(0xff);
  size: readonly number[] = [24, 80, 0, 0];
  readonly node: Inode;

  constructor(label: string, node: Inode) {
    super(label);
    this.node = node;
    node.mode = FileType.S_IFCHR | 0o600;
  }

  override get inode(): Inode {
    return this.node;
  }
}

/** An eventfd, a signalfd or an inotify instance: readable when the test says so. */
export class Notice extends OpenFile {
  readonly pieces: Uint8Array[] = [];
  readonly watched: string[] = [];

  override events(): number {
    return this.pieces.length > 0 ? POLLIN : 0;
  }

  override read(): Uint8Array | undefined {
    return this.pieces.shift();
  }

  override write(bytes: Uint8Array): number {
    this.pieces.push(bytes.slice());
    return bytes.length;
  }
}
