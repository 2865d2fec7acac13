/**
 * rtnetlink: messages to the kernel about network devices and their addresses.
 *
 * The bytes (encoders, {@link splitMessages}, {@link readAttributes}) are pure; {@link RouteSocket} sends them.
 *
 * Source: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h and if_addr.h, Linux 6.1.
 *
 * @see netlink(7), rtnetlink(7)
 * @module
 */

import { RuncError } from "../errors.ts";
import { CloneFlag } from "./constants.ts";
import { errnoName, errnoText } from "./errno.ts";
import { Fd } from "./fd.ts";
import { open } from "./files.ts";
import { alloc, type Kernel, syscallError } from "./kernel.ts";

const AF_NETLINK = 16, SOCK_RAW = 3, SOCK_CLOEXEC = 0o2000000, NETLINK_ROUTE = 0;

/** Types of messages. */
export const RouteMessage = {
  NLMSG_ERROR: 2,
  NLMSG_DONE: 3,
  RTM_NEWLINK: 16,
  RTM_GETLINK: 18,
  RTM_NEWADDR: 20,
  RTM_GETADDR: 22,
} as const;

/** Flags of a request. */
export const NlmFlag = {
  NLM_F_REQUEST: 0x1,
  NLM_F_ACK: 0x4,
  NLM_F_DUMP: 0x300,
  NLM_F_EXCL: 0x200,
  NLM_F_CREATE: 0x400,
} as const;

/** Attributes of a device. */
export const LinkAttribute = { IFLA_IFNAME: 3, IFLA_NET_NS_FD: 28, IFLA_ALT_IFNAME: 53 } as const;
/** Attributes of an address. */
export const AddressAttribute = { IFA_ADDRESS: 1, IFA_LOCAL: 2, IFA_BROADCAST: 4, IFA_FLAGS: 8 } as const;

/** Addresses that somebody configured and that do not expire. */
export const IFA_F_PERMANENT = 0x80;
/** Scope of addresses that are valid everywhere. */
export const RT_SCOPE_UNIVERSE = 0;
export const IFF_UP = 1;

/** `struct sockaddr_nl`: u16 family, u16 padding, u32 nl_pid, u32 nl_groups. */
const SOCKADDR_SIZE = 12;
const HEADER_SIZE = 16, LINK_HEADER_SIZE = 16, ADDRESS_HEADER_SIZE = 8;
/** Longer names are alternative names. IFNAMSIZ minus its NUL, include/uapi/linux/if.h */
const NAME_LIMIT = 15;

/** One attribute: its type and its bytes. */
export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array;
}

/** One message from the kernel. */
export interface Reply {
  readonly type: number;
  /** The sequence number of the request that it answers. */
  readonly sequence: number;
  /** Without the netlink header. */
  readonly body: Uint8Array<ArrayBuffer>;
}

/** An address of a device. */
export interface DeviceAddress {
  readonly deviceIndex: number;
  /** AF_INET 2, AF_INET6 10. */
  readonly family: number;
  readonly prefixLength: number;
  readonly scope: number;
  /** IFA_F_*. */
  readonly flags: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
}

/** Netlink aligns everything to 4 bytes. */
const aligned = (size: number) => (size + 3) & ~3;

