/**
 * A call of a libc function of the fake host.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { Refusal } from "./file_system.ts";
import type { FakeHost } from "./host.ts";
import type { OpenFile } from "./open_files.ts";

/** What a function is called with. */
export class Called {
  /** When a wait ends, on the host's clock. */
  deadlineMs?: number;

  constructor(readonly host: FakeHost, readonly words: readonly bigint[]) {}

  /** An argument as a number. */
  number(index: number): number {
    return Number(this.words[index] ?? 0n);
  }

  /** An argument as an `int`. */
  int(index: number): number {
    return Number(BigInt.asIntN(32, this.words[index] ?? 0n));
  }

  /** An argument as an address. @throws {Refusal} EFAULT for NULL */
  address(index: number): number {
    const address = this.number(index);
    if (address === 0) throw new Refusal(Errno.EFAULT);
    return address;
  }

  text(index: number): string {
    return this.host.memory.text(this.address(index));
  }

  bytes(index: number, length: number): Uint8Array<ArrayBuffer> {
    return length === 0 ? new Uint8Array() : this.host.memory.at(this.address(index), length);
  }

  view(index: number, length: number): DataView<ArrayBuffer> {
    return this.host.memory.view(this.address(index), length);
  }

  /** The open file of the process under test that an argument names. @throws {Refusal} EBADF */
  file(index: number): OpenFile {
    return this.host.self.file(this.int(index));
  }
}

/** A libc function: a result, or undefined where it waits. @throws {Refusal} for −1 and an errno. */
export type Call = (called: Called) => number | undefined;
