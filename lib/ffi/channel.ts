/**
 * Reading and writing without ever waiting: for a program that waits in one poll(2) for everything.
 *
 * @module
 */

import { AtFlag, FileType, MsgFlag, openFlag } from "./constants.ts";
import { Errno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { setNonblocking } from "./files.ts";
import { alloc, cString, type Kernel, syscallError } from "./kernel.ts";
import { poll, POLLIN, POLLOUT, type Watch } from "./poll.ts";
import { isTerminal } from "./terminal.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A descriptor to read or write bytes. It owns the descriptor. */
export interface Channel extends Disposable {
  readonly isOpen: boolean;
  /** What to poll for: `events` (POLLIN, POLLOUT), or what stands for them now. */
  watch(events: number): Watch;
  /** read(2) into all of `buffer`: the bytes read, 0 at the end, −EAGAIN where there is nothing now, or −errno. */
  read(buffer: Bytes): number;
  /** write(2): the bytes written, −EAGAIN where there is no room now, or −errno. */
  write(bytes: Bytes): number;
  close(): void;
}

/** How much a pipe that polls as writable takes at once without blocking. PIPE_BUF, pipe(7) */
const PIPE_BUF = 4096;

/** How a kind of descriptor is read and written without waiting. */
interface Manner {
  read(kernel: Kernel, fd: number, buffer: Bytes): number;
  write(kernel: Kernel, fd: number, bytes: Bytes): number;
}

const manners = {
  /** O_NONBLOCK is set on it. */
  nonblocking: {
    read: (kernel, fd, buffer) => kernel.retry("read", fd, buffer, buffer.length),
    write: (kernel, fd, bytes) => kernel.retry("write", fd, bytes, bytes.length),
  },
  socket: {
    read: (kernel, fd, buffer) => kernel.retry("recv", fd, buffer, buffer.length, MsgFlag.MSG_DONTWAIT),
    write: (kernel, fd, bytes) =>
      kernel.retry("send", fd, bytes, bytes.length, MsgFlag.MSG_DONTWAIT | MsgFlag.MSG_NOSIGNAL),
  },
  /** Others use it too, and do not expect O_NONBLOCK: it is asked first, and given what it then takes for sure. */
  blocking: {
    read: (kernel, fd, buffer) =>
      poll(kernel, [{ fd, events: POLLIN }], 0)[0] === 0
        ? -Errno.EAGAIN
        : kernel.retry("read", fd, buffer, buffer.length),
    write: (kernel, fd, bytes) =>
      poll(kernel, [{ fd, events: POLLOUT }], 0)[0] === 0
        ? -Errno.EAGAIN
        : kernel.retry("write", fd, bytes, Math.min(bytes.length, PIPE_BUF)),
  },
} as const satisfies Record<string, Manner>;

class FdChannel implements Channel {
  readonly #kernel: Kernel;
  readonly #fd: Fd;
  readonly #manner: Manner;
  #isOpen = true;

  constructor(kernel: Kernel, fd: Fd, manner: Manner) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#manner = manner;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  watch(events: number): Watch {
    return { fd: this.#fd.number, events };
  }

  read(buffer: Bytes): number {
    return this.#manner.read(this.#kernel, this.#fd.number, buffer);
  }

  write(bytes: Bytes): number {
    return this.#manner.write(this.#kernel, this.#fd.number, bytes);
  }

  close(): void {
    this.#isOpen = false;
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A channel of our own end of a pipe: O_NONBLOCK is set on it. `fd`: taken over. @throws {RuncError} */
export function ownChannel(kernel: Kernel, fd: Fd): Channel {
  setNonblocking(kernel, fd.number, true);
  return new FdChannel(kernel, fd, manners.nonblocking);
}

/**
 * A channel of a descriptor that others hold too, such as our stdin: whoever started us shares its file description, so
 * O_NONBLOCK must not be set there. Pipes and terminals are opened anew instead. `fd` itself is not touched or closed.
 *
 * @throws {RuncError} EBADF where `fd` is not open.
 */
export function sharedChannel(kernel: Kernel, fd: number, direction: "read" | "write"): Channel {
  const type = fileType(kernel, fd);
  if (type === FileType.S_IFIFO || (type === FileType.S_IFCHR && isTerminal(kernel, fd))) {
    const O = openFlag(kernel.arch);
    const flags = O.O_NONBLOCK | O.O_NOCTTY | O.O_CLOEXEC | (direction === "write" ? O.O_WRONLY : 0);
    const number = kernel.retry("open", cString(`/proc/self/fd/${fd}`), flags);
    if (number >= 0) return new FdChannel(kernel, new Fd(kernel, number, `descriptor ${fd}`), manners.nonblocking);
    // EACCES: the terminal or pipe of another user, after su(1). ENXIO: a pipe that nobody reads. Used as it is.
  }
  const F_DUPFD_CLOEXEC = 1030;
  const copy = kernel.must(`fcntl(${fd}, F_DUPFD_CLOEXEC)`, "fcntl", fd, F_DUPFD_CLOEXEC, 3);
  const manner = type === FileType.S_IFSOCK ? manners.socket : manners.blocking;
  return new FdChannel(kernel, new Fd(kernel, copy, `descriptor ${fd}`), manner);
}

function fileType(kernel: Kernel, fd: number): number {
  // struct statx has the same layout everywhere: stx_mode is 16 bits at 28. include/uapi/linux/stat.h
  const buffer = alloc(256);
  const STATX_TYPE = 1;
  kernel.must(`statx(${fd})`, "statx", fd, cString(""), AtFlag.AT_EMPTY_PATH, STATX_TYPE, buffer);
  return new DataView(buffer.buffer).getUint16(28, true) & FileType.S_IFMT;
}

const EPOLL_CLOEXEC = 0o2000000, EPOLL_CTL_ADD = 1;
const EPOLLIN = 1, EPOLLOUT = 4, EPOLLET = 0x80000000;

/**
 * A channel of a pty's master.
 *
 * While no process has the slave open, the master answers EIO and polls as POLLHUP without end; but the slave may be
 * opened again: getty does so. Then an edge-triggered epoll stands for it, which tells of the next thing that
 * happens only. The same in containerd/console @ v1.0.5, console_linux.go.
 */
class MasterChannel implements Channel {
  readonly #kernel: Kernel;
  readonly #master: Channel;
  #events: Fd | undefined;
  #isHungUp = false;

  constructor(kernel: Kernel, master: Channel) {
    this.#kernel = kernel;
    this.#master = master;
  }

  get isOpen(): boolean {
    return this.#master.isOpen;
  }

  watch(events: number): Watch {
    if (this.#isHungUp && this.#events !== undefined) return { fd: this.#events.number, events: POLLIN };
    return this.#master.watch(events);
  }

  read(buffer: Bytes): number {
    return this.#try(() => this.#master.read(buffer));
  }

  write(bytes: Bytes): number {
    return this.#try(() => this.#master.write(bytes));
  }

  #try(attempt: () => number): number {
    if (!this.#isHungUp) {
      const result = attempt();
      if (result !== -Errno.EIO) return result;
    }
    // The event first, then the attempt: what happens in between raises a new event.
    this.#takeEvent();
    const result = attempt();
    this.#isHungUp = result === -Errno.EIO;
    return this.#isHungUp ? -Errno.EAGAIN : result;
  }

  #takeEvent(): void {
    this.#events ??= this.#watchEdges();
    // struct epoll_event is 16 bytes at most. A timeout of 0: whether there is one does not matter.
    this.#kernel.call("epoll_wait", this.#events.number, alloc(16), 1, 0);
  }

  #watchEdges(): Fd {
    const kernel = this.#kernel;
    const number = kernel.must("epoll_create1(EPOLL_CLOEXEC)", "epoll_create1", EPOLL_CLOEXEC);
    const fd = new Fd(kernel, number, "edges of the terminal's master");
    const event = alloc(16);
    new DataView(event.buffer).setUint32(0, EPOLLIN + EPOLLOUT + EPOLLET, true);
    const added = kernel.call("epoll_ctl", number, EPOLL_CTL_ADD, this.#master.watch(0).fd, event);
    if (added < 0) {
      fd.close();
      throw syscallError("epoll_ctl(EPOLL_CTL_ADD, terminal's master)", -added);
    }
    return fd;
  }

  close(): void {
    this.#events?.close();
    this.#master.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A channel of a pty's master. `fd`: taken over. @throws {RuncError} */
export function masterChannel(kernel: Kernel, fd: Fd): Channel {
  return new MasterChannel(kernel, ownChannel(kernel, fd));
}
