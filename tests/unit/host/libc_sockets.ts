/**
 * libc's functions on sockets, terminals and for waiting, for the fake host.
 *
 * @module
 */

import { FileType, Ioctl } from "../../../lib/ffi/constants.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import type { Call, Called } from "./called.ts";
import { Inode, Refusal } from "./file_system.ts";
import { RouteFile } from "./network.ts";
import { Notice, type OpenFile, PipeEnd, Socket, socketPair, Terminal } from "./open_files.ts";
import { namespaceOf } from "./proc.ts";

const SOL_SOCKET = 1, SCM_RIGHTS = 1, SCM_CREDENTIALS = 2, SO_PASSCRED = 16;
const MSG_CTRUNC = 8, MSG_TRUNC = 0x20, MSG_DONTWAIT = 0x40;
const AF_NETLINK = 16;

function socketAt(called: Called, index = 0): Socket {
  const opened = called.file(index);
  if (!(opened instanceof Socket)) throw new Refusal(Errno.ENOTSOCK);
  return opened;
}

/** The path in a struct sockaddr_un. A leading NUL is an abstract name's. */
function pathOf(called: Called): string {
  const bytes = called.bytes(1, called.number(2)).subarray(2);
  const text = new TextDecoder().decode(bytes);
  return text.startsWith("\0") ? `@${text.slice(1)}` : text.replace(/\0.*$/s, "");
}

/** struct msghdr: what its words point to. */
function header(called: Called) {
  const view = called.view(1, 56);
  const word = (at: number) => Number(view.getBigUint64(at, true));
  const vector = called.host.memory.view(word(16), 16);
  const [base, length] = [0, 8].map((at) => Number(vector.getBigUint64(at, true))) as [number, number];
  const size = word(40);
  return {
    view,
    payload: called.host.memory.at(base, length),
    control: size === 0 ? undefined : called.host.memory.view(word(32), size),
  };
}

function sendMessage(called: Called): number {
  const socket = socketAt(called);
  const { payload, control } = header(called);
  const fds: OpenFile[] = [];
  if (control !== undefined) {
    const end = Number(control.getBigUint64(0, true));
    for (let at = 16; at < end; at += 4) fds.push(called.host.self.file(control.getInt32(at, true)));
  }
  return socket.send(payload, fds, called.host.self.pid);
}

function receiveMessage(called: Called): number | undefined {
  const socket = socketAt(called);
  const { host } = called;
  if (socket.failsOnce !== 0) {
    const errno = socket.failsOnce;
    socket.failsOnce = 0;
    throw new Refusal(errno);
  }
  const packet = socket.receive();
  if (packet === undefined) {
    if ((called.number(2) & MSG_DONTWAIT) !== 0 || socket.isNonblocking) throw new Refusal(Errno.EAGAIN);
    return undefined;
  }
  const { view, payload, control } = header(called);
  payload.set(packet.bytes.subarray(0, payload.length));
  let [used, flags] = [0, packet.bytes.length > payload.length ? MSG_TRUNC : 0];
  const put = (type: number, words: readonly number[]) => {
    control!.setBigUint64(used, BigInt(16 + 4 * words.length), true);
    control!.setInt32(used + 8, SOL_SOCKET, true);
    control!.setInt32(used + 12, type, true);
    words.forEach((word, index) => control!.setInt32(used + 16 + 4 * index, word, true));
    used += (16 + 4 * words.length + 7) & ~7;
  };
  if (socket.tellsSenders && packet.bytes.length > 0) put(SCM_CREDENTIALS, [packet.sender, 0, 0]);
  if (packet.fds.length > 0) {
    const room = Math.max(0, Math.floor(((control?.byteLength ?? 0) - used - 16) / 4));
    if (room < packet.fds.length) flags |= MSG_CTRUNC;
    put(SCM_RIGHTS, packet.fds.slice(0, room).map((each) => host.self.open(each)));
    for (const each of packet.fds) each.release();
  }
  view.setBigUint64(40, BigInt(used), true);
  view.setInt32(48, flags, true);
  return Math.min(packet.bytes.length, payload.length);
}

function connect(called: Called): number {
  const path = pathOf(called);
  const server = called.host.servers.get(path);
  if (server === undefined) {
    const there = called.host.fs.find(path);
    throw new Refusal(there === undefined ? Errno.ENOENT : Errno.ECONNREFUSED);
  }
  if (server.busy > 0) {
    server.busy--;
    throw new Refusal(Errno.EAGAIN);
  }
  socketAt(called).server = server;
  return 0;
}

function bind(called: Called): number {
  const path = pathOf(called);
  const { parent, name, node } = called.host.fs.place(path);
  if (node !== undefined) throw new Refusal(Errno.EADDRINUSE);
  parent.add(name, new Inode(FileType.S_IFSOCK | 0o755));
  called.host.bound.set(path, socketAt(called));
  return 0;
}

