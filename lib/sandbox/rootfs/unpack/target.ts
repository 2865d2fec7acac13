/**
 * The directory that a layer is unpacked into. Every path is resolved by the kernel with this directory as the root
 * (openat2(2), RESOLVE_IN_ROOT): a symlink or `..` of the archive cannot lead out of it. The last name of a path is
 * never followed.
 *
 * @module
 */

import { AtFlag, FileType, openFlag, Resolve } from "../../../ffi/constants.ts";
import { Errno, errnoText } from "../../../ffi/errno.ts";
import { Fd } from "../../../ffi/fd.ts";
import { open, readUpTo } from "../../../ffi/files.ts";
import { alloc, type Argument, cString, type Kernel, syscallError } from "../../../ffi/kernel.ts";
import { fstat, type Stat } from "../../../ffi/stat.ts";
import { syscallNumber } from "../../../ffi/syscalls.ts";
import { bytesOf, type ByteString, cBytes, shown } from "../tar/byte_string.ts";
import { invalidArchive } from "../tar/header.ts";
import { type EntryPath, joined } from "./entry_path.ts";

/** A file that exists, without following a symlink. */
export interface Existing {
  /** `FileType`. */
  readonly type: number;
  /** Device number of a device file. */
  readonly device: number;
}

const isDirectory = (existing: Existing | undefined): boolean => existing?.type === FileType.S_IFDIR;

/** overlayfs's whiteout: a character device 0:0. Documentation/filesystems/overlayfs.rst */
export function isWhiteout(existing: Existing | undefined): boolean {
  return existing?.type === FileType.S_IFCHR && existing.device === 0;
}

/** The attribute of a directory that hides what lower layers have. Without root, only `user.` ones can be set. */
export const opaqueAttribute = (rootless: boolean) => rootless ? "user.overlay.opaque" : "trusted.overlay.opaque";

/** A directory, and everything below it. */
export class Target implements Disposable {
  readonly #kernel: Kernel;
  readonly #root: Fd;
  readonly #opaque: string;
  /** The parent of the last entry: the next one is most likely beside it. */
  #parent: { readonly path: ByteString; readonly fd: Fd } | undefined;

  /** Takes ownership of `root`, a directory that is open for reading. `rootless`: see {@link opaqueAttribute}. */
  constructor(kernel: Kernel, root: Fd, { rootless = false } = {}) {
    this.#kernel = kernel;
    this.#root = root;
    this.#opaque = opaqueAttribute(rootless);
  }

  [Symbol.dispose](): void {
    this.#forget();
    this.#root.close();
  }

