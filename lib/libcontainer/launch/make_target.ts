/**
 * Creates mount targets behind dangling symlinks: the files that the links point to, always inside the root. Runs in:
 * parent, requested by init.
 *
 * runc follows such links for old images. Every component is opened or created below a descriptor, without following
 * symlinks. Links are resolved here; `..` returns to the parent's descriptor.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { openFlag } from "../../ffi/constants.ts";
import { Errno, errnoText } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { alloc, cString, type Kernel } from "../../ffi/kernel.ts";
import { asFileOwner } from "./file_owner.ts";

/** MAXSYMLINKS, include/linux/namei.h */
const LINK_LIMIT = 40;
/** Limit of attempts while another process keeps removing the name. */
const TRY_LIMIT = 128;
const PATH_MAX = 4096;

/** What to create. */
export interface Target {
  /** A clean absolute path in the container. */
  readonly path: string;
  /** An empty file; otherwise a directory. */
  readonly isFile: boolean;
  /** Host ids of the container's root. */
  readonly uid: number;
  readonly gid: number;
}

class Walk {
  readonly #kernel: Kernel;
  readonly #target: Target;
  /** The directories from the root to the current one. */
  readonly #open: Fd[];
  readonly #ahead: string[];
  #links = 0;
  #tries = 0;

  constructor(kernel: Kernel, root: Fd, target: Target) {
    this.#kernel = kernel;
    this.#target = target;
    this.#open = [root];
    this.#ahead = target.path.split("/");
  }

  run(): void {
    try {
      for (let name = this.#ahead.shift(); name !== undefined; name = this.#ahead.shift()) this.#enter(name);
    } finally {
      while (this.#open.length > 1) this.#leave();
    }
  }

  #leave(): void {
    // The caller closes the root, which is init's descriptor; `..` stops at it.
    if (this.#open.length > 1) this.#open.pop()!.close();
  }

  #enter(name: string): void {
    if (name === "" || name === ".") return;
    if (name === "..") return this.#leave();
    const O = openFlag(this.#kernel.arch);
    const flags = O.O_PATH | O.O_NOFOLLOW | O.O_CLOEXEC;
    const here = this.#open.at(-1)!.number;
    const number = this.#kernel.retry("openat", here, cString(name), flags, 0);
    if (number === -Errno.ENOENT) return this.#make(here, name);
    if (number < 0) throw this.#failure("openat", name, number);
    const file = new Fd(this.#kernel, number, name);
    const link = this.#linkOf(file);
    if (link === undefined) return void this.#open.push(file);
    file.close();
    if (++this.#links > LINK_LIMIT) throw this.#failure("openat", name, -40);
    if (link.startsWith("/")) { while (this.#open.length > 1) this.#leave(); }
    this.#ahead.unshift(...link.split("/"));
  }

  /** The target of a symlink; undefined for other files. readlinkat(2), "empty string" */
  #linkOf(file: Fd): string | undefined {
    const text = alloc(PATH_MAX);
    const length = this.#kernel.retry("readlinkat", file.number, cString(""), text, PATH_MAX);
    return length < 0 ? undefined : new TextDecoder().decode(text.subarray(0, length));
  }

  /** Creates the name if it is missing, and enters it next. */
  #make(here: number, name: string): void {
    const O = openFlag(this.#kernel.arch);
    const { isFile } = this.#target;
    const asFile = isFile && this.#ahead.every((rest) => rest === "" || rest === ".");
    const flags = O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW | O.O_CLOEXEC;
    const mode = asFile ? 0o644 : 0o755;
    const made = asFile
      ? this.#kernel.retry("openat", here, cString(name), flags, mode)
      : this.#kernel.retry("mkdirat", here, cString(name), mode);
    if (made < 0 && made !== -Errno.EEXIST) throw this.#failure(asFile ? "openat" : "mkdirat", name, made);
    if (made >= 0) this.#setMode(asFile ? made : this.#openMade(here, name), mode);
    if (++this.#tries > TRY_LIMIT) throw this.#failure("openat", name, -Errno.ENOENT);
    this.#ahead.unshift(name);
  }

  /** The new directory. Negative if another process has removed it. */
  #openMade(here: number, name: string): number {
    const O = openFlag(this.#kernel.arch);
    return this.#kernel.retry(
      "openat",
      here,
      cString(name),
      O.O_PATH | O.O_DIRECTORY | O.O_NOFOLLOW | O.O_CLOEXEC,
      0,
    );
  }

  /**
   * The umask must not change the requested mode. It is the whole program's, so it stays: other threads may make files
   * at this moment. Closes `made`.
   */
  #setMode(made: number, mode: number): void {
    if (made < 0) return;
    this.#kernel.retry("chmod", cString(`/proc/self/fd/${made}`), mode);
    this.#kernel.call("close", made);
  }

  #failure(call: string, name: string, result: number): RuncError {
    const { path } = this.#target;
    return new RuncError(
      "step-failed",
      `make mountpoint ${JSON.stringify(path)}: ${call} ${JSON.stringify(name)}: ${errnoText(-result)}`,
    );
  }
}

/** Creates `target` inside `root`, with missing parents. @throws {RuncError} `step-failed` */
export function makeTarget(kernel: Kernel, root: Fd, target: Target): void {
  asFileOwner(kernel, target, () => new Walk(kernel, root, target).run());
}
