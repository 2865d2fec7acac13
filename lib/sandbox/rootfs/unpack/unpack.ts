/**
 * Unpacks one layer into a directory that becomes a lower directory of an overlay: whiteouts and opaque directories are
 * as overlayfs has them.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 * @module
 */

import { AtFlag, FileType, openFlag } from "../../../ffi/constants.ts";
import { Errno } from "../../../ffi/errno.ts";
import type { Fd } from "../../../ffi/fd.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import { deviceNumber } from "../../../libcontainer/steps/devices.ts";
import { type ByteString, cBytes, shown } from "../tar/byte_string.ts";
import { invalidArchive } from "../tar/header.ts";
import type { TarEntry, TarReader } from "../tar/tar_reader.ts";
import { changeOf, cleanPath, type EntryPath, joined } from "./entry_path.ts";
import { isWhiteout, Target } from "./target.ts";

/** How a layer is unpacked. */
export interface UnpackOptions {
  /**
   * Without root: all files belong to the caller, devices are left out, and overlayfs's marks are `user.` attributes,
   * for an overlay with the option `userxattr`.
   */
  readonly rootless: boolean;
  /** Bytes of content that a layer may have: a few KiB of gzip can become many GiB. */
  readonly maximumBytes: number;
  /** Entries that a layer may have. */
  readonly maximumEntries: number;
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

/** Extended attributes that a layer may set. overlayfs's own would change what other layers show. */
function isAllowed(name: string): boolean {
  if (name.startsWith("user.overlay.")) return false;
  return name === "security.capability" || name.startsWith("user.") && name.length <= 255;
}

/** Unpacks the entries of `reader` into `root`, an empty directory. Takes ownership of `root`. */
export async function unpack(kernel: Kernel, root: Fd, reader: TarReader, options: UnpackOptions): Promise<void> {
  using target = new Target(kernel, root, options);
  const unpacker = new Unpacker(kernel, target, options);
  for (let count = 0;; count++) {
    options.signal?.throwIfAborted();
    const entry = await reader.next();
    if (entry === undefined) break;
    if (count >= options.maximumEntries) throw invalidArchive(`it has more than ${options.maximumEntries} entries`);
    await unpacker.apply(entry);
  }
  unpacker.finish();
}

/** What is set last: until then, files are created in the directory. */
type DirectoryData = Pick<TarEntry, "mode" | "mtime">;

class Unpacker {
  readonly #kernel: Kernel;
  readonly #target: Target;
  readonly #options: UnpackOptions;
  readonly #directories = new Map<ByteString, DirectoryData>();
  #bytes = 0;

  constructor(kernel: Kernel, target: Target, options: UnpackOptions) {
    this.#kernel = kernel;
    this.#target = target;
    this.#options = options;
  }

  async apply(entry: TarEntry): Promise<void> {
    const change = changeOf(entry.name);
    if (change.kind === "entry") await this.#entry(entry, change.path);
    else if (change.kind === "whiteout") this.#whiteout(change.path);
    else if (change.kind === "opaque") this.#opaque(change.directory);
  }

  /** Modes and times of directories, the deepest first. A name may lead elsewhere by now, but not outside. */
  finish(): void {
    for (const [path, { mode, mtime }] of [...this.#directories].sort(([a], [b]) => b.length - a.length)) {
      using directory = this.#target.tryDirectory(path);
      if (directory === undefined) continue;
      // The mode last: it may forbid to search the directory.
      this.#target.setTimes(directory, "." as ByteString, mtime);
      this.#target.must(path, "fchmod", directory.number, mode);
    }
  }

  async #entry(entry: TarEntry, path: EntryPath): Promise<void> {
    if (entry.type === "other") return;
    if (entry.type === "directory") return this.#directory(entry, path);
    if (path.name === "") throw invalidArchive("the root is not a directory");
    const directory = this.#target.parent(path.parent);
    const existing = this.#target.look(directory, path.name);
    if (entry.type === "link") {
      const to = cleanPath(entry.linkName);
      // A file that is linked to itself stays.
      if (joined(to) === joined(path)) return;
      if (existing !== undefined) this.#remove(directory, path);
      return this.#target.link(to, this.#target.parent(path.parent), path);
    }
    if (existing !== undefined) this.#remove(directory, path);
    if (entry.type === "file") await this.#file(entry, path);
    else if (entry.type === "symlink") this.#symlink(entry, path);
    else this.#special(entry, path);
  }

  #remove(directory: Fd, path: EntryPath): void {
    this.#target.remove(directory, path.name);
    const removed = joined(path);
    for (const made of this.#directories.keys()) {
      if (made === removed || made.startsWith(`${removed}/`)) this.#directories.delete(made);
    }
  }