function attributeBytes({ type, value }: Attribute): Uint8Array {
  const bytes = new Uint8Array(aligned(4 + value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

/** A request: netlink header, the family's own header, attributes. `sequence`: the reply repeats it. */
export function request(
  type: number,
  flags: number,
  sequence: number,
  header: Uint8Array,
  attributes: readonly Attribute[] = [],
): Uint8Array<ArrayBuffer> {
  const parts = [header, ...attributes.map(attributeBytes)];
  const message = alloc(parts.reduce((size, part) => size + aligned(part.length), HEADER_SIZE));
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags | NlmFlag.NLM_F_REQUEST, true);
  view.setUint32(8, sequence, true);
  let offset = HEADER_SIZE;
  for (const part of parts) {
    message.set(part, offset);
    offset += aligned(part.length);
  }
  return message;
}

/** `struct ifinfomsg`. `change`: the flags to change. */
export function linkHeader(index: number, flags = 0, change = 0): Uint8Array {
  const bytes = new Uint8Array(LINK_HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, true);
  view.setUint32(8, flags, true);
  view.setUint32(12, change, true);
  return bytes;
}

/** `struct ifaddrmsg`. */
export function addressHeader(address: Partial<Omit<DeviceAddress, "address">>): Uint8Array {
  const { family = 0, prefixLength = 0, scope = 0, deviceIndex = 0 } = address;
  const bytes = new Uint8Array(ADDRESS_HEADER_SIZE);
  bytes.set([family, prefixLength, 0, scope]);
  new DataView(bytes.buffer).setUint32(4, deviceIndex, true);
  return bytes;
}

/** A 32-bit value as an attribute. */
export function numberAttribute(type: number, value: number): Attribute {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return { type, value: bytes };
}

/** A device's name as an attribute, with its NUL. */
export function nameAttribute(name: string): Attribute {
  const type = name.length > NAME_LIMIT ? LinkAttribute.IFLA_ALT_IFNAME : LinkAttribute.IFLA_IFNAME;
  return { type, value: new TextEncoder().encode(`${name}\0`) };
}

/**
 * Splits a datagram into its messages.
 *
 * @throws {RuncError} `internal` if a length does not fit; the kernel never sends this.
 */
export function splitMessages(datagram: Uint8Array<ArrayBuffer>): readonly Reply[] {
  const messages: Reply[] = [];
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  for (let at = 0; at < datagram.length;) {
    const size = at + HEADER_SIZE <= datagram.length ? view.getUint32(at, true) : 0;
    if (size < HEADER_SIZE || at + size > datagram.length) throw new RuncError("internal", "malformed netlink message");
    messages.push({
      type: view.getUint16(at + 4, true),
      sequence: view.getUint32(at + 8, true),
      body: datagram.subarray(at + HEADER_SIZE, at + size),
    });
    at += aligned(size);
  }
  return messages;
}

/** The attributes after a header of `offset` bytes. @throws {RuncError} as {@link splitMessages}. */
export function readAttributes(body: Uint8Array<ArrayBuffer>, offset: number): ReadonlyMap<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  for (let at = offset; at + 4 <= body.length;) {
    const size = view.getUint16(at, true);
    if (size < 4 || at + size > body.length) throw new RuncError("internal", "malformed netlink attribute");
    // The two highest bits say how the value is encoded. NLA_TYPE_MASK
    attributes.set(view.getUint16(at + 2, true) & 0x3fff, body.subarray(at + 4, at + size));
    at += aligned(size);
  }
  return attributes;
}

/** The address in an RTM_NEWADDR message; undefined if it has none. */
export function readAddress(body: Uint8Array<ArrayBuffer>): DeviceAddress | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const attributes = readAttributes(body, ADDRESS_HEADER_SIZE);
  const remote = attributes.get(AddressAttribute.IFA_ADDRESS);
  const local = attributes.get(AddressAttribute.IFA_LOCAL);
  const address = local ?? remote;
  if (address === undefined) return undefined;
  // With a remote end, the prefix belongs to the remote end and the local end is a single address. ip-address(8)
  const isPeer = local !== undefined && remote !== undefined && local.some((byte, index) => byte !== remote[index]);
  const flags = attributes.get(AddressAttribute.IFA_FLAGS);
  return {
    family: view.getUint8(0),
    prefixLength: isPeer ? local.length * 8 : view.getUint8(1),
    // The header only has room for eight flags.
    flags: flags === undefined ? view.getUint8(2) : new DataView(flags.buffer, flags.byteOffset).getUint32(0, true),
    scope: view.getUint8(3),
    deviceIndex: view.getUint32(4, true),
    address,
  };
}

