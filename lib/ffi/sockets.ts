/**
 * AF_UNIX sockets, and passing descriptors over them.
 *
 * @module
 */

import { addressOf, alloc, type Kernel, syscallError } from "./kernel.ts";
import { RuncError } from "../errors.ts";
import { MsgFlag } from "./constants.ts";
import { Errno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { setNonblocking } from "./files.ts";
import type { Interrupts } from "./poll.ts";
import { readable, runWaits, type Waits } from "./waits.ts";

const AF_UNIX = 1,
  SOCK_STREAM = 1,
  SOCK_DGRAM = 2,
  SOCK_SEQPACKET = 5,
  SOCK_CLOEXEC = 0o2000000,
  SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1, SCM_RIGHTS = 1, SCM_CREDENTIALS = 2, SO_PASSCRED = 16;

/** A connected pair of SOCK_SEQPACKET sockets, close-on-exec. @see socketpair(2) */
export function packetPair(kernel: Kernel, label: string): [Fd, Fd] {
  const pair = alloc(8);
  kernel.must("socketpair(AF_UNIX, SOCK_SEQPACKET)", "socketpair", AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
  const view = new DataView(pair.buffer);
  return [
    new Fd(kernel, view.getInt32(0, true), `${label} (parent)`),
    new Fd(kernel, view.getInt32(4, true), `${label} (child)`),
  ];
}

/** A connected pair of stream sockets, close-on-exec. @see socketpair(2) */
export function streamPair(kernel: Kernel, label: string): [Fd, Fd] {
  const pair = alloc(8);
  kernel.must("socketpair(AF_UNIX, SOCK_STREAM)", "socketpair", AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
  const view = new DataView(pair.buffer);
  return [
    new Fd(kernel, view.getInt32(0, true), label),
    new Fd(kernel, view.getInt32(4, true), label),
  ];
}

/** sun_path has 108 bytes. include/uapi/linux/un.h */
const PATH_LIMIT = 107;

/** @throws {RuncError} if the path is too long. */
function checkedAddress(path: string): Uint8Array<ArrayBuffer> {
  const address = socketAddress(path);
  if (address.length <= 2 + PATH_LIMIT + 1) return address;
  throw new RuncError("usage", `socket path ${JSON.stringify(path)} is longer than ${PATH_LIMIT} bytes`);
}

/**
 * `struct sockaddr_un` of `path`: 2 bytes of family, then the path with its NUL. The length is not checked; the kernel
 * refuses a path that is too long. @see unix(7)
 */
export function socketAddress(path: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(path);
  const address = alloc(2 + text.length + 1);
  address[0] = AF_UNIX;
  address.set(text, 2);
  // A leading @ stands for the abstract namespace: systemd writes NOTIFY_SOCKET this way. sd_notify(3)
  if (text[0] === 0x40) {
    address[2] = 0;
    return address.subarray(0, 2 + text.length);
  }
  return address;
}

/** Interval between attempts to connect while the listener's backlog is full. */
const CONNECT_AGAIN_MS = 10;

/**
 * A socket connected to the AF_UNIX socket at `path`. If the listener's backlog is full, this waits. @throws {RuncError}
 * with the path and the errno; what ends the wait.
 */
export function* connectWaiting(kernel: Kernel, path: string, type: "stream" | "dgram"): Waits<Fd> {
  const kind = (type === "stream" ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = new Fd(kernel, kernel.must("socket(AF_UNIX)", "socket", AF_UNIX, kind, 0), path);
  try {
    const address = checkedAddress(path);
    for (;;) {
      const result = kernel.retry("connect", fd.number, address, address.length);
      if (result >= 0) break;
      if (result !== -Errno.EAGAIN) throw syscallError(`connect(${JSON.stringify(path)})`, -result);
      yield* readable([], CONNECT_AGAIN_MS);
    }
    setNonblocking(kernel, fd.number, false);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** Like {@link connectWaiting}, but blocks. @throws also what `interrupts` throws. */
export function connectUnix(kernel: Kernel, path: string, type: "stream" | "dgram", interrupts?: Interrupts): Fd {
  return runWaits({ kernel, interrupts }, connectWaiting(kernel, path, type));
}

/** A datagram socket bound to `path`. @throws {RuncError} */
export function bindDatagram(kernel: Kernel, path: string): Fd {
  const fd = new Fd(kernel, kernel.must("socket(AF_UNIX)", "socket", AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), path);
  try {
    const address = checkedAddress(path);
    kernel.must(`bind(${JSON.stringify(path)})`, "bind", fd.number, address, address.length);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** SHUT_WR. shutdown(2) */
const SHUT_WR = 1;

/** Ends what this side sends: the other side finds the end of the stream, and can still send. @see shutdown(2) */
export function endSending(kernel: Kernel, fd: number): void {
  kernel.call("shutdown", fd, SHUT_WR);
}

/** Sends one message with send(2). SIGPIPE is not raised. Returns −errno or the number of bytes sent. */
export function send(kernel: Kernel, fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  return kernel.retry("send", fd, bytes, bytes.length, MsgFlag.MSG_NOSIGNAL);
}

/** The result of {@link receive}. `bytes` is empty at the end of the stream. */
export interface Packet {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly fds: readonly Fd[];
  /**
   * The sender's pid in our pid namespace. 0 without {@link tellSenders}, or if our namespace does not contain the
   * sender.
   */
  readonly sender: number;
  /** The message was longer, or had more descriptors, than the receiver allowed. */
  readonly isCut: boolean;
}

/**
 * Makes the kernel add the sender's pid to each message from now on. Only a sender with CAP_SYS_ADMIN can give another
 * pid, and only of a process in its own pid namespace. @see unix(7), SO_PASSCRED @throws {RuncError}
 */
export function tellSenders(kernel: Kernel, socket: Fd): void {
  const one = alloc(4);
  one[0] = 1;
  kernel.must(`setsockopt(${socket.label}, SO_PASSCRED)`, "setsockopt", socket.number, SOL_SOCKET, SO_PASSCRED, one, 4);
}

/** `struct msghdr`, 56 bytes on 64-bit, and its struct iovec. @see recvmsg(2) */
function messageHeader(
  payload: Uint8Array<ArrayBuffer>,
  control: Uint8Array<ArrayBuffer>,
): [header: Uint8Array<ArrayBuffer>, vector: Uint8Array<ArrayBuffer>] {
  const vector = alloc(16);
  const vectorView = new DataView(vector.buffer);
  vectorView.setBigUint64(0, addressOf(payload), true);
  vectorView.setBigUint64(8, BigInt(payload.length), true);
  const header = alloc(56);
  const view = new DataView(header.buffer);
  view.setBigUint64(16, addressOf(vector), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, control.length === 0 ? 0n : addressOf(control), true);
  view.setBigUint64(40, BigInt(control.length), true);
  return [header, vector];
}

/** Sends `payload` with descriptors. @see unix(7), "SCM_RIGHTS" @throws {RuncError} */
export function sendFd(kernel: Kernel, socket: Fd, payload: Uint8Array<ArrayBuffer>, ...fds: readonly number[]): void {
  // cmsghdr is 16 bytes (length, level, type), a descriptor 4; the sum is padded to a multiple of 8.
  const control = alloc(16 + 8 * Math.ceil(fds.length / 2));
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(16 + 4 * fds.length), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  fds.forEach((fd, index) => view.setInt32(16 + 4 * index, fd, true));
  const [header, vector] = messageHeader(payload, control);
  const call = `sendmsg(${socket.label}, SCM_RIGHTS)`;
  kernel.must(call, "sendmsg", socket.number, header, MsgFlag.MSG_NOSIGNAL, vector, payload, control);
}

/**
 * recvmsg(2), retried on ECONNRESET. A peer that dies with unread data resets the connection. The kernel reports this
 * once, before the peer's remaining messages; the next calls return those and then the end of the stream, as after any
 * other death. unix_release_sock in net/unix/af_unix.c, __skb_try_recv_datagram in net/core/datagram.c
 */
function receiveInto(
  kernel: Kernel,
  socket: Fd,
  header: Uint8Array<ArrayBuffer>,
  flags: number,
  memory: readonly Uint8Array<ArrayBuffer>[],
): number {
  for (;;) {
    const length = kernel.retry("recvmsg", socket.number, header, flags, ...memory);
    if (length !== -Errno.ECONNRESET) return length;
  }
}

/**
 * Receives one message of at most `limit` bytes with up to `maxFds` descriptors, close-on-exec. @see recvmsg(2)
 *
 * The result owns every descriptor that arrives. @throws {RuncError}
 */
export function receive(kernel: Kernel, socket: Fd, limit: number, maxFds = 1): Packet {
  const message = receiveWith(kernel, socket, { limit, maxFds, flags: 0 });
  if (message === undefined) throw syscallError(`recvmsg(${socket.label})`, Errno.EAGAIN);
  return message;
}

/** Like {@link receive}, but does not wait: undefined if no message has arrived. @throws {RuncError} */
export function receiveIfThere(kernel: Kernel, socket: Fd, limit: number, maxFds = 1): Packet | undefined {
  return receiveWith(kernel, socket, { limit, maxFds, flags: MsgFlag.MSG_DONTWAIT });
}

/**
 * cmsghdr is 16 bytes (length, level, type). Its data is padded to a multiple of 8. `struct ucred` is 12 bytes: pid,
 * uid, gid.
 */
const HEADER = 16, CREDENTIALS = HEADER + 16;
const padded = (length: number) => (length + 7) & ~7;

/** Memory for a message: the call fills it, and nothing else runs before it is read. */
interface Room {
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly control: Uint8Array<ArrayBuffer>;
  readonly header: Uint8Array<ArrayBuffer>;
  readonly vector: Uint8Array<ArrayBuffer>;
}

/** The room that was used last. New memory for each message costs as much as the call. */
const rooms = new WeakMap<Kernel, Room>();

function roomFor(kernel: Kernel, limit: number, maxFds: number): Room {
  const controlSize = CREDENTIALS + HEADER + padded(4 * maxFds);
  const known = rooms.get(kernel);
  if (known?.payload.length === limit && known.control.length === controlSize) {
    const view = new DataView(known.header.buffer);
    view.setBigUint64(40, BigInt(controlSize), true);
    view.setInt32(48, 0, true);
    return known;
  }
  const payload = alloc(limit), control = alloc(controlSize);
  const [header, vector] = messageHeader(payload, control);
  const room = { payload, control, header, vector };
  rooms.set(kernel, room);
  return room;
}

function receiveWith(
  kernel: Kernel,
  socket: Fd,
  { limit, maxFds, flags }: { limit: number; maxFds: number; flags: number },
): Packet | undefined {
  const { payload, control, header, vector } = roomFor(kernel, limit, maxFds);
  const length = receiveInto(kernel, socket, header, flags | MsgFlag.MSG_CMSG_CLOEXEC, [vector, payload, control]);
  if (length === -Errno.EAGAIN) return undefined;
  if (length < 0) throw syscallError(`recvmsg(${socket.label})`, -length);
  const view = new DataView(header.buffer);
  const isCut = (view.getInt32(48, true) & (MsgFlag.MSG_TRUNC | MsgFlag.MSG_CTRUNC)) !== 0;
  return { bytes: payload.slice(0, length), ...readControl(kernel, view, control), isCut };
}

/** The result owns every descriptor that has arrived. */
function readControl(
  kernel: Kernel,
  header: DataView,
  control: Uint8Array<ArrayBuffer>,
): { fds: readonly Fd[]; sender: number } {
  const used = Number(header.getBigUint64(40, true));
  const view = new DataView(control.buffer);
  const fds: Fd[] = [];
  let sender = 0;
  for (let at = 0; at + HEADER < used;) {
    const length = Number(view.getBigUint64(at, true));
    if (length < HEADER) break;
    const end = Math.min(at + length, used);
    const type = view.getInt32(at + 8, true) === SOL_SOCKET ? view.getInt32(at + 12, true) : 0;
    if (type === SCM_CREDENTIALS) sender = view.getInt32(at + HEADER, true);
    if (type === SCM_RIGHTS) {
      for (let fd = at + HEADER; fd + 4 <= end; fd += 4) {
        fds.push(new Fd(kernel, view.getInt32(fd, true), "passed descriptor"));
      }
    }
    at += padded(length);
  }
  return { fds, sender };
}
