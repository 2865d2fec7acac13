/**
 * Unpacked layers on disk, by the digest of their uncompressed archive:
 *
 *     DIRECTORY/KIND/sha256/HEX    a layer, complete and verified
 *     DIRECTORY/KIND/partial/HEX   a layer that is being unpacked, or was when its process was killed
 *     DIRECTORY/KIND/locks/HEX     whoever holds the lock of this file unpacks the layer
 *
 * KIND is `root` or `user`: layers unpacked without root have other owners and other marks. A layer that is there is never
 * changed again, so overlays can share it.
 *
 * @module
 */

import { Flock, openFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { isThere, open } from "../../ffi/files.ts";
import { cString, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { ZstdStream } from "../../ffi/libraries/libzstd.ts";
import { fstat } from "../../ffi/stat.ts";
import { RuncError } from "../../errors.ts";
import { ByteReader } from "./byte_reader.ts";
import { checkDigest, type Layer } from "./image/image.ts";
import { LayerSource } from "./layer_source.ts";
import { utf8ByteString } from "./tar/byte_string.ts";
import { TarReader } from "./tar/tar_reader.ts";
import { Target } from "./unpack/target.ts";
import { unpack } from "./unpack/unpack.ts";

/** Where layers are kept, and how large they may be. */
export interface LayerCacheOptions {
  /** Absolute. Created if it is missing. It must belong to the caller, and no other user may be able to write to it. */
  readonly directory: string;
  /** See `UnpackOptions`. */
  readonly rootless: boolean;
  /** Bytes of a layer's files: 64 GiB if absent. */
  readonly maximumBytes?: number;
  /** Files of a layer: two million if absent. */
  readonly maximumEntries?: number;
}

/** Another process unpacks the layer: how often to look. */
const LOCK_PAUSE_MS = 20;

/** One unpacking, and how many wait for it. */
interface Work {
  readonly path: Promise<string>;
  readonly abort: AbortController;
  waiting: number;
}

/** The layers of a directory. */
export class LayerCache {
  readonly #kernel: Kernel;
  readonly #directory: string;
  readonly #options: LayerCacheOptions;
  readonly #works = new Map<string, Work>();

  constructor(kernel: Kernel, options: LayerCacheOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#directory = `${options.directory}/${options.rootless ? "user" : "root"}`;
  }

  /**
   * The absolute path of the unpacked layer. It is unpacked unless it is there. Callers that need the same layer at once,
   * in this process or in another one, wait for one of them.
   *
   * @throws {RuncError} `image-invalid` if the archive is broken or a digest does not match; nothing is kept then.
   * @throws the reason of `signal`. The work ends once nobody waits for it.
   */
  async unpacked(layer: Layer, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const hex = checkDigest(layer.diffId).slice("sha256:".length);
    const work = this.#works.get(hex) ?? this.#begin(layer, hex);
    work.waiting++;
    try {
      return await orAborted(work.path, signal);
    } finally {
      if (--work.waiting === 0) {
        // Who comes now begins anew.
        this.#end(hex, work);
        work.abort.abort(signal?.reason);
        // Nothing of it is left once the caller knows of its end.
        await work.path.catch(() => {});
      }
    }
  }

  #begin(layer: Layer, hex: string): Work {
    const abort = new AbortController();
    const work: Work = { path: this.#make(layer, hex, abort.signal), abort, waiting: 0 };
    this.#works.set(hex, work);
    return work;
  }

  #end(hex: string, work: Work): void {
    if (this.#works.get(hex) === work) this.#works.delete(hex);
  }

  async #make(layer: Layer, hex: string, signal: AbortSignal): Promise<string> {
    const path = `${this.#directory}/sha256/${hex}`;
    if (isThere(this.#kernel, path)) return path;
    this.#makeDirectories();
    using _lock = await this.#lock(hex, signal);
    // Another process may have unpacked it meanwhile.
    if (isThere(this.#kernel, path)) return path;
    // With the lock held, nobody works on this one any more.
    this.#removePartial(hex);
    const partial = `${this.#directory}/partial/${hex}`;
    try {
      // A layer need not have an entry for its root, and everybody has to be able to enter it.
      this.#kernel.must(`mkdir(${JSON.stringify(partial)})`, "mkdir", cString(partial), 0o755);
      this.#kernel.must(`chmod(${JSON.stringify(partial)})`, "chmod", cString(partial), 0o755);
      await this.#fill(layer, partial, signal);
      await this.#keep(partial, path);
    } catch (error) {
      this.#removePartial(hex);
      throw error;
    }
    return path;
  }

  async #fill(layer: Layer, partial: string, signal: AbortSignal): Promise<void> {
    const source = await LayerSource.open(await layer.open(), layer, () => new ZstdStream(this.#kernel));
    // A read may wait for a pipe or a network.
    const onAbort = () => void source.close();
    signal.addEventListener("abort", onAbort);
    try {
      const { rootless, maximumBytes = 64 * 2 ** 30, maximumEntries = 2_000_000 } = this.#options;
      const root = open(this.#kernel, partial, openFlag(this.#kernel.arch).O_DIRECTORY);
      const reader = new TarReader(new ByteReader(source));
      await unpack(this.#kernel, root, reader, { rootless, maximumBytes, maximumEntries, signal });
      await source.verify();
    } finally {
      signal.removeEventListener("abort", onAbort);
      await source.close();
    }
  }

  /** Gives the layer its name, once all of it is on disk: a crash of the host must not leave files without content. */
  async #keep(partial: string, path: string): Promise<void> {
    const O = openFlag(this.#kernel.arch);
    using layer = open(this.#kernel, partial, O.O_DIRECTORY);
    // Seconds, where much has been written: not on this thread.
    await this.#onOtherThread("syncfs", layer);
    const call = `rename(${JSON.stringify(partial)}, ${JSON.stringify(path)})`;
    this.#kernel.must(call, "rename", cString(partial), cString(path));
    using directory = open(this.#kernel, `${this.#directory}/sha256`, O.O_DIRECTORY);
    await this.#onOtherThread("fsync", directory);
  }

  async #onOtherThread(name: "syncfs" | "fsync", file: Fd): Promise<void> {
    const result = await this.#kernel.callAsync(name, file.number);
    if (result < 0) throw syscallError(`${name}(${JSON.stringify(file.label)})`, -result);
  }

  #removePartial(hex: string): void {
    using target = new Target(
      this.#kernel,
      open(this.#kernel, `${this.#directory}/partial`, openFlag(this.#kernel.arch).O_DIRECTORY),
    );
    using directory = target.openDirectory(utf8ByteString(""));
    const name = utf8ByteString(hex);
    if (target.look(directory, name) !== undefined) target.remove(directory, name);
  }

  #makeDirectories(): void {
    const { directory } = this.#options;
    withFileErrors(() => Deno.mkdirSync(directory, { recursive: true, mode: 0o700 }));
    this.#checkOwner(directory);
    for (const name of ["sha256", "partial", "locks"]) {
      withFileErrors(() => Deno.mkdirSync(`${this.#directory}/${name}`, { recursive: true, mode: 0o700 }));
    }
  }

  /** Who can write to the directory chooses what containers execute. */
  #checkOwner(path: string): void {
    const O = openFlag(this.#kernel.arch);
    using directory = open(this.#kernel, path, O.O_DIRECTORY | O.O_NOFOLLOW);
    const status = fstat(this.#kernel, directory.number);
    const isOurs = typeof status !== "number" && status.uid === Deno.uid() && (status.mode & 0o022) === 0;
    if (isOurs) return;
    throw new RuncError("usage", `the cache directory ${path} belongs to another user, or others can write to it`, {
      hint: "choose a directory of your own, with mode 700",
    });
  }

  async #lock(hex: string, signal: AbortSignal): Promise<Fd> {
    const O = openFlag(this.#kernel.arch);
    const file = open(this.#kernel, `${this.#directory}/locks/${hex}`, O.O_RDWR | O.O_CREAT | O.O_NOFOLLOW, 0o600);
    try {
      for (;;) {
        signal.throwIfAborted();
        const result = this.#kernel.retry("flock", file.number, Flock.LOCK_EX | Flock.LOCK_NB);
        if (result >= 0) return file;
        if (result !== -Errno.EAGAIN) this.#kernel.must("flock(LOCK_EX)", "flock", file.number, Flock.LOCK_EX);
        await new Promise((resolve) => setTimeout(resolve, LOCK_PAUSE_MS));
      }
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

/** `promise`, or a rejection as soon as `signal` is aborted. */
async function orAborted<Result>(promise: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (signal === undefined) return await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Nobody else may be waiting for the work, which is about to fail.
    promise.catch(() => {});
  }
}
