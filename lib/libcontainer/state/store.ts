/**
 * The state directory: `<root>/<id>/state.json`, the exec fifo, and a container's other files. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { FileType, Flock, openFlag, UmountFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { fileError, withFileErrors } from "../../ffi/file_error.ts";
import { isAbsent, open, readUpTo } from "../../ffi/files.ts";
import { cString, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { fstat, type Stat } from "../../ffi/stat.ts";
import { exclusiveLock, type Waits } from "../../ffi/waits.ts";
import { exactText } from "../../specs/json.ts";
import { EXIT_RECORD } from "./exit_record.ts";
import { type CreationNote, NOTE_LIMIT, parseNote } from "./creation_note.ts";
import { addKnownExec, KNOWN, KNOWN_LIMIT, type KnownExec, type KnownFor } from "./known_exec.ts";
import { encodeResident, identityOffsets, RESIDENT } from "./resident.ts";
import { brokenState, parseRuncState, type RuncState } from "./runc_state.ts";

/** Far more than any state has: it is read into memory as a whole. */
const SIZE_LIMIT = 256 * 1024 * 1024;

/** Letters, digits and `_+-.`: the id is a file name, a keyring's name, and a part of a cgroup's name. */
function isAllowed(id: string): boolean {
  return /^[\w+.-]+$/.test(id) && id !== "." && id !== "..";
}

/** @throws {RuncError} `id-invalid`. */
export function checkId(id: string): void {
  if (id === "") throw new RuncError("id-invalid", "container id cannot be empty");
  if (isAllowed(id)) return;
  throw new RuncError("id-invalid", "invalid container ID format", {
    hint: `container IDs may contain only letters, digits and _ + - . (not . or ..): ${JSON.stringify(id)}`,
  });
}

/** The error for a container that does not exist. */
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
      hint: "set another directory with --root",
    });
  }
}

/** One container's directory. A valid id has no slash and is not `..`, so the path stays below the root. */
export class StateDirectory {
  readonly path: string;
  /** What was read or written last, and of which file. */
  #known?: { readonly identity: Identity; readonly state: RuncState };

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

  /** The note of a creation. */
  get note(): string {
    return `${this.path}/creating.json`;
  }

  /** What commands without an engine know of the container. @see resident.ts */
  get resident(): string {
    return `${this.path}/${RESIDENT}`;
  }

  /** The last few execs. @see known_exec.ts */
  get known(): string {
    return `${this.path}/${KNOWN}`;
  }

  /** How the first process ended. */
  get exit(): string {
    return `${this.path}/${EXIT_RECORD}`;
  }

  /** Makes the directory, or nothing. @throws {RuncError} `container-exists`. */
  make(kernel: Kernel, root: string): void {
    // 0711: the container's root, maybe another user on the host, must reach the notify socket through the directory.
    let made = kernel.retry("mkdir", cString(this.path), 0o711);
    if (made === -Errno.ENOENT) {
      makeRoot(root);
      made = kernel.retry("mkdir", cString(this.path), 0o711);
    }
    if (made === -Errno.EEXIST) {
      throw new RuncError("container-exists", "container with given ID already exists", {
        hint: `delete a stopped container with: runc delete ${this.id}`,
      });
    }
    if (made < 0) kernel.must(`mkdir(${JSON.stringify(this.path)})`, "mkdir", cString(this.path), 0o711);
    // chmod, because of the umask.
    const changed = kernel.retry("chmod", cString(this.path), 0o711);
    if (changed >= 0) return;
    // A `delete` may remove it before there is a state.
    if (changed === -Errno.ENOENT) return this.make(kernel, root);
    kernel.call("rmdir", cString(this.path));
    throw syscallError(`chmod(${this.path}, 0711)`, -changed);
  }

