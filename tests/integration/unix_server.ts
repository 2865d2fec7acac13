/** What callers listen on for --console-socket and --pidfd-socket: an AF_UNIX stream socket. */

import { Fd } from "../../lib/ffi/fd.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { type Packet, receive } from "../../lib/ffi/sockets.ts";
import { kernel, until } from "./foreground_harness.ts";

const AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000;

/** A bound for what takes milliseconds: nothing is measured by it. */
const PATIENCE_MS = 60_000;

/** A socket that listens on `path`. */
export class UnixServer implements Disposable {
  readonly #socket: Fd;

  constructor(path: string) {
    this.#socket = new Fd(kernel, kernel.must("socket", "socket", AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), path);
    // struct sockaddr_un: the family in two bytes, then the path with its NUL. unix(7)
    const address = alloc(2 + path.length + 1);
    address[0] = AF_UNIX;
    new TextEncoder().encodeInto(path, address.subarray(2));
    kernel.must(`bind(${path})`, "bind", this.#socket.number, address, address.length);
    kernel.must(`listen(${path})`, "listen", this.#socket.number, 1);
  }

  /**
   * Accepts one connection, reads one message with its descriptors, and sees that nothing more comes, unless `andNoMore` is false.
   * `isHopeless`: whoever was to connect has ended.
   */
  receive({ andNoMore = true, isHopeless = (): boolean => false } = {}): { text: string; fds: readonly Fd[] } {
    until(`a connection to ${this.#socket.label}`, () => {
      const hasEnded = isHopeless();
      if (poll(kernel, [{ fd: this.#socket.number, events: POLLIN }], 0)[0] !== 0) return true;
      if (hasEnded) throw new Error(`nobody will connect to ${this.#socket.label} any more`);
    });
    const number = kernel.must("accept4", "accept4", this.#socket.number, null, null, SOCK_CLOEXEC);
    using connection = new Fd(kernel, number, "connection");
    const { bytes, fds } = this.#message(connection);
    const message = { text: new TextDecoder().decode(bytes), fds };
    if (!andNoMore) return message;
    const rest = this.#message(connection);
    if (rest.bytes.length > 0 || rest.fds.length > 0) throw new Error("more than one message");
    return message;
  }

  #message(connection: Fd): Packet {
    this.#await(connection);
    // Room for more descriptors than there should be.
    return receive(kernel, connection, 4096, 4);
  }

  #await(fd: Fd): void {
    if (poll(kernel, [{ fd: fd.number, events: POLLIN }], PATIENCE_MS)[0] === 0) {
      throw new Error(`nothing on ${fd.label}`);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
