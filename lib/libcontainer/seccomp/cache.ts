/**
 * Compiled filters on disk: compiling Docker's profile takes longer than the rest of a start. Runs in: parent.
 *
 * They have a directory of their own, without container states, so that no command lists it as containers:
 * /run/runc-seccomp, or without root $XDG_RUNTIME_DIR/runc-seccomp.
 *
 * A filter protects the host, so no other user may be able to write it. Directory and file must belong to us and not be
 * writable for others, which is checked on descriptors opened without following symlinks. A file must be complete. A
 * file that fails a check is ignored.
 *
 * @module
 */

import { FileType, openFlag } from "../../ffi/constants.ts";
import { RuncError } from "../../errors.ts";
import { Fd } from "../../ffi/fd.ts";
import { open, readUpTo, writeAll } from "../../ffi/files.ts";
import { cString, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { randomBytes } from "../../ffi/random.ts";
import { fstat } from "../../ffi/stat.ts";

const MAGIC = new TextEncoder().encode("RUNCBPF2");
/**
 * Magic, then little-endian: u64 hash of the rest, u32 length of the key, u32 length of the program. Key and program
 * follow, each padded to 8 bytes.
 */
const HEADER_SIZE = 24;
const HASH_AT = 8, LENGTHS_AT = 16;
/** 8 bytes an instruction, at most 4096 instructions. */
const MAX_PROGRAM = 8 * 4096;
/** The containers of a host usually share one or two profiles. The limit is higher for generated profiles. */
const MAX_ENTRIES = 16;
/** Names of entries, complete or temporary. Other files in the directory stay. */
const ENTRY_NAME = /^[0-9a-f]{16}(?:\.[0-9a-f]{16})?$/;

/** All that a filter depends on, as text. The entry stores it, so that no profile gets another one's filter. */
export type Key = string;

/** Two 32-bit hashes like Murmur3, over words. They name an entry, and detect an incomplete one. */
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

/** A cache directory. */
export class FilterCache {
  readonly #kernel: Kernel;
  readonly #path: string;

  /** `path`: absolute. The directory is created when the first filter is written. */
  constructor(kernel: Kernel, path: string) {
    this.#kernel = kernel;
    this.#path = path;
  }

  #name(key: Key): string {
    const text = new TextEncoder().encode(key);
    const words = new Uint8Array(new ArrayBuffer(padded(text.length)));
    words.set(text);
    return hash(words).toString(16).padStart(16, "0");
  }

  /** @throws {RuncError} if it is missing, or other users can write to it. */
  #openDirectory(): Fd {
    const O = openFlag(this.#kernel.arch);
    const directory = open(this.#kernel, this.#path, O.O_DIRECTORY | O.O_NOFOLLOW);
    try {
      requireOurs(this.#kernel, directory, FileType.S_IFDIR);
      return directory;
    } catch (error) {
      directory.close();
      throw error;
    }
  }

  /** Opens a file of the cache. `mode`: of a new file. @throws {RuncError} */
  #open(directory: Fd, name: string, flags: number, mode = 0): Fd {
    const O = openFlag(this.#kernel.arch);
    const call = `openat(${this.#path}, ${JSON.stringify(name)})`;
    const safe = flags | O.O_NOFOLLOW | O.O_NONBLOCK | O.O_CLOEXEC;
    return new Fd(this.#kernel, this.#kernel.must(call, "openat", directory.number, cString(name), safe, mode), name);
  }

  /** The program of a key; undefined if there is none or it is not trusted. */
  read(key: Key): Uint8Array<ArrayBuffer> | undefined {
    try {
      using directory = this.#openDirectory();
      using file = this.#open(directory, this.#name(key), 0);
      const sizeBytes = requireOurs(this.#kernel, file, FileType.S_IFREG);
      if (sizeBytes > HEADER_SIZE + padded(3 * key.length) + MAX_PROGRAM) return undefined;
      return decodeEntry(key, readUpTo(this.#kernel, file, sizeBytes));
    } catch (error) {
      // The file is missing, not ours, or unreadable: the profile is compiled.
      if (error instanceof RuncError) return undefined;
      throw error;
    }
  }

  /**
   * Writes a program, and removes the oldest ones beyond the limit. @throws {RuncError} if it cannot be written, or
   * would not be trusted.
   */
  write(key: Key, program: Uint8Array<ArrayBuffer>): void {
    const kernel = this.#kernel;
    // The directory may already exist; the next call checks its owner.
    kernel.call("mkdir", cString(this.#path), 0o700);
    using directory = this.#openDirectory();
    const name = this.#name(key);
    // A name that no other process uses, not even a dead one with our pid.
    const temporary = `${name}.${randomBytes(kernel, 8).toHex()}`;
    const O = openFlag(kernel.arch);
    {
      using file = this.#open(directory, temporary, O.O_WRONLY | O.O_CREAT | O.O_EXCL, 0o600);
      writeAll(kernel, file.number, encodeEntry(key, program));
    }
    const at = directory.number;
    kernel.must(`renameat(${this.#path}, ${temporary})`, "renameat", at, cString(temporary), at, cString(name));
    this.#prune(directory);
  }

  /** Temporary files of dead processes count too: they are removed when they are the oldest. */
  #prune(directory: Fd): void {
    const names = [...Deno.readDirSync(this.#path)].map(({ name }) => name).filter((name) => ENTRY_NAME.test(name));
    if (names.length <= MAX_ENTRIES) return;
    const timeOf = (name: string) => Deno.lstatSync(`${this.#path}/${name}`).mtime?.getTime() ?? 0;
    const entries = names.map((name) => ({ name, time: timeOf(name) })).sort((one, other) => other.time - one.time);
    for (const { name } of entries.slice(MAX_ENTRIES)) this.#remove(directory, name);
  }

  /** Another process may remove it first. */
  #remove({ number }: Fd, name: string): void {
    this.#kernel.call("unlinkat", number, cString(name), 0);
  }
}

/**
 * Checks an open file: it has this type, belongs to the user of this process, and is not writable for others. Returns
 * its size.
 *
 * @throws {RuncError} if not.
 */
function requireOurs(kernel: Kernel, fd: Fd, type: number): number {
  const status = fstat(kernel, fd.number);
  if (typeof status === "number") throw syscallError(`fstat(${fd.label})`, -status);
  if ((status.mode & FileType.S_IFMT) !== type) throw new RuncError("syscall-failed", `${fd.label} is of another type`);
  if (status.uid !== Deno.uid()) throw new RuncError("syscall-failed", `${fd.label} belongs to another user`);
  if ((status.mode & 0o022) !== 0) throw new RuncError("syscall-failed", `others may write to ${fd.label}`);
  return status.sizeBytes;
}

/** The content of an entry. */
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

/** The program in an entry; undefined if the entry has another key or is incomplete. */
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