/** poll(2) */
function poll(called: Called): number | undefined {
  const { host } = called;
  const count = called.number(1);
  const table = count === 0 ? undefined : called.view(0, 8 * count);
  const look = () => {
    let ready = 0;
    for (let index = 0; index < count; index++) {
      const [fd, events] = [table!.getInt32(8 * index, true), table!.getInt16(8 * index + 4, true)];
      const opened = fd < 0 ? undefined : host.self.descriptors.get(fd);
      const bits = fd < 0 ? 0 : opened === undefined ? 32 : opened.file.events() & (events | 8 | 16);
      table!.setInt16(8 * index + 6, bits, true);
      if (bits !== 0) ready++;
    }
    return ready;
  };
  const timeoutMs = called.int(2);
  called.deadlineMs ??= timeoutMs < 0 ? Infinity : host.nowMs + timeoutMs;
  const ready = look();
  return ready > 0 ? ready : host.nowMs >= called.deadlineMs ? 0 : undefined;
}

/** usleep(3) */
function usleep(called: Called): number | undefined {
  const { host } = called;
  called.deadlineMs ??= host.nowMs + called.number(0) / 1000;
  return host.nowMs >= called.deadlineMs ? 0 : undefined;
}

function ioctl(called: Called): number {
  const opened = called.file(0);
  const request = called.number(1);
  if (request === Ioctl.FIONREAD && opened instanceof PipeEnd) {
    called.view(2, 4).setInt32(0, opened.pipe.length, true);
    return 0;
  }
  if (!(opened instanceof Terminal)) throw new Refusal(Errno.ENOTTY);
  switch (request) {
    case Ioctl.TIOCGWINSZ:
      opened.size.forEach((value, index) => called.view(2, 8).setUint16(2 * index, value, true));
      return 0;
    case Ioctl.TIOCSWINSZ:
      opened.size = [0, 2, 4, 6].map((at) => called.view(2, 8).getUint16(at, true));
      return 0;
    case Ioctl.TIOCGPTPEER:
      return called.host.self.open(new Terminal("slave", new Inode(0)));
    default:
      throw new Error(`the fake host has no ioctl ${request}`);
  }
}

function terminal(called: Called): Terminal {
  const opened = called.file(0);
  if (!(opened instanceof Terminal)) throw new Refusal(Errno.ENOTTY);
  return opened;
}

export const socketCalls: Readonly<Record<string, Call>> = {
  socket: (called) => {
    const { host } = called;
    if (called.number(0) !== AF_NETLINK) return host.self.open(new Socket("socket"));
    return host.self.open(new RouteFile(host, host.self.namespaces.get("net")!));
  },
  socketpair: (called) => {
    const view = called.view(3, 8);
    socketPair("pair").forEach((end, index) => view.setInt32(4 * index, called.host.self.open(end), true));
    return 0;
  },
  setsockopt: (called) => {
    if (called.number(2) === SO_PASSCRED) socketAt(called).tellsSenders = true;
    return 0;
  },
  connect,
  bind,
  send: (called) => {
    const opened = called.file(0);
    const bytes = called.bytes(1, called.number(2));
    if (opened instanceof RouteFile) return opened.write(bytes);
    return socketAt(called).send(bytes, [], called.host.self.pid);
  },
  shutdown: (called) => {
    socketAt(called).isMute = true;
    return 0;
  },
  sendmsg: sendMessage,
  recvmsg: receiveMessage,
  recvfrom: (called) => {
    const bytes = called.file(0).read(called.number(2));
    if (bytes === undefined) return undefined;
    called.bytes(1, bytes.length).set(bytes);
    // From the kernel: nl_pid is 0.
    called.bytes(4, 12).fill(0);
    return bytes.length;
  },
  setns: (called) => {
    called.host.self.namespaces.set("net", namespaceOf(called.file(0)));
    return 0;
  },
  poll,
  usleep,
  ioctl,
  tcgetattr: (called) => {
    called.bytes(1, 60).set(terminal(called).attributes);
    return 0;
  },
  tcsetattr: (called) => {
    terminal(called).attributes = called.bytes(2, 60).slice();
    return 0;
  },
  cfmakeraw: (called) => {
    called.bytes(0, 60).fill(0);
    return 0;
  },
  eventfd: (called) => called.host.self.open(new Notice("eventfd")),
  signalfd: (called) => called.host.self.open(new Notice("signalfd")),
  inotify_init1: (called) => called.host.self.open(new Notice("inotify")),
  inotify_add_watch: (called) => {
    called.host.fs.get(called.text(1));
    return (called.file(0) as Notice).watched.push(called.text(1));
  },
};