  #directory(entry: TarEntry, path: EntryPath): void {
    const whole = joined(path);
    if (path.name !== "") {
      const above = this.#target.parent(path.parent);
      const existing = this.#target.look(above, path.name);
      if (existing !== undefined && existing.type !== FileType.S_IFDIR) this.#remove(above, path);
      if (existing?.type !== FileType.S_IFDIR) {
        this.#target.must(whole, "mkdirat", this.#target.parent(path.parent).number, cBytes(path.name), 0o700);
      }
      // The whiteout was for what lower layers have.
      if (isWhiteout(existing)) this.#target.setOpaque(whole);
    }
    using made = path.name === ""
      ? this.#target.openDirectory(whole)
      : this.#target.openIn(this.#target.parent(path.parent), path.name, openFlag(this.#kernel.arch).O_DIRECTORY);
    this.#own(entry, made, whole);
    this.#directories.set(whole, entry);
  }

  async #file(entry: TarEntry, path: EntryPath): Promise<void> {
    const whole = joined(path);
    // A few bytes can describe a sparse file of any size.
    this.#count(entry.size);
    const O = openFlag(this.#kernel.arch);
    const flags = O.O_WRONLY | O.O_CREAT | O.O_EXCL;
    using file = this.#target.openIn(this.#target.parent(path.parent), path.name, flags, 0o600);
    for (;;) {
      const piece = await entry.read();
      if (piece === undefined) break;
      this.#options.signal?.throwIfAborted();
      this.#target.write(file, whole, piece);
    }
    // In this order: chown(2) clears setuid and capabilities.
    this.#own(entry, file, whole);
    this.#target.must(whole, "fchmod", file.number, entry.mode);
    this.#target.setTimes(this.#target.parent(path.parent), path.name, entry.mtime);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#options.maximumBytes) {
      throw invalidArchive(`it has more than ${this.#options.maximumBytes} bytes of content`);
    }
  }

  /** Owner and extended attributes of a file or directory. */
  #own(entry: TarEntry, file: Fd, path: ByteString): void {
    if (!this.#options.rootless) this.#target.must(path, "fchown", file.number, entry.uid, entry.gid);
    for (const [name, value] of entry.xattrs) {
      if (!isAllowed(name)) continue;
      const result = this.#target.setAttribute(file, name, value);
      // The file system has no extended attributes; without root, none of `security.`.
      const isExpected = result === -Errno.EOPNOTSUPP || this.#options.rootless && result === -Errno.EPERM;
      if (result < 0 && !isExpected) throw this.#target.error(path, "fsetxattr", -result);
    }
  }

  #symlink(entry: TarEntry, path: EntryPath): void {
    const directory = this.#target.parent(path.parent);
    this.#target.symlink(entry.linkName, directory, path);
    this.#ownName(entry, directory, path);
  }

  #special(entry: TarEntry, path: EntryPath): void {
    const { type, major, minor } = entry;
    if (type !== "fifo" && this.#options.rootless) return;
    if (type === "char" && major === 0 && minor === 0) {
      throw invalidArchive(`${shown(entry.name)} is a device 0:0, which overlayfs takes for a removed file`);
    }
    const kind = type === "fifo" ? FileType.S_IFIFO : type === "char" ? FileType.S_IFCHR : FileType.S_IFBLK;
    const number = type === "fifo" ? 0 : deviceNumber(major, minor);
    const directory = this.#target.parent(path.parent);
    this.#target.must(joined(path), "mknodat", directory.number, cBytes(path.name), kind | 0o600, number);
    this.#ownName(entry, directory, path);
    this.#target.must(joined(path), "fchmodat", directory.number, cBytes(path.name), entry.mode, 0);
    this.#target.setTimes(directory, path.name, entry.mtime);
  }

  /** Owner and times of what cannot be opened. */
  #ownName(entry: TarEntry, directory: Fd, path: EntryPath): void {
    if (!this.#options.rootless) {
      const flags = AtFlag.AT_SYMLINK_NOFOLLOW;
      this.#target.must(joined(path), "fchownat", directory.number, cBytes(path.name), entry.uid, entry.gid, flags);
    }
    this.#target.setTimes(directory, path.name, entry.mtime);
  }

  #opaque(directory: ByteString): void {
    this.#target.parent(directory);
    this.#target.setOpaque(directory);
  }

  /** Hides a file of lower layers. What this layer itself has under the name stays. */
  #whiteout(path: EntryPath): void {
    const directory = this.#target.parent(path.parent);
    const existing = this.#target.look(directory, path.name);
    if (existing?.type === FileType.S_IFDIR) this.#target.setOpaque(joined(path));
    else if (existing === undefined) {
      this.#target.must(joined(path), "mknodat", directory.number, cBytes(path.name), FileType.S_IFCHR, 0);
    }
  }
}
