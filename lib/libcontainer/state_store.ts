/**
 * The state directory: `<root>/<id>/state.json`, the exec fifo, and what else a container keeps there. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { cString, type Kernel } from "../ffi/kernel.ts";
import { exactInteger } from "../specs/json.ts";
import { parseRuncState, type RuncState } from "./runc_state.ts";

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

function makeRoot(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new RuncError("syscall-failed", `cannot make the state directory ${path}: ${(cause as Error).message}`, {
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

  /** Writes state.json as a whole or not at all. */
  save(kernel: Kernel, state: RuncState): void {
    const temporary = `${this.path}/state-${kernel.pid}`;
    Deno.writeTextFileSync(temporary, JSON.stringify(state, exactInteger), { mode: 0o600, createNew: true });
    Deno.renameSync(temporary, `${this.path}/state.json`);
  }

  /** @throws {RuncError} `container-missing` where there is no state. */
  load(): RuncState {
    let text: string;
    try {
      text = Deno.readTextFileSync(`${this.path}/state.json`);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new RuncError("container-missing", "container does not exist", { cause });
    }
    return parseRuncState(text);
  }

  /** Removes the directory; missing is fine. */
  remove(): void {
    try {
      Deno.removeSync(this.path, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
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