  /**
   * Makes the directory, and locks it. `delete` may remove one without a state, before it is locked: then it is made
   * again. @throws {RuncError} as {@link make}; nothing is left then.
   */
  *makeLocked(kernel: Kernel, root: string): Waits<Fd> {
    for (;;) {
      this.make(kernel, root);
      try {
        using kept = new DisposableStack();
        const lock = yield* this.lock(kernel);
        if (lock === undefined) continue;
        kept.use(lock);
        // Another creation was faster to make it again: then it has the other's files.
        if (!this.#isEmpty()) continue;
        kept.move();
        return lock;
      } catch (error) {
        kernel.call("rmdir", cString(this.path));
        throw error;
      }
    }
  }

  /** Creates the exec fifo, which the container's root can open. `owner`: host ids of the container's root. */
  makeFifo(kernel: Kernel, owner: { uid: number; gid: number }): void {
    const path = cString(this.fifo);
    kernel.must(`mkfifo(${JSON.stringify(this.fifo)})`, "mkfifo", path, 0o622);
    kernel.must(`chmod(${this.fifo}, 0622)`, "chmod", path, 0o622);
    if (owner.uid !== 0 || owner.gid !== 0) {
      kernel.must(`chown(${this.fifo}, ${owner.uid}, ${owner.gid})`, "chown", path, owner.uid, owner.gid);
    }
  }

  /** Whether the container still waits for `start`. */
  hasFifo(kernel: Kernel): boolean {
    return isThere(kernel, this.fifo);
  }

  /** Whether the directory exists, with or without a state. */
  exists(kernel: Kernel): boolean {
    return isThere(kernel, this.path);
  }

  /**
   * Locks the container against changes by other commands until the lock is disposed of. It does not block commands
   * that only read, nor the container's processes. undefined if the directory does not exist (any more). flock(2) ends
   * with its process, so a killed process leaves no lock.
   *
   * Do not hold it while something runs that may call the runtime for the same container, such as a hook.
   */
  *lock(kernel: Kernel): Waits<Fd | undefined> {
    for (;;) {
      const fd = this.#open(kernel);
      if (fd === undefined) return undefined;
      try {
        const result = yield* exclusiveLock(fd.number);
        if (result < 0) throw syscallError(`flock(${fd.label}, LOCK_EX)`, -result);
        if (this.isAt(fd)) return fd;
      } catch (error) {
        fd.close();
        throw error;
      }
      fd.close();
    }
  }

  /** {@link lock} that does not wait: `busy` if another command has the lock. */
  tryLock(kernel: Kernel): Fd | "busy" | undefined {
    const fd = this.#open(kernel);
    if (fd === undefined) return undefined;
    using kept = new DisposableStack();
    kept.use(fd);
    const result = kernel.retry("flock", fd.number, Flock.LOCK_EX | Flock.LOCK_NB);
    if (result === -Errno.EAGAIN) return "busy";
    if (result < 0) throw syscallError(`flock(${fd.label}, LOCK_EX|LOCK_NB)`, -result);
    // What is there now is another container's, which has just been made.
    if (!this.isAt(fd)) return "busy";
    kept.move();
    return fd;
  }

  #open(kernel: Kernel): Fd | undefined {
    const { O_DIRECTORY, O_CLOEXEC } = openFlag(kernel.arch);
    const number = kernel.retry("open", cString(this.path), O_DIRECTORY | O_CLOEXEC);
    if (number === -Errno.ENOENT) return undefined;
    if (number < 0) throw syscallError(`open(${JSON.stringify(this.path)}, O_DIRECTORY)`, -number);
    return new Fd(kernel, number, this.path);
  }