  #forget(): void {
    this.#parent?.fd.close();
    this.#parent = undefined;
  }

  /** Calls libc. The error names the path below the root. */
  must(path: ByteString, name: string, ...args: readonly Argument[]): number {
    const result = this.#kernel.retry(name, ...args);
    if (result < 0) throw this.error(path, name, -result);
    return result;
  }

  /** The error of a call on `path`. */
  error(path: ByteString, name: string, errno: number): Error {
    return syscallError(`${name}(${shown(path === "" ? "." as ByteString : path)})`, errno);
  }

  /** Opens a path from the root of the target on. Returns −errno on failure. */
  #openInRoot(path: ByteString, flags: number): number {
    const how = alloc(24);
    const view = new DataView(how.buffer);
    view.setBigUint64(0, BigInt(flags | openFlag(this.#kernel.arch).O_CLOEXEC), true);
    const { RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV } = Resolve;
    view.setBigUint64(16, BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV), true);
    const name = path === "" ? cString(".") : cBytes(path);
    const number = syscallNumber("openat2", this.#kernel.arch);
    for (;;) {
      const result = this.#kernel.retry("syscall", number, this.#root.number, name, how, how.length);
      // A rename anywhere on the host meanwhile. openat2(2)
      if (result !== -Errno.EAGAIN) return result;
    }
  }

  /** A directory, open for reading; undefined if there is none (any more), or the caller may not open it. */
  tryDirectory(path: ByteString): Fd | undefined {
    const number = this.#openInRoot(path, openFlag(this.#kernel.arch).O_DIRECTORY);
    if ([-Errno.ENOENT, -Errno.ENOTDIR, -Errno.EACCES].includes(number)) return undefined;
    if (number < 0) throw this.error(path, "openat2", -number);
    return new Fd(this.#kernel, number, path);
  }

  /** A directory, open for reading. */
  openDirectory(path: ByteString): Fd {
    const number = this.#openInRoot(path, openFlag(this.#kernel.arch).O_DIRECTORY);
    if (number < 0) throw this.error(path, "openat2", -number);
    return new Fd(this.#kernel, number, path);
  }

  /** The directory `path`, which is created with all that is missing above it. It stays open until another one is. */
  parent(path: ByteString): Fd {
    if (this.#parent?.path === path) return this.#parent.fd;
    let number = this.#openInRoot(path, openFlag(this.#kernel.arch).O_DIRECTORY);
    if (number < 0) number = this.#makeDirectories(path);
    this.#forget();
    const fd = new Fd(this.#kernel, number, path);
    this.#parent = { path, fd };
    return fd;
  }

  /** Creates what is missing. Archives usually have an entry for each directory, but need not. */
  #makeDirectories(path: ByteString): number {
    const O = openFlag(this.#kernel.arch);
    const parts = path.split("/") as ByteString[];
    for (let count = 1; count <= parts.length; count++) {
      const here = parts.slice(0, count).join("/") as ByteString;
      const found = this.#openInRoot(here, O.O_DIRECTORY | O.O_PATH);
      if (found >= 0) {
        this.#kernel.call("close", found);
        continue;
      }
      using above = this.openDirectory(parts.slice(0, count - 1).join("/") as ByteString);
      const name = parts[count - 1]!;
      const hides = isWhiteout(this.look(above, name));
      if (hides) this.must(here, "unlinkat", above.number, cBytes(name), 0);
      const made = this.#kernel.retry("mkdirat", above.number, cBytes(name), 0o755);
      if (made < 0) throw invalidArchive(`${shown(path)}: ${shown(here)} is not a directory: ${errnoText(-made)}`);
      // mkdir(2) applies the umask.
      this.must(here, "fchmodat", above.number, cBytes(name), 0o755, 0);
      if (hides) this.setOpaque(here);
    }
    const number = this.#openInRoot(path, O.O_DIRECTORY);
    if (number < 0) throw this.error(path, "openat2", -number);
    return number;
  }

  /** Hides what lower layers have in the directory. */
  setOpaque(path: ByteString): void {
    using directory = this.openDirectory(path);
    const result = this.setAttribute(directory, this.#opaque, Uint8Array.of("y".charCodeAt(0)));
    if (result < 0) throw this.error(path, `fsetxattr of ${this.#opaque}`, -result);
  }

  /** What `name` in `directory` is; undefined if there is nothing. */
  look(directory: Fd, name: ByteString): Existing | undefined {
    const O = openFlag(this.#kernel.arch);
    const flags = O.O_PATH | O.O_NOFOLLOW | O.O_CLOEXEC;
    const number = this.#kernel.retry("openat", directory.number, cBytes(name), flags, 0);
    if (number === -Errno.ENOENT) return undefined;
    if (number < 0) throw this.error(name, "openat", -number);
    using file = new Fd(this.#kernel, number, name);
    const status = fstat(this.#kernel, file.number);
    if (typeof status === "number") throw this.error(name, "fstat", -status);
    return { type: (status as Stat).mode & FileType.S_IFMT, device: (status as Stat).rdev };
  }

  /**
   * The content of a regular file, at most `limit` bytes. Undefined if there is none, or another kind of file. Symlinks
   * are followed in the target. A device is not opened.
   */
  readFile(path: ByteString, limit: number): Uint8Array<ArrayBuffer> | undefined {
    const O = openFlag(this.#kernel.arch);
    const number = this.#openInRoot(path, O.O_PATH);
    if (number < 0) return undefined;
    using place = new Fd(this.#kernel, number, path);
    const status = fstat(this.#kernel, place.number);
    if (typeof status === "number" || (status.mode & FileType.S_IFMT) !== FileType.S_IFREG) return undefined;
    using file = open(this.#kernel, `/proc/self/fd/${place.number}`, 0);
    return readUpTo(this.#kernel, file, limit);
  }

  /** Removes a file, or a directory with all that is in it. */
  remove(directory: Fd, name: ByteString): void {
    // The open parent may be in what is removed.
    if (this.#parent?.fd !== directory) this.#forget();
    this.#remove(directory, name);
  }

  #remove(directory: Fd, name: ByteString): void {
    if (!isDirectory(this.look(directory, name))) {
      this.must(name, "unlinkat", directory.number, cBytes(name), 0);
      return;
    }
    // Its mode may be any of the archive's.
    this.must(name, "fchmodat", directory.number, cBytes(name), 0o700, 0);
    using inner = this.openIn(directory, name, openFlag(this.#kernel.arch).O_DIRECTORY);
    for (const child of this.names(inner)) this.#remove(inner, child);
    this.must(name, "unlinkat", directory.number, cBytes(name), AtFlag.AT_REMOVEDIR);
  }

  /** Opens `name`, which must not be a symlink. */
  openIn(directory: Fd, name: ByteString, flags: number, mode = 0): Fd {
    const O = openFlag(this.#kernel.arch);
    const all = flags | O.O_NOFOLLOW | O.O_CLOEXEC;
    return new Fd(this.#kernel, this.must(name, "openat", directory.number, cBytes(name), all, mode), name);
  }

  /** The names in a directory that is open for reading. Layout: struct linux_dirent64, getdents(2) */
  names(directory: Fd): readonly ByteString[] {
    const found: ByteString[] = [];
    const entries = alloc(32768);
    for (;;) {
      const length = this.must("" as ByteString, "getdents64", directory.number, entries, entries.length);
      if (length === 0) return found;
      for (let at = 0; at < length; at += entries[at + 16]! | entries[at + 17]! << 8) {
        const name = String.fromCharCode(...entries.subarray(at + 19, entries.indexOf(0, at + 19)));
        if (name !== "." && name !== "..") found.push(name as ByteString);
      }
    }
  }

  /** Makes `path` another name of the file `to`, which must exist. A symlink is not followed. */
  link(to: EntryPath, directory: Fd, path: EntryPath): void {
    const from = this.#openInRoot(
      to.parent,
      openFlag(this.#kernel.arch).O_DIRECTORY | openFlag(this.#kernel.arch).O_PATH,
    );
    const made = from < 0
      ? from
      : this.#kernel.retry("linkat", from, cBytes(to.name), directory.number, cBytes(path.name), 0);
    if (from >= 0) this.#kernel.call("close", from);
    if (made >= 0) return;
    const why = errnoText(-made);
    throw invalidArchive(`the link ${shown(joined(path))} to ${shown(joined(to))} cannot be made: ${why}`);
  }

  /** fsetxattr(2). Returns −errno on failure. */
  setAttribute(file: Fd, name: string, value: Uint8Array<ArrayBuffer>): number {
    return this.#kernel.retry("fsetxattr", file.number, cString(name), value, value.length, 0);
  }

  /** The time of the last change, and of the last access. */
  setTimes(directory: Fd, name: ByteString, { seconds, nanoseconds }: { seconds: number; nanoseconds: number }): void {
    const times = alloc(32);
    const view = new DataView(times.buffer);
    for (const at of [0, 16]) {
      view.setBigInt64(at, BigInt(seconds), true);
      view.setBigInt64(at + 8, BigInt(nanoseconds), true);
    }
    this.must(name, "utimensat", directory.number, cBytes(name), times, AtFlag.AT_SYMLINK_NOFOLLOW);
  }

  /** Writes a whole piece of a file's content. */
  write(file: Fd, path: ByteString, bytes: Uint8Array<ArrayBuffer>): void {
    for (let done = 0; done < bytes.length;) {
      done += this.must(path, "write", file.number, bytes.subarray(done), bytes.length - done);
    }
  }

  /** symlinkat(2). */
  symlink(text: ByteString, directory: Fd, path: EntryPath): void {
    if (text === "" || bytesOf(text).includes(0)) {
      throw invalidArchive(`the symlink ${shown(joined(path))} has no target`);
    }
    this.must(joined(path), "symlinkat", cBytes(text), directory.number, cBytes(path.name));
  }
}
