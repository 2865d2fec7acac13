/**
 * Compiled filters on disk: compiling docker's profile takes longer than all the rest of a start. Runs in: parent.
 *
 * They are plain files beside the containers' directories, `<root>/.seccomp-<key>`: who lists containers, runc among them, looks at
 * directories alone. A filter is a protection, so nobody else may have been able to write it: the state directory and
 * the file must be ours and not others' to write, and a file must be whole. Anything else is as if it were not there.
 *
 * @module
 */

import { isThere } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";

const PREFIX = ".seccomp-";
const MAGIC = new TextEncoder().encode("RUNCBPF2");
/** Magic, then little-endian: u64 hash of what follows, u32 length of the key, u32 length of the program. Key and program follow, each padded to 8. */
const HEADER_SIZE = 24;
const HASH_AT = 8, LENGTHS_AT = 16;
/** 8 bytes an instruction, of which there are 4096 at most. */
const MAX_PROGRAM = 8 * 4096;
/** A host's containers have one or two profiles in common; more are kept for those that are generated. */
const MAX_ENTRIES = 16;

/** All that a filter depends on, as text. An entry holds it: no two profiles are ever taken for each other. */
export type Key = string;

/** Two hashes of 32 bits, of Murmur3's kind, over words: they name an entry, and tell whether it is whole. */
function hash(bytes: Uint8Array<ArrayBuffer>): bigint {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let low = 0x9747b28c ^ bytes.length, high = 0x1b873593 ^ bytes.length;
  for (let index = 0; index < words.length; index++) {
    const word = Math.imul(words[index]!, 0xcc9e2d51);
    low = Math.imul(low ^ (word << 15 | word >>> 17), 0x85ebca6b) + 0x38495ab5 | 0;
    high = Math.imul(high ^ (word << 13 | word >>> 19), 0xc2b2ae35) + 0x52dce729 | 0;
    low ^= high >>> 16;
    high ^= low >>> 13;
  }
  return BigInt(high >>> 0) << 32n | BigInt(low >>> 0);
}

const padded = (length: number) => Math.ceil(length / 8) * 8;

/** The cache in a state directory. */
export class FilterCache {
  readonly #kernel: Kernel;
  readonly #root: string;

  /** `root`: absolute; it may be missing. */
  constructor(kernel: Kernel, root: string) {
    this.#kernel = kernel;
    this.#root = root;
  }

  #path(key: Key): string {
    const text = new TextEncoder().encode(key);
    const words = new Uint8Array(new ArrayBuffer(padded(text.length)));
    words.set(text);
    return `${this.#root}/${PREFIX}${hash(words).toString(16).padStart(16, "0")}`;
  }

  /** The program of a key; undefined where there is none that can be trusted. */
  read(key: Key): Uint8Array<ArrayBuffer> | undefined {
    const path = this.#path(key);
    if (!isThere(this.#kernel, path)) return undefined;
    try {
      if (!isOnlyOurs(this.#root, "isDirectory") || !isOnlyOurs(path, "isFile")) return undefined;
      if (Deno.lstatSync(path).size > HEADER_SIZE + padded(3 * key.length) + MAX_PROGRAM) return undefined;
      return decodeEntry(key, Deno.readFileSync(path));
    } catch {
      // Gone meanwhile, or not to be read: then it is compiled.
      return undefined;
    }
  }

  /** Keeps a program, and removes the oldest ones beyond the limit. @throws {Deno.errors} where it cannot be written. */
  write(key: Key, program: Uint8Array<ArrayBuffer>): void {
    Deno.mkdirSync(this.#root, { recursive: true, mode: 0o700 });
    if (!isOnlyOurs(this.#root, "isDirectory")) return;
    const path = this.#path(key);
    const temporary = `${path}.${this.#kernel.pid}`;
    Deno.writeFileSync(temporary, encodeEntry(key, program), { mode: 0o600, createNew: true });
    Deno.renameSync(temporary, path);
    this.#prune();
  }

  #prune(): void {
    const names = [...Deno.readDirSync(this.#root)].map(({ name }) => name).filter((name) => name.startsWith(PREFIX));
    if (names.length <= MAX_ENTRIES) return;
    const entries = names.map((name) => {
      const path = `${this.#root}/${name}`;
      return { path, time: Deno.lstatSync(path).mtime?.getTime() ?? 0 };
    }).sort((one, other) => other.time - one.time);
    for (const { path } of entries.slice(MAX_ENTRIES)) Deno.removeSync(path);
  }
}

/** Whether it is of that kind, no symlink, belongs to the user of this process, and nobody else may write to it. */
function isOnlyOurs(path: string, kind: "isDirectory" | "isFile"): boolean {
  const info = Deno.lstatSync(path);
  return info[kind] && info.uid === Deno.uid() && ((info.mode ?? 0o777) & 0o022) === 0;
}

/** What a file of the cache holds. */
export function encodeEntry(key: Key, program: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(key);
  const programAt = HEADER_SIZE + padded(text.length);
  const entry = new Uint8Array(new ArrayBuffer(programAt + padded(program.length)));
  const view = new DataView(entry.buffer);
  entry.set(MAGIC);
  view.setUint32(LENGTHS_AT, text.length, true);
  view.setUint32(LENGTHS_AT + 4, program.length, true);
  entry.set(text, HEADER_SIZE);
  entry.set(program, programAt);
  view.setBigUint64(HASH_AT, hash(entry.subarray(LENGTHS_AT)), true);
  return entry;
}

/** The program in an entry; undefined where it is another key's, or not whole. */
export function decodeEntry(key: Key, entry: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  if (entry.length < HEADER_SIZE || entry.length % 8 !== 0) return undefined;
  const decoder = new TextDecoder();
  const view = new DataView(entry.buffer, entry.byteOffset, entry.length);
  if (decoder.decode(entry.subarray(0, HASH_AT)) !== decoder.decode(MAGIC)) return undefined;
  if (view.getBigUint64(HASH_AT, true) !== hash(entry.subarray(LENGTHS_AT))) return undefined;
  const keyLength = view.getUint32(LENGTHS_AT, true);
  const length = view.getUint32(LENGTHS_AT + 4, true);
  if (length < 8 || length > MAX_PROGRAM || length % 8 !== 0) return undefined;
  const programAt = HEADER_SIZE + padded(keyLength);
  if (entry.length !== programAt + length) return undefined;
  if (decoder.decode(entry.subarray(HEADER_SIZE, HEADER_SIZE + keyLength)) !== key) return undefined;
  return entry.slice(programAt);
}
