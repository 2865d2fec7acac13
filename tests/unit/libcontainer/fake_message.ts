/**
 * Messages of stage and init, right and wrong, that tell how often they were disposed of.
 *
 * @module
 */

import type { Fd } from "../../../lib/ffi/fd.ts";
import type { Received } from "../../../lib/libcontainer/launch/run_acts.ts";
import { MESSAGE_SIZE, MessageKind } from "../../../lib/libcontainer/steps/protocol.ts";
import { report } from "../../../lib/plan/native/format.ts";
import type { FakeHost } from "./fake_host.ts";

/** Kinds that the conversation knows; `end`: the socket is closed. */
export type Kind = Exclude<keyof typeof MessageKind, "time"> | "end";

/** What a message may have otherwise than it has to. */
export interface MessageChange {
  /** The number of the kind. */
  readonly kind?: number;
  readonly value?: bigint;
  /** The whole length in bytes. */
  readonly length?: number;
  readonly descriptors?: number;
  readonly isCut?: boolean;
}

/** @see Received */
export class FakeMessage implements Received {
  readonly fds: readonly Fd[] = [];
  readonly isCut: boolean;
  /** How often it was disposed of. */
  disposals = 0;
  host?: FakeHost;

  constructor(
    readonly bytes: Uint8Array<ArrayBuffer>,
    readonly sender: number,
    readonly descriptors: number,
    isCut = false,
  ) {
    this.isCut = isCut;
  }

  [Symbol.dispose](): void {
    this.disposals++;
    if (this.disposals === 1 && this.host !== undefined) this.host.received -= this.descriptors;
  }
}

const descriptorsOf = (kind: Kind) => kind === "target" ? 1 : kind === "copyUp" ? 2 : 0;

/** The length that a message of this kind has. */
export function lengthOf(kind: Kind): number {
  return kind === "end" ? 0 : kind === "error" || kind === "warning" ? report.size : MESSAGE_SIZE;
}

/** A message as it has to be, with changes. */
export function fakeMessage(kind: Kind, sender: number, change: MessageChange = {}): FakeMessage {
  const bytes = new Uint8Array(Math.max(24, change.length ?? lengthOf(kind)));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, change.kind ?? (kind === "end" ? 0 : MessageKind[kind]), true);
  view.setBigInt64(report.value, change.value ?? 0n, true);
  const content = bytes.slice(0, change.length ?? lengthOf(kind));
  return new FakeMessage(content, sender, change.descriptors ?? descriptorsOf(kind), change.isCut);
}