  /** Whether the opened directory is still the container's. It may have been removed and created again. */
  isAt({ number }: Fd): boolean {
    const opened = Deno.statSync(`/proc/self/fd/${number}`);
    try {
      const there = Deno.statSync(this.path);
      return there.dev === opened.dev && there.ino === opened.ino;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  #isEmpty(): boolean {
    return withFileErrors(() => Deno.readDirSync(this.path)[Symbol.iterator]().next().done) === true;
  }

  /** Notes what a creation makes, until {@link removeNote}. */
  writeNote(note: CreationNote): void {
    withFileErrors(() => Deno.writeTextFileSync(this.note, JSON.stringify(note), { mode: 0o600 }));
  }

  /** Removes the note, once there is a state. */
  removeNote(): void {
    const error = removing(this.note);
    if (error !== undefined) throw error;
  }

  /** The note of a creation that did not end. `mountPoints`: of the cgroup hierarchies. @see parseNote */
  readNote(kernel: Kernel, mountPoints: readonly string[]): CreationNote | undefined {
    const O = openFlag(kernel.arch);
    const number = kernel.retry("open", cString(this.note), O.O_NONBLOCK | O.O_NOFOLLOW | O.O_CLOEXEC);
    if (number < 0) return undefined;
    using file = new Fd(kernel, number, this.note);
    const status = fstat(kernel, file.number);
    if (typeof status === "number" || (status.mode & FileType.S_IFMT) !== FileType.S_IFREG) return undefined;
    if (status.sizeBytes > NOTE_LIMIT) return undefined;
    return parseNote(new TextDecoder().decode(readUpTo(kernel, file, status.sizeBytes)), mountPoints);
  }

  /**
   * Writes state.json atomically; leaves nothing if it fails. The caller has the lock, or nobody else knows of the
   * container. `isBrief`: commands on it are rare, and it was saved for the first time.
   */
  save(kernel: Kernel, state: RuncState, { isBrief = false }: { readonly isBrief?: boolean } = {}): void {
    // A process killed here may have left a file, and may have had our pid: a pid namespace has few of them.
    const temporary = `${this.path}/state-${kernel.pid}`;
    const text = exactText(state);
    try {
      withFileErrors(() => Deno.writeTextFileSync(temporary, text, { mode: 0o600 }));
      withFileErrors(() => Deno.renameSync(temporary, `${this.path}/state.json`));
    } catch (error) {
      removing(temporary);
      throw error;
    }
    const identity = identityAt(kernel, `${this.path}/state.json`);
    this.#known = identity && { identity, state };
    if (!isBrief) this.#saveResident(kernel, state, identity);
  }

  /**
   * Writes the file of resident.ts, after state.json: it contains the identity of that file. If it cannot be written,
   * commands do without.
   */
  #saveResident(kernel: Kernel, state: RuncState, identity: Identity | undefined): void {
    const content = identity && encodeResident(state, identity);
    if (content === undefined) removing(this.resident);
    else this.#replace(kernel, RESIDENT, content);
  }

