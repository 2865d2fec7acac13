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
const MAGIC = new TextEncoder().encode("RUNCBPF1");
const DIGEST_SIZE = 32;
/** 8 bytes an instruction, of which there are 4096 at most. */
const MAX_PROGRAM = 8 * 4096;
const OVERHEAD = MAGIC.length + 2 * DIGEST_SIZE;
/** A host's containers have one or two profiles in common; more are kept for those that are generated. */
const MAX_ENTRIES = 16;

/** The SHA-256 of what a filter depends on: names its entry. */
export type Key = Uint8Array<ArrayBuffer>;

/** SHA-256. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

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
    return `${this.#root}/${PREFIX}${key.toHex()}`;
  }

  /** The program of a key; undefined where there is none that can be trusted. */
  async read(key: Key): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const path = this.#path(key);
    if (!isThere(this.#kernel, path)) return undefined;
    try {
      if (!isOnlyOurs(this.#root, "isDirectory") || !isOnlyOurs(path, "isFile")) return undefined;
      if (Deno.lstatSync(path).size > OVERHEAD + MAX_PROGRAM) return undefined;
      return await decodeEntry(key, Deno.readFileSync(path));
    } catch {
      // Gone meanwhile, or not to be read: then it is compiled.
      return undefined;
    }
  }

  /** Keeps a program, and removes the oldest ones beyond the limit. @throws {Deno.errors} where it cannot be written. */
  async write(key: Key, program: Uint8Array<ArrayBuffer>): Promise<void> {
    Deno.mkdirSync(this.#root, { recursive: true, mode: 0o700 });
    if (!isOnlyOurs(this.#root, "isDirectory")) return;
    const path = this.#path(key);
    // No other's, not that of a process with our pid that died here either.
    const temporary = `${path}.${crypto.randomUUID()}`;
    Deno.writeFileSync(temporary, await encodeEntry(key, program), { mode: 0o600, createNew: true });
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

/** MAGIC, key, program, and the digest of all that. */
export async function encodeEntry(key: Key, program: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const entry = new Uint8Array(new ArrayBuffer(OVERHEAD + program.length));
  entry.set(MAGIC);
  entry.set(key, MAGIC.length);
  entry.set(program, MAGIC.length + DIGEST_SIZE);
  const end = entry.length - DIGEST_SIZE;
  entry.set(await digest(entry.slice(0, end)), end);
  return entry;
}

/** The program in an entry; undefined where it is another key's, or not whole. */
export async function decodeEntry(
  key: Key,
  entry: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const end = entry.length - DIGEST_SIZE;
  const start = MAGIC.length + DIGEST_SIZE;
  const length = end - start;
  if (length < 8 || length > MAX_PROGRAM || length % 8 !== 0) return undefined;
  const head = new Uint8Array([...MAGIC, ...key]);
  if (!isEqual(entry.subarray(0, start), head)) return undefined;
  if (!isEqual(entry.subarray(end), await digest(entry.slice(0, end)))) return undefined;
  return entry.slice(start, end);
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
