/**
 * The state directory: `<root>/<id>/state.json`, the exec fifo, and what else a container keeps there. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { FileType, Flock, openFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { fileError, withFileErrors } from "../../ffi/file_error.ts";
import { open, readUpTo } from "../../ffi/files.ts";
import { cString, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { fstat } from "../../ffi/stat.ts";
import { exactInteger } from "../../specs/json.ts";
import { brokenState, parseRuncState, type RuncState } from "./runc_state.ts";

/** Far more than any state has: it is read into memory as a whole. */
const SIZE_LIMIT = 256 * 1024 * 1024;

/** Letters, digits and `_+-.`: the id is a file name, a keyring's name and part of a cgroup's. */
function isAllowed(id: string): boolean {
  return /^[\w+.-]+$/.test(id) && id !== "." && id !== "..";
}

/** @throws {RuncError} `id-invalid`. */
export function checkId(id: string): void {
  if (id === "") throw new RuncError("id-invalid", "container id cannot be empty");
  if (isAllowed(id)) return;
  throw new RuncError("id-invalid", "invalid container ID format", {
    hint: `${JSON.stringify(id)} is none: use letters, digits and the characters _ + - . only; not . or ..`,
  });
}

/** The error where there is no container. */
export function missingContainer(cause?: unknown): RuncError {
  return new RuncError("container-missing", "container does not exist", { cause });
}

/** Whether `error` is a {@link missingContainer}. */
export function isMissing(error: unknown): boolean {
  return error instanceof RuncError && error.code === "container-missing";
}

function makeRoot(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const { message, call, errno, errnoName } = fileError(cause) ?? (cause as RuncError);
    throw new RuncError("syscall-failed", `cannot make the state directory ${path}: ${message}`, {
      call,
      errno,
      errnoName,
      cause,
      hint: "--root names another one",
    });
  }
}

/** One container's directory. An allowed id has no slash and is not `..`: joined to the root it stays below it. */
export class StateDirectory {
  readonly path: string;

  /** @throws {RuncError} `id-invalid`. */
  constructor(root: string, readonly id: string) {
    checkId(id);
    this.path = `${root}/${id}`;
  }

  get fifo(): string {
    return `${this.path}/exec.fifo`;
  }

  get notify(): string {
    return `${this.path}/notify`;
  }

  /** @throws {RuncError} `container-exists`. */
  make(kernel: Kernel, root: string): void {
    // 0711: the container's root, who may be another user on the host, reaches the notify socket through it.
    let made = kernel.retry("mkdir", cString(this.path), 0o711);
    if (made === -2) {
      makeRoot(root);
      made = kernel.retry("mkdir", cString(this.path), 0o711);
    }
    if (made === -17) {
      throw new RuncError("container-exists", "container with given ID already exists", {
        hint: `runc delete ${this.id} removes a stopped one`,
      });
    }
    if (made < 0) kernel.must(`mkdir(${JSON.stringify(this.path)})`, "mkdir", cString(this.path), 0o711);
    // The umask may have taken bits away.
    kernel.must(`chmod(${this.path}, 0711)`, "chmod", cString(this.path), 0o711);
  }

  /** Makes the exec fifo, for the container's root to open. `owner`: its ids on the host. */
  makeFifo(kernel: Kernel, owner: { uid: number; gid: number }): void {
    const path = cString(this.fifo);
    kernel.must(`mkfifo(${JSON.stringify(this.fifo)})`, "mkfifo", path, 0o622);
    kernel.must(`chmod(${this.fifo}, 0622)`, "chmod", path, 0o622);
    if (owner.uid !== 0 || owner.gid !== 0) {
      kernel.must(`chown(${this.fifo}, ${owner.uid}, ${owner.gid})`, "chown", path, owner.uid, owner.gid);
    }
  }

  /** Whether the container still waits for `start`. */
  hasFifo(): boolean {
    return isThere(this.fifo);
  }

  /** Whether there is a directory, with a state in it or not. */
  exists(): boolean {
    return isThere(this.path);
  }