/** The broadcast address of an IPv4 network; undefined if the network is too small to have one. RFC 919, RFC 3021 */
export function broadcastOf({ family, prefixLength, address }: DeviceAddress): Uint8Array | undefined {
  if (family !== AF_INET || prefixLength >= 31) return undefined;
  return address.map((byte, index) => byte | (0xff >> Math.min(8, Math.max(0, prefixLength - 8 * index))));
}

const AF_INET = 2;

/** socket(2) in the thread's network namespace. Returns −errno or the descriptor. */
const makeSocket = (kernel: Kernel) => kernel.retry("socket", AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

/** A netlink socket of one network namespace. */
export class RouteSocket implements Disposable {
  readonly #kernel: Kernel;
  readonly #fd: Fd;
  #sequence = 0;

  private constructor(kernel: Kernel, fd: Fd) {
    this.#kernel = kernel;
    this.#fd = fd;
  }

  /**
   * Opens a socket in the caller's network namespace, or in `namespace`.
   *
   * Scope: thread. The thread is in the other namespace only for the call that creates the socket.
   *
   * @throws {RuncError} if the thread cannot enter the namespace; `internal` if it cannot return. After that the
   * process must not continue.
   */
  static open(kernel: Kernel, namespace?: Fd): RouteSocket {
    if (namespace === undefined) return RouteSocket.#own(kernel, makeSocket(kernel));
    using own = open(kernel, "/proc/thread-self/ns/net", 0);
    const enter = `setns(${namespace.label}, CLONE_NEWNET)`;
    kernel.must(enter, "setns", namespace.number, CloneFlag.CLONE_NEWNET);
    // Nothing may throw before the thread is back in its own namespace.
    const number = makeSocket(kernel);
    const back = kernel.retry("setns", own.number, CloneFlag.CLONE_NEWNET);
    if (back < 0) {
      throw new RuncError("internal", `cannot return to the original network namespace: ${errnoText(-back)}`);
    }
    return RouteSocket.#own(kernel, number);
  }

  static #own(kernel: Kernel, number: number): RouteSocket {
    if (number < 0) throw syscallError("socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)", -number);
    return new RouteSocket(kernel, new Fd(kernel, number, "rtnetlink"));
  }

  /**
   * Sends a request and waits for the reply: the messages before the acknowledgement or the end of the dump.
   *
   * @throws {RuncError} with the kernel's errno; its message is the errno's text only.
   */
  request(
    type: keyof typeof RouteMessage,
    flags: number,
    header: Uint8Array,
    attributes?: readonly Attribute[],
  ): readonly Reply[] {
    const isDump = (flags & NlmFlag.NLM_F_DUMP) === NlmFlag.NLM_F_DUMP;
    const asked = isDump ? flags : flags | NlmFlag.NLM_F_ACK;
    const message = request(RouteMessage[type], asked, ++this.#sequence, header, attributes);
    this.#kernel.must(`send(rtnetlink, ${type})`, "send", this.#fd.number, message, message.length, 0);
    const replies: Reply[] = [];
    for (;;) {
      for (const reply of this.#receive()) {
        if (reply.sequence !== this.#sequence) continue;
        if (reply.type === RouteMessage.NLMSG_DONE) return replies;
        if (reply.type !== RouteMessage.NLMSG_ERROR) {
          replies.push(reply);
          continue;
        }
        const errno = -new DataView(reply.body.buffer, reply.body.byteOffset).getInt32(0, true);
        // 0 is the acknowledgement.
        if (errno === 0) return replies;
        throw new RuncError("syscall-failed", errnoText(errno), {
          call: `sendto(rtnetlink, ${type})`,
          errno,
          errnoName: errnoName(errno),
        });
      }
    }
  }

  /**
   * One datagram from the kernel. A process with CAP_NET_ADMIN in the namespace, which a container may have, can send
   * to this socket too; its datagrams are dropped. netlink(7), nl_pid
   */
  #receive(): readonly Reply[] {
    // The kernel never makes a dump datagram longer than this. Documentation/userspace-api/netlink/intro.rst, "Buffer
    // sizing"
    const bytes = alloc(32768);
    const sender = alloc(SOCKADDR_SIZE);
    const size = alloc(4);
    const [senderView, sizeView] = [new DataView(sender.buffer), new DataView(size.buffer)];
    sizeView.setUint32(0, SOCKADDR_SIZE, true);
    const length = this.#kernel.must(
      "recvfrom(rtnetlink)",
      "recvfrom",
      this.#fd.number,
      bytes,
      bytes.length,
      0,
      sender,
      size,
    );
    const isKernel = sizeView.getUint32(0, true) === SOCKADDR_SIZE && senderView.getUint32(4, true) === 0;
    return isKernel ? splitMessages(bytes.slice(0, length)) : [];
  }

  /** The index of the device `name`. @throws {RuncError} `Link not found`. */
  deviceIndex(name: string): number {
    const index = this.#find(name);
    if (index !== undefined) return index;
    throw new RuncError("syscall-failed", "Link not found", { call: `sendto(rtnetlink, RTM_GETLINK ${name})` });
  }

  /** Whether a device of that name exists. @throws {RuncError} */
  hasDevice(name: string): boolean {
    return this.#find(name) !== undefined;
  }

  #find(name: string): number | undefined {
    try {
      const [reply] = this.request("RTM_GETLINK", 0, linkHeader(0), [nameAttribute(name)]);
      return reply && new DataView(reply.body.buffer, reply.body.byteOffset).getInt32(4, true);
    } catch (error) {
      if (error instanceof RuncError && error.errnoName === "ENODEV") return undefined;
      throw error;
    }
  }

  /** Brings a device up or down. @throws {RuncError} */
  setUp(deviceIndex: number, up: boolean): void {
    this.request("RTM_NEWLINK", 0, linkHeader(deviceIndex, up ? IFF_UP : 0, IFF_UP));
  }

  /** The addresses of a device, in all families. @throws {RuncError} */
  addresses(deviceIndex: number): readonly DeviceAddress[] {
    return this.request("RTM_GETADDR", NlmFlag.NLM_F_DUMP, addressHeader({}))
      .filter(({ type }) => type === RouteMessage.RTM_NEWADDR)
      .flatMap(({ body }) => readAddress(body) ?? [])
      .filter((address) => address.deviceIndex === deviceIndex);
  }

  /** Adds an address to a device. Scope and flags are those of a new address. @throws {RuncError} */
  addAddress(deviceIndex: number, address: DeviceAddress): void {
    const { IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST } = AddressAttribute;
    const broadcast = broadcastOf(address);
    const { family, prefixLength } = address;
    this.request(
      "RTM_NEWADDR",
      NlmFlag.NLM_F_CREATE | NlmFlag.NLM_F_EXCL,
      addressHeader({ family, prefixLength, deviceIndex }),
      [
        { type: IFA_LOCAL, value: address.address },
        { type: IFA_ADDRESS, value: address.address },
        ...(broadcast === undefined ? [] : [{ type: IFA_BROADCAST, value: broadcast }]),
      ],
    );
  }

  /**
   * Moves a device into another namespace and renames it, in one request. @throws {RuncError} EEXIST if the name is
   * taken there.
   */
  move(deviceIndex: number, namespace: Fd, name: string): void {
    this.request("RTM_NEWLINK", 0, linkHeader(deviceIndex), [
      { type: LinkAttribute.IFLA_IFNAME, value: new TextEncoder().encode(`${name}\0`) },
      numberAttribute(LinkAttribute.IFLA_NET_NS_FD, namespace.number),
    ]);
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#fd.close();
  }
}