  /** Writes a file that commands can do without; leaves nothing if it fails. */
  #replace(kernel: Kernel, name: string, content: Uint8Array): void {
    const temporary = `${this.path}/${name}-${kernel.pid}`;
    try {
      Deno.writeFileSync(temporary, content, { mode: 0o600 });
      Deno.renameSync(temporary, `${this.path}/${name}`);
    } catch (error) {
      if (fileError(error) === undefined) throw error;
      removing(temporary);
    }
  }

  /**
   * Keeps an exec of the state that was read or written last. Of two that are kept at the same time, one may be lost. If
   * commands on the container need an engine anyway, nothing is kept.
   */
  keepExec(kernel: Kernel, head: Omit<KnownFor, "identity">, known: KnownExec): void {
    if (this.#known === undefined || !isThere(kernel, this.resident)) return;
    const file = addKnownExec(this.#readKnown(kernel), { ...head, identity: this.#known.identity }, known);
    if (file !== undefined) this.#replace(kernel, KNOWN, file);
  }

  #readKnown(kernel: Kernel): Uint8Array | undefined {
    const O = openFlag(kernel.arch);
    const number = kernel.retry("open", cString(this.known), O.O_NONBLOCK | O.O_NOFOLLOW | O.O_CLOEXEC);
    if (number < 0) return undefined;
    using file = new Fd(kernel, number, this.known);
    const status = fstat(kernel, file.number);
    if (typeof status === "number" || (status.mode & FileType.S_IFMT) !== FileType.S_IFREG) return undefined;
    return status.sizeBytes > KNOWN_LIMIT ? undefined : readUpTo(kernel, file, status.sizeBytes);
  }

  /**
   * Reads state.json; what was read or written before is returned if it is still the same file.
   *
   * @throws {RuncError} `container-missing` where there is no state, `state-invalid` where it is broken.
   */
  load(kernel: Kernel): RuncState {
    using file = this.#openState(kernel);
    const status = fstat(kernel, file.number);
    if (typeof status === "number") throw syscallError(`fstat(${file.label})`, -status);
    const identity = identityOf(status);
    if (this.#known !== undefined && isSame(identity, this.#known.identity)) return this.#known.state;
    const state = parseRuncState(new TextDecoder().decode(this.#read(kernel, file, status)));
    this.#known = { identity, state };
    return state;
  }

  /** state.json, a regular file: a read of anything else may wait without end, or have none. */
  #read(kernel: Kernel, file: Fd, status: Stat): Uint8Array<ArrayBuffer> {
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

  /** Where a restore mounts the rootfs. */
  get criuRoot(): string {
    return `${this.path}/criu-root`;
  }

  /** Whether a restore has not ended, or was killed: its last act removes this place. */
  isRestoring(kernel: Kernel): boolean {
    return isThere(kernel, this.criuRoot);
  }

  /**
   * Removes the directory; ignores a missing one. `kernel`: unmounts what a killed restore has left there. @throws
   * {RuncError} if it cannot be removed; a mounted rootfs is never touched.
   */
  remove(kernel: Kernel): void {
    this.#leaveRootfs(kernel);
    const error = removing(this.path, { recursive: true });
    if (error?.errno === Errno.EMFILE || error?.errno === Errno.ENFILE) this.#removeKnown();
    else if (error !== undefined) throw error;
  }

  /** rmdir(2) fails on a mount point and on a directory with content, so the rootfs cannot be removed with the state. */
  #leaveRootfs(kernel: Kernel): void {
    if (!isThere(kernel, this.criuRoot)) return;
    kernel.call("umount2", cString(this.criuRoot), UmountFlag.MNT_DETACH);
    const error = removing(this.criuRoot);
    if (error !== undefined) throw error;
  }

  /** Works without a descriptor: nothing is read from the directory. */
  #removeKnown(): void {
    const socket = `${this.notify}/notify.sock`;
    for (
      const path of [
        this.fifo,
        this.note,
        this.exit,
        this.resident,
        this.known,
        `${this.path}/state.json`,
        socket,
        this.notify,
        this.path,
      ]
    ) {
      const error = removing(path);
      if (error !== undefined) throw error;
    }
  }
}

/** The words of {@link identityOffsets}: those of a file that is written again, or renamed, are others. */
type Identity = readonly bigint[];

/** The words of the file at a path; undefined if it cannot be opened. */
export function identityAt(kernel: Kernel, path: string): Identity | undefined {
  const number = kernel.retry("open", cString(path), openFlag(kernel.arch).O_CLOEXEC);
  if (number < 0) return undefined;
  const status = fstat(kernel, number);
  kernel.call("close", number);
  return typeof status === "number" ? undefined : identityOf(status);
}

/** The words of a file. */
export const identityOf = ({ view }: Pick<Stat, "view">): readonly bigint[] =>
  identityOffsets.map((offset) => view.getBigUint64(offset, true));

const isSame = (one: Identity, other: Identity) => one.every((word, index) => word === other[index]);

/** Removes a file or directory; ignores a missing one. Returns the system's error text. */
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

/** Most of what is looked for is not there, and an exception costs more than all else that is done about it. */
function isThere(kernel: Kernel, path: string): boolean {
  if (isAbsent(kernel, path)) return false;
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * The directories below `root`, sorted: container ids, and names that look like ids. @throws {Deno.errors.NotFound} if
 * the root is missing.
 */
export function containerIds(root: string): readonly string[] {
  return [...Deno.readDirSync(root)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
}
