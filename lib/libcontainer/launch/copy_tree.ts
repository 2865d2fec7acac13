/**
 * Copies the content of one directory into another. It works on descriptors and follows no symlink: the source is not
 * trusted. Runs in: parent.
 *
 * Like runc, it keeps types, owners, modes, symlinks' targets and device numbers, but not times and extended
 * attributes.
 *
 * @module
 */

import { AtFlag, FileType, openFlag } from "../../ffi/constants.ts";
import { errnoText } from "../../ffi/errno.ts";
import { RuncError } from "../../errors.ts";
import { Fd } from "../../ffi/fd.ts";
import { alloc, type Argument, cString, type Kernel } from "../../ffi/kernel.ts";
import { TURN, type Waits } from "../../ffi/waits.ts";
import { fstat, type Stat } from "../../ffi/stat.ts";
import { waitingAsFileOwner } from "./file_owner.ts";

/** Deeper trees fail: each level keeps two descriptors open. */
const DEPTH_LIMIT = 200;
/** PATH_MAX, the longest target of a symlink. limits.h */
const PATH_MAX = 4096;
const empty = cString("");

/**
 * The names of a directory's entries without `.` and `..`, as bytes with a NUL. Layout: struct linux_dirent64,
 * getdents(2)
 */
function names(copy: Copy, directory: Fd): readonly Uint8Array<ArrayBuffer>[] {
  const found: Uint8Array<ArrayBuffer>[] = [];
  const entries = alloc(32768);
  for (;;) {
    const length = copy.must("getdents64", directory.number, entries, entries.length);
    if (length === 0) return found;
    for (let at = 0; at < length;) {
      const size = entries[at + 16]! | entries[at + 17]! << 8;
      const end = entries.indexOf(0, at + 19) + 1;
      const name = alloc(end - at - 19);
      name.set(entries.subarray(at + 19, end));
      const text = new TextDecoder().decode(name);
      if (text !== ".\0" && text !== "..\0") found.push(name);
      at += size;
    }
  }
}

/** The result of fstat(2). */
interface Status {
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly device: number;
}

/** Copies the content of one open file to another. Returns 0 or −errno. */
export type Fill = (from: Fd, to: Fd) => Waits<number>;

class Copy {
  readonly #kernel: Kernel;
  readonly #fill: Fill;
  readonly #path: string[] = [];

  constructor(kernel: Kernel, fill: Fill) {
    this.#kernel = kernel;
    this.#fill = fill;
  }

  /** Calls libc; an error names the path in the tree. */
  must(name: string, ...args: readonly Argument[]): number {
    return this.#check(name, this.#kernel.retry(name, ...args));
  }

  #check(name: string, result: number): number {
    if (result >= 0) return result;
    throw new RuncError(
      "syscall-failed",
      `${name} of ${JSON.stringify(this.#path.join("/") || ".")}: ${errnoText(-result)}`,
    );
  }

  #open(directory: Fd, name: Uint8Array<ArrayBuffer>, flags: number): Fd {
    const O = openFlag(this.#kernel.arch);
    const number = this.must("openat", directory.number, name, flags | O.O_NOFOLLOW | O.O_CLOEXEC, 0);
    return new Fd(this.#kernel, number, this.#path.join("/"));
  }

  #status(file: Fd): Status {
    const status = fstat(this.#kernel, file.number);
    if (typeof status === "number") this.#check("fstat", status);
    const { mode, uid, gid, rdev } = status as Stat;
    return { type: mode & FileType.S_IFMT, mode: mode & 0o7777, uid, gid, device: rdev };
  }

  *directory(from: Fd, to: Fd): Waits<void> {
    if (this.#path.length > DEPTH_LIMIT) {
      throw new RuncError("unsupported", `${this.#path.join("/")} is more than ${DEPTH_LIMIT} directories deep`);
    }
    const O = openFlag(this.#kernel.arch);
    using readable = this.#open(from, cString("."), O.O_DIRECTORY);
    for (const name of names(this, readable)) {
      this.#path.push(new TextDecoder().decode(name.subarray(0, -1)));
      yield* this.#entry(readable, to, name);
      yield TURN;
      this.#path.pop();
    }
  }

  *#entry(from: Fd, to: Fd, name: Uint8Array<ArrayBuffer>): Waits<void> {
    const O = openFlag(this.#kernel.arch);
    using file = this.#open(from, name, O.O_PATH);
    const status = this.#status(file);
    switch (status.type) {
      case FileType.S_IFDIR: {
        this.must("mkdirat", to.number, name, 0o700);
        using made = this.#open(to, name, O.O_DIRECTORY);
        yield* this.directory(file, made);
        break;
      }
      case FileType.S_IFREG:
        yield* this.#content(file, to, name);
        break;
      case FileType.S_IFLNK:
        this.#link(file, to, name);
        break;
      default:
        this.must("mknodat", to.number, name, status.type, status.device);
    }
    this.must("fchownat", to.number, name, status.uid, status.gid, AtFlag.AT_SYMLINK_NOFOLLOW);
    // Last: chown(2) clears setuid and setgid.
    if (status.type !== FileType.S_IFLNK) this.must("fchmodat", to.number, name, status.mode, 0);
  }

  *#content(file: Fd, to: Fd, name: Uint8Array<ArrayBuffer>): Waits<void> {
    const O = openFlag(this.#kernel.arch);
    // /proc/self/fd opens this very file, even if the name means another one by now.
    const number = this.must("open", cString(`/proc/self/fd/${file.number}`), O.O_NONBLOCK | O.O_CLOEXEC, 0);
    using input = new Fd(this.#kernel, number, this.#path.join("/"));
    const flags = O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_CLOEXEC;
    using output = new Fd(this.#kernel, this.must("openat", to.number, name, flags, 0o600), this.#path.join("/"));
    this.#check("sendfile", yield* this.#fill(input, output));
  }

  #link(file: Fd, to: Fd, name: Uint8Array<ArrayBuffer>): void {
    // One byte more than the text: it stays a NUL.
    const target = alloc(PATH_MAX + 1);
    this.must("readlinkat", file.number, empty, target, PATH_MAX);
    this.must("symlinkat", target, to.number, name);
  }
}

/** The two directories, and the owner. */
export interface Trees {
  /** A directory. */
  readonly from: Fd;
  /** An empty directory. */
  readonly to: Fd;
  /** The user that creates the files: a file system of a user namespace accepts only users mapped there. */
  readonly uid: number;
  /** See `uid`. */
  readonly gid: number;
}

/** Copies everything in `from` to `to`. @throws {RuncError} with the path below `from`. */
export function* copyTree(kernel: Kernel, { from, to, uid, gid }: Trees, fill: Fill): Waits<void> {
  yield* waitingAsFileOwner(kernel, { uid, gid }, new Copy(kernel, fill).directory(from, to));
}
