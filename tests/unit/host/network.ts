/**
 * Network devices of the fake host, and rtnetlink(7) as far as the program uses it.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { AddressAttribute, LinkAttribute, NlmFlag, readAttributes, RouteMessage } from "../../../lib/ffi/netlink.ts";
import { Refusal } from "./file_system.ts";
import type { FakeHost } from "./host.ts";
import { OpenFile, POLLIN } from "./open_files.ts";
import { namespaceOf } from "./proc.ts";

/** An address of a device. */
export interface FakeAddress {
  readonly bytes: readonly number[];
  readonly prefixLength: number;
  readonly flags: number;
  readonly scope: number;
}

/** A device. */
export interface FakeDevice {
  readonly index: number;
  isUp: boolean;
  readonly addresses: FakeAddress[];
}

/** The devices of a network namespace, by name. */
export type Network = Map<string, FakeDevice>;

/** A socket of rtnetlink in one namespace. */
export class RouteFile extends OpenFile {
  readonly #answers: Uint8Array[] = [];
  readonly #host: FakeHost;
  readonly #namespace: number;

  constructor(host: FakeHost, namespace: number) {
    super("rtnetlink");
    this.#host = host;
    this.#namespace = namespace;
  }

  get #network(): Network {
    return networkOf(this.#host, this.#namespace);
  }

  override events(): number {
    return this.#answers.length > 0 ? POLLIN : 0;
  }

  override read(): Uint8Array | undefined {
    return this.#answers.shift();
  }

  override write(bytes: Uint8Array): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const [type, flags, sequence] = [view.getUint16(4, true), view.getUint16(6, true), view.getUint32(8, true)];
    const body = bytes.slice(16) as Uint8Array<ArrayBuffer>;
    try {
      const replies = this.#answer(type, body);
      const isDump = (flags & NlmFlag.NLM_F_DUMP) === NlmFlag.NLM_F_DUMP;
      const end = isDump ? message(RouteMessage.NLMSG_DONE, sequence, number(0)) : acknowledgement(sequence, 0);
      this.#answers.push(joined([...replies.map(([kind, reply]) => message(kind, sequence, reply)), end]));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#answers.push(acknowledgement(sequence, error.errno));
    }
    return bytes.length;
  }

  #answer(type: number, body: Uint8Array<ArrayBuffer>): readonly (readonly [number, Uint8Array])[] {
    const view = new DataView(body.buffer);
    switch (type) {
      case RouteMessage.RTM_GETLINK: {
        const device = this.#network.get(nameIn(body)!);
        if (device === undefined) throw new Refusal(Errno.ENODEV);
        return [[RouteMessage.RTM_NEWLINK, linkHeader(device.index)]];
      }
      case RouteMessage.RTM_NEWLINK:
        this.#change(view.getInt32(4, true), body);
        return [];
      case RouteMessage.RTM_GETADDR:
        return [...this.#network.values()].flatMap(({ index, addresses }) =>
          addresses.map((address) => [RouteMessage.RTM_NEWADDR, addressBody(index, address)] as const)
        );
      case RouteMessage.RTM_NEWADDR: {
        this.#host.check("RTM_NEWADDR");
        const attributes = readAttributes(body, 8);
        const bytes = [...attributes.get(AddressAttribute.IFA_LOCAL)!];
        this.#device(view.getUint32(4, true))[1].addresses.push({
          bytes,
          prefixLength: body[1]!,
          flags: 0x80,
          scope: 0,
        });
        return [];
      }
      default:
        throw new Error(`the fake host has no netlink message ${type}`);
    }
  }

  #device(index: number): [string, FakeDevice] {
    const found = [...this.#network].find(([, device]) => device.index === index);
    if (found === undefined) throw new Refusal(Errno.ENODEV);
    return found;
  }

  /** Brings a device up or down, or moves it. */
  #change(index: number, body: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(body.buffer);
    const [name, device] = this.#device(index);
    const attributes = readAttributes(body, 16);
    const fd = attributes.get(LinkAttribute.IFLA_NET_NS_FD);
    if (fd === undefined) {
      this.#host.check(`RTM_NEWLINK ${name}`);
      device.isUp = (view.getUint32(8, true) & 1) === 1;
      return;
    }
    if (device.isUp) throw new Refusal(Errno.EBUSY);
    const there = namespaceOf(this.#host.self.file(new DataView(fd.buffer, fd.byteOffset).getUint32(0, true)));
    this.#network.delete(name);
    // The addresses are lost, and the device gets another number.
    networkOf(this.#host, there).set(nameIn(body)!, { index: index + 100, isUp: false, addresses: [] });
  }
}

/** The devices of a namespace. */
export function networkOf({ networks }: FakeHost, namespace: number): Network {
  const found = networks.get(namespace) ?? new Map();
  networks.set(namespace, found);
  return found;
}

function nameIn(body: Uint8Array<ArrayBuffer>): string | undefined {
  const name = readAttributes(body, 16).get(LinkAttribute.IFLA_IFNAME);
  return name && new TextDecoder().decode(name).replace(/\0$/, "");
}

function number(value: number): Uint8Array {
  return new Uint8Array(new Int32Array([value]).buffer);
}

function linkHeader(index: number): Uint8Array {
  const header = new Uint8Array(16);
  new DataView(header.buffer).setInt32(4, index, true);
  return header;
}

function addressBody(index: number, { bytes, prefixLength, flags, scope }: FakeAddress): Uint8Array {
  const attribute = new Uint8Array(4 + bytes.length);
  new DataView(attribute.buffer).setUint16(0, attribute.length, true);
  new DataView(attribute.buffer).setUint16(2, AddressAttribute.IFA_ADDRESS, true);
  attribute.set(bytes, 4);
  const header = new Uint8Array([bytes.length === 4 ? 2 : 10, prefixLength, flags, scope, 0, 0, 0, 0]);
  new DataView(header.buffer).setUint32(4, index, true);
  return joined([header, attribute]);
}

function message(type: number, sequence: number, body: Uint8Array): Uint8Array {
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint32(0, 16 + body.length, true);
  view.setUint16(4, type, true);
  view.setUint32(8, sequence, true);
  return joined([header, body]);
}

function acknowledgement(sequence: number, errno: number): Uint8Array {
  return message(RouteMessage.NLMSG_ERROR, sequence, joined([number(-errno), new Uint8Array(16)]));
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + Math.ceil(length / 4) * 4, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += Math.ceil(piece.length / 4) * 4;
  }
  return all;
}
