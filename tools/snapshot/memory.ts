/**
 * The memory of a stopped process: its areas and their contents.
 *
 * @see proc_pid_maps(5), proc_pid_mem(5), proc_pid_pagemap(5)
 * @module
 */

import type { Fd } from "../../lib/ffi/fd.ts";
import { open } from "../../lib/ffi/files.ts";
import { alloc, type Kernel } from "../../lib/ffi/kernel.ts";

/** The page size of x86_64. */
export const PAGE = 4096;

/** PROT_* of mmap(2). */
export const Prot = { READ: 1, WRITE: 2, EXEC: 4 } as const;

/** A line of /proc/PID/maps. */
export interface Area {
  readonly start: bigint;
  readonly end: bigint;
  /** PROT_* bits. */
  readonly prot: number;
  readonly isShared: boolean;
  /** A file's path, `[stack]` or similar, or empty. */
  readonly name: string;
}

/** Parses the text of /proc/PID/maps. */
export function parseMaps(text: string): readonly Area[] {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [, start = "", end = "", flags = "", name = ""] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$/.exec(line) ??
        [];
    const prot = (flags[0] === "r" ? Prot.READ : 0) | (flags[1] === "w" ? Prot.WRITE : 0) |
      (flags[2] === "x" ? Prot.EXEC : 0);
    return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), prot, isShared: flags[3] === "s", name };
  });
}

/** The state of a page, known without reading it. */
export interface PageState {
  /** In memory, or swapped out. */
  readonly isPresent: boolean;
  /** Private to the process: anonymous, or a written copy of a file's page. */
  readonly isOwn: boolean;
}

/** The memory of a process: our child, stopped. */
export class ProcessMemory implements Disposable {
  readonly #kernel: Kernel;
  readonly #pid: number;
  readonly #memory: Fd;
  readonly #pages: Fd;

  /** @throws {RuncError} if it may not be read. */
  constructor(kernel: Kernel, pid: number) {
    this.#kernel = kernel;
    this.#pid = pid;
    this.#memory = open(kernel, `/proc/${pid}/mem`, 0);
    this.#pages = open(kernel, `/proc/${pid}/pagemap`, 0);
  }

  /** The areas, sorted by address. */
  areas(): readonly Area[] {
    return parseMaps(Deno.readTextFileSync(`/proc/${this.#pid}/maps`));
  }

  /** @throws {RuncError} if not all of it can be read. */
  read(start: bigint, length: number): Uint8Array<ArrayBuffer> {
    return this.#readAt(this.#memory, start, length);
  }

  /** The states of an area's pages. Bits 63, 62 and 61: present, swapped, page of a file or shared. */
  pages({ start, end }: Pick<Area, "start" | "end">): readonly PageState[] {
    const count = Number((end - start) / BigInt(PAGE));
    const entries = new BigUint64Array(this.#readAt(this.#pages, start / BigInt(PAGE) * 8n, count * 8).buffer);
    return Array.from(entries, (entry) => {
      const isPresent = entry >> 62n !== 0n;
      return { isPresent, isOwn: isPresent && (entry >> 61n & 1n) === 0n };
    });
  }

  #readAt(file: Fd, offset: bigint, length: number): Uint8Array<ArrayBuffer> {
    const bytes = alloc(length);
    for (let done = 0; done < length;) {
      const part = bytes.subarray(done);
      const call = `pread64(${file.label}, ${part.length}, ${offset + BigInt(done)})`;
      done += this.#kernel.must(call, "pread64", file.number, part, part.length, offset + BigInt(done));
    }
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#memory.close();
    this.#pages.close();
  }
}

/** Part of an area, as stored in the file. */
export interface Piece {
  readonly start: bigint;
  readonly length: number;
  readonly prot: number;
  /** Absent: all zeroes. */
  readonly content?: Uint8Array<ArrayBuffer>;
}

/** Runs of zero pages up to this length are stored in the file: a separate piece costs a system call at each start. */
const GAP_PAGES = 16;

/** Runs of consecutive indices with the same result of `test`. */
function runs(count: number, test: (index: number) => boolean): { from: number; to: number; value: boolean }[] {
  const found: { from: number; to: number; value: boolean }[] = [];
  for (let index = 0; index < count; index++) {
    const value = test(index);
    const last = found.at(-1);
    if (last?.value === value) last.to = index + 1;
    else found.push({ from: index, to: index + 1, value });
  }
  return found;
}

/** Splits an area into pieces with content and pieces of zeroes. `isFilled`: whether a page is in use. */
export function split(
  { start, end, prot }: Area,
  isFilled: (page: number) => boolean,
  read: (start: bigint, length: number) => Uint8Array<ArrayBuffer>,
): readonly Piece[] {
  const count = Number((end - start) / BigInt(PAGE));
  const filled = Array.from({ length: count }, (_, page) => isFilled(page));
  for (const { from, to, value } of runs(count, (page) => filled[page]!)) {
    const isInside = from > 0 && to < count;
    if (!value && isInside && to - from < GAP_PAGES) filled.fill(true, from, to);
  }
  return runs(count, (page) => filled[page]!).map(({ from, to, value }) => {
    const at = start + BigInt(from * PAGE);
    const length = (to - from) * PAGE;
    return { start: at, length, prot, content: value ? read(at, length) : undefined };
  });
}