  /**
   * Keeps other commands from changing the container until it is disposed of; those that only look are not held up, nor is what runs in it.
   * undefined where there is no directory, or none any more. Whoever is killed leaves no lock. flock(2)
   *
   * Not to be held while something runs that may call us for the same container, as hooks do.
   */
  lock(kernel: Kernel): Fd | undefined {
    const { O_DIRECTORY, O_CLOEXEC } = openFlag(kernel.arch);
    for (;;) {
      const number = kernel.retry("open", cString(this.path), O_DIRECTORY | O_CLOEXEC);
      if (number === -Errno.ENOENT) return undefined;
      if (number < 0) throw syscallError(`open(${JSON.stringify(this.path)}, O_DIRECTORY)`, -number);
      const fd = new Fd(kernel, number, this.path);
      try {
        kernel.must(`flock(${fd.label}, LOCK_EX)`, "flock", fd.number, Flock.LOCK_EX);
        if (this.#isAt(fd)) return fd;
      } catch (error) {
        fd.close();
        throw error;
      }
      fd.close();
    }
  }

  /** Whether the directory that was opened is still the container's: it may have been removed meanwhile, and another one made. */
  #isAt({ number }: Fd): boolean {
    const opened = Deno.statSync(`/proc/self/fd/${number}`);
    try {
      const there = Deno.statSync(this.path);
      return there.dev === opened.dev && there.ino === opened.ino;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /** Writes state.json as a whole or not at all. */
  save(kernel: Kernel, state: RuncState): void {
    // Whoever was killed here may have left one, and had the same pid: in a pid namespace they are few.
    const temporary = `${this.path}/state-${kernel.pid}`;
    const text = JSON.stringify(state, exactInteger);
    withFileErrors(() => Deno.writeTextFileSync(temporary, text, { mode: 0o600 }));
    withFileErrors(() => Deno.renameSync(temporary, `${this.path}/state.json`));
  }

  /** @throws {RuncError} `container-missing` where there is no state, `state-invalid` where it is broken. */
  load(kernel: Kernel): RuncState {
    return parseRuncState(new TextDecoder().decode(this.#read(kernel)));
  }

  /** state.json, a regular file: a read of anything else may wait without end, or have none. */
  #read(kernel: Kernel): Uint8Array<ArrayBuffer> {
    using file = this.#openState(kernel);
    const status = fstat(kernel, file.number);
    if (typeof status === "number") throw syscallError(`fstat(${file.label})`, -status);
    if ((status.mode & FileType.S_IFMT) !== FileType.S_IFREG) throw brokenState("state.json is no regular file");
    if (status.sizeBytes > SIZE_LIMIT) throw brokenState("state.json is larger than 256 MiB");
    return readUpTo(kernel, file, status.sizeBytes);
  }

  #openState(kernel: Kernel): Fd {
    try {
      // Without a writer, the open of a fifo would wait.
      return open(kernel, `${this.path}/state.json`, openFlag(kernel.arch).O_NONBLOCK);
    } catch (cause) {
      if (!(cause instanceof RuncError)) throw cause;
      if (cause.errno === Errno.ENOENT) throw missingContainer(cause);
      throw cause.errno === Errno.ELOOP ? brokenState("state.json is a symlink to itself", cause) : cause;
    }
  }

  /** Removes the directory; missing is fine. */
  remove(): void {
    const error = removing(this.path, { recursive: true });
    if (error?.errno === Errno.EMFILE || error?.errno === Errno.ENFILE) this.#removeKnown();
    else if (error !== undefined) throw error;
  }

  /** Without a descriptor: what is in it is not read from it. */
  #removeKnown(): void {
    for (const path of [this.fifo, `${this.path}/state.json`, `${this.notify}/notify.sock`, this.notify, this.path]) {
      const error = removing(path);
      if (error !== undefined) throw error;
    }
  }
}

/** Removes a file or a directory; missing is fine. Returns what the system says against it. */
function removing(path: string, options?: Deno.RemoveOptions): RuncError | undefined {
  try {
    Deno.removeSync(path, options);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    const known = fileError(error);
    if (known === undefined) throw error;
    return known;
  }
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The directories below `root`, sorted: ids, and what only looks like one. @throws {Deno.errors.NotFound} where there is no root. */
export function containerIds(root: string): readonly string[] {
  return [...Deno.readDirSync(root)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
}
