/**
 * The files of a sandbox.
 *
 * Each call runs a program of the sandbox, as its user. So a path means what it means to the sandbox's programs, a
 * symlink cannot lead out, nothing can be read or written that these could not, and what is written counts towards
 * the sandbox's limits. No file of the sandbox is opened by this program.
 *
 * The root file system needs `sh`, and the usual small programs: coreutils or busybox.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { howEnded, type SandboxOutput, type SandboxProcess } from "../process/sandbox_process.ts";
import type { SandboxSpawnOptions } from "../run/options.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { removeIfThere } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { parseSize, pathText, type Size } from "../config/units.ts";
import { collect } from "../process/collect.ts";
import { type ByteSource, streamSource } from "../rootfs/byte_reader.ts";
import { pack } from "./pack.ts";
import { hostMode, unpackFiles } from "./unpack_files.ts";
import {
  fileError,
  modeArgument,
  parseEntries,
  parseFileInfo,
  parseWalk,
  pathArgument,
  type SandboxDirEntry,
  type SandboxFileInfo,
  type SandboxWalkEntry,
  scripts,
  timeArgument,
} from "./scripts.ts";

/** Starts a program in the sandbox. */
export type StartProgram = (program: string, options: SandboxSpawnOptions) => Promise<SandboxProcess>;

/** Options of reading. */
export interface SandboxReadOptions {
  /** Aborting it ends the reading. */
  readonly signal?: AbortSignal;
}

/** Options of writing. */
export interface SandboxWriteOptions extends SandboxReadOptions {
  /** Whether the data is put after what is there. */
  readonly append?: boolean;
  /** Permissions of the file; unchanged if absent, 644 for a new one. */
  readonly mode?: number;
  /** Whether a missing file is made: true by default. */
  readonly create?: boolean;
  /** Whether a file that exists is an error. */
  readonly createNew?: boolean;
}

/** Options of making a temporary file or directory. */
export interface SandboxTempOptions {
  /** Where: /tmp by default. */
  readonly dir?: string;
  /** How its name begins. */
  readonly prefix?: string;
  /** How its name ends. */
  readonly suffix?: string;
}

/** Options of {@link SandboxFs.walk}. Symlinks are not followed. */
export interface SandboxWalkOptions {
  /** How deep: 1 is the directory's own files. No limit by default. */
  readonly maxDepth?: number;
  /** True by default. */
  readonly includeFiles?: boolean;
  /** True by default. */
  readonly includeDirs?: boolean;
  /** True by default. */
  readonly includeSymlinks?: boolean;
  /** Only names that end so: `.ts`. */
  readonly exts?: readonly string[];
  /** Only paths that one of these matches. */
  readonly match?: readonly RegExp[];
  /** Not these paths, nor what is in them. */
  readonly skip?: readonly RegExp[];
}

/** Options of {@link SandboxFs.download}. */
export interface SandboxDownloadOptions extends SandboxReadOptions {
  /** How much may be written on the host: 1 GiB by default. */
  readonly maxSize?: Size;
}

/** Deeper trees cannot be made. */
const DEEPEST = 2048;
/** What a download may have. */
const MOST_FILES = 1_000_000;

type ScriptName = keyof typeof scripts;

/**
 * The files of a sandbox. Relative paths begin at its working directory. A failure is a {@link RuncError} with
 * `errnoName`, such as `ENOENT`.
 */
export class SandboxFs {
  readonly #kernel: Kernel;
  readonly #start: StartProgram;
  readonly #maxBytes: number;

  /** Made by {@link Sandbox.create}. `maxBytes`: the longest file that can be read. */
  constructor(kernel: Kernel, start: StartProgram, maxBytes: number) {
    this.#kernel = kernel;
    this.#start = start;
    this.#maxBytes = maxBytes;
  }

  /** A file's content. @throws {RuncError} `command-failed`; EFBIG if it is longer than `maxOutput`. */
  async readFile(path: string | URL, { signal }: SandboxReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const { stdout } = await this.#run("read", path, "read", { args: [`${this.#maxBytes}`], signal });
    if (stdout!.length < this.#maxBytes) return stdout!;
    throw fileError("read", String(path), ": file too large");
  }

  /** A file's content as UTF-8. @throws {RuncError} as {@link readFile}. */
  async readTextFile(path: string | URL, options: SandboxReadOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.readFile(path, options));
  }

  /** Writes a file; it is made if it is not there. @throws {RuncError} `command-failed` */
  async writeFile(
    path: string | URL,
    data: Uint8Array | ReadableStream<Uint8Array>,
    { append = false, create = true, createNew = false, mode, signal }: SandboxWriteOptions = {},
  ): Promise<void> {
    // A wrong one is found before anything is written.
    const permissions = mode === undefined ? undefined : modeArgument(mode);
    const ways = append ? ["append", "appendOld"] as const : ["write", "writeOld"] as const;
    await this.#run("write", path, createNew ? "writeNew" : ways[create ? 0 : 1], { signal }, data);
    if (permissions !== undefined) {
      await this.#run("change the mode of", path, "chmod", { args: [permissions], signal });
    }
  }

  /** Writes a text as UTF-8. @throws {RuncError} as {@link writeFile}. */
  writeTextFile(
    path: string | URL,
    text: string | ReadableStream<string>,
    options: SandboxWriteOptions = {},
  ): Promise<void> {
    const data = typeof text === "string" ? new TextEncoder().encode(text) : text.pipeThrough(new TextEncoderStream());
    return this.writeFile(path, data, options);
  }

  /** The files in a directory, in no particular order. @throws {RuncError} `command-failed` */
  async *readDir(path: string | URL): AsyncGenerator<SandboxDirEntry> {
    const { stdoutText } = await this.#run("list", path, "list");
    yield* parseEntries(stdoutText!);
  }

  /** Makes a directory; `recursive`: also those above it, and it may be there. @throws {RuncError} `command-failed` */
  async mkdir(
    path: string | URL,
    { recursive = false, mode = 0o755 }: { readonly recursive?: boolean; readonly mode?: number } = {},
  ): Promise<void> {
    await this.#run("make directory", path, recursive ? "mkdirs" : "mkdir", { args: [modeArgument(mode)] });
  }

  /** Removes a file or an empty directory; `recursive`: with all in it. @throws {RuncError} `command-failed` */
  async remove(path: string | URL, { recursive = false }: { readonly recursive?: boolean } = {}): Promise<void> {
    await this.#run("remove", path, recursive ? "removeAll" : "remove");
  }

  /** A file's attributes, symlinks followed. @throws {RuncError} `command-failed` */
  async stat(path: string | URL): Promise<SandboxFileInfo> {
    return parseFileInfo((await this.#run("look at", path, "stat")).stdoutText!);
  }

  /** A file's attributes, of a symlink its own. @throws {RuncError} `command-failed` */
  async lstat(path: string | URL): Promise<SandboxFileInfo> {
    return parseFileInfo((await this.#run("look at", path, "lstat")).stdoutText!);
  }

  /** Gives a file another name; what had it is replaced. @throws {RuncError} `command-failed` */
  async rename(path: string | URL, to: string | URL): Promise<void> {
    await this.#run("rename", path, "rename", { args: [pathArgument(to)] });
  }

  /** Copies a file; what is there is replaced. @throws {RuncError} `command-failed` */
  async copyFile(path: string | URL, to: string | URL): Promise<void> {
    await this.#run("copy", path, "copyFile", { args: [pathArgument(to)] });
  }

  /** Gives a file a second name. @throws {RuncError} `command-failed` */
  async link(path: string | URL, to: string | URL): Promise<void> {
    await this.#run("link to", path, "link", { args: [pathArgument(to)] });
  }

  /** Makes a symlink at `path` that leads to `target`. @throws {RuncError} `command-failed` */
  async symlink(target: string | URL, path: string | URL): Promise<void> {
    const text = pathText(target);
    if (text === "" || text.includes("\0")) throw new TypeError(`${JSON.stringify(text)} is not a path`);
    await this.#run("make a symlink at", path, "symlink", { args: [text] });
  }

  /** What a symlink leads to. @throws {RuncError} `command-failed`; EINVAL if it is none. */
  async readLink(path: string | URL): Promise<string> {
    return (await this.#run("read the link", path, "readLink")).stdoutText!;
  }

  /** The absolute path of a file, without symlinks. @throws {RuncError} `command-failed` */
  async realPath(path: string | URL): Promise<string> {
    return (await this.#run("resolve", path, "realPath")).stdoutText!;
  }

  /** Cuts a file, or extends it with zeros. @throws {RuncError} `command-failed` */
  async truncate(path: string | URL, length = 0): Promise<void> {
    if (!Number.isSafeInteger(length) || length < 0) throw new TypeError(`${length} is not a length`);
    await this.#run("truncate", path, "truncate", { args: [`${length}`] });
  }

  /** Sets the times of a file: dates, or seconds. Fractions of seconds are dropped. @throws {RuncError} `command-failed` */
  async utime(path: string | URL, atime: number | Date, mtime: number | Date): Promise<void> {
    await this.#run("set the times of", path, "utime", { args: [timeArgument(atime), timeArgument(mtime)] });
  }

  /** Sets the permissions of a file. @throws {RuncError} `command-failed` */
  async chmod(path: string | URL, mode: number): Promise<void> {
    await this.#run("change the mode of", path, "chmod", { args: [modeArgument(mode)] });
  }

  /** Sets the owner of a file, which needs the capability CHOWN; null: unchanged. @throws {RuncError} `command-failed` */
  async chown(path: string | URL, uid: number | null, gid: number | null): Promise<void> {
    for (const id of [uid, gid]) {
      if (id !== null && (!Number.isSafeInteger(id) || id < 0)) throw new TypeError(`${id} is not an id`);
    }
    const owner = `${uid ?? ""}${gid === null ? "" : `:${gid}`}`;
    if (owner !== "") await this.#run("change the owner of", path, "chown", { args: [owner] });
  }

  /** Makes a directory with a name that nobody has, for its user only. Returns its path. */
  async makeTempDir(options: SandboxTempOptions = {}): Promise<string> {
    const path = tempPath(options);
    await this.mkdir(path, { mode: 0o700 });
    return path;
  }

  /** Makes a file with a name that nobody has, for its user only. Returns its path. */
  async makeTempFile(options: SandboxTempOptions = {}): Promise<string> {
    const path = tempPath(options);
    await this.#run("make", path, "makeTempFile");
    return path;
  }

  /** The directory itself, and the files below it, each after its directory. @throws {RuncError} `command-failed` */
  async *walk(path: string | URL, options: SandboxWalkOptions = {}): AsyncGenerator<SandboxWalkEntry> {
    const { maxDepth = DEEPEST } = options;
    const depth = Math.max(0, Math.min(Math.floor(maxDepth), DEEPEST));
    const { stdoutText } = await this.#run("list", path, "walk", { args: [`${depth}`] });
    yield* chosen(parseWalk(stdoutText!, path), options);
  }

  /**
   * Copies a file of the host, or what is in a directory of the host. Symlinks in a directory are copied as symlinks and
   * not followed. A directory needs `tar` in the sandbox.
   *
   * @param path On the host.
   * @param to In the sandbox: the file's name, or the directory, which is made if it is not there.
   * @returns Names of devices, FIFOs and sockets, which are not copied.
   * @throws {RuncError} `command-failed`, `syscall-failed`
   */
  async upload(
    path: string | URL,
    to: string | URL,
    { signal }: SandboxReadOptions = {},
  ): Promise<readonly string[]> {
    const { isDirectory, mode } = withFileErrors(() => Deno.statSync(path));
    if (!isDirectory) {
      const file = withFileErrors(() => Deno.openSync(path));
      // The stream closes the file, also if it is not read to its end.
      await this.writeFile(to, file.readable, { mode: hostMode(mode ?? 0), signal });
      return [];
    }
    const leftOut: string[] = [];
    const leaveOut = (name: string) => void leftOut.push(name);
    const data = ReadableStream.from(pack(this.#kernel, { directory: pathText(path), leaveOut }));
    await this.#run("write", to, "unpack", { signal }, data);
    return leftOut;
  }

  /**
   * Copies a file to the host, or what is in a directory. What the sandbox gives cannot lead out of the place: only files
   * and directories are made, without setuid. A directory needs `tar` in the sandbox.
   *
   * @param path In the sandbox.
   * @param local On the host: the file's name, or the directory, which is made if it is not there.
   * @returns Names of symlinks and special files, which are not copied.
   * @throws {RuncError} `command-failed`; EFBIG beyond `maxSize`: of a directory, the beginning is there then.
   */
  async download(
    path: string | URL,
    local: string | URL,
    { maxSize = "1GiB", signal }: SandboxDownloadOptions = {},
  ): Promise<readonly string[]> {
    const to = pathText(local);
    const maximumBytes = parseSize("maxSize", maxSize);
    const { isDirectory, isFile, mode } = await this.stat(path);
    if (isDirectory) {
      withFileErrors(() => Deno.mkdirSync(to, { recursive: true }));
      const request = { directory: to, maximumBytes, maximumEntries: MOST_FILES };
      return await this.#receive(path, "pack", signal, (source) => unpackFiles(this.#kernel, source, request));
    }
    if (!isFile) throw fileError("read", String(path), ": invalid argument");
    const partial = `${to}.${crypto.randomUUID()}`;
    try {
      await this.#receive(path, "cat", signal, (source) => writeHostFile(partial, source, { maximumBytes, mode }));
      withFileErrors(() => Deno.renameSync(partial, to));
    } catch (error) {
      removeIfThere(partial);
      throw error;
    }
    return [];
  }

  /** What a program of the sandbox writes. Its failure is the reason, if what it has written cannot be used. */
  async #receive<Result>(
    path: string | URL,
    script: ScriptName,
    signal: AbortSignal | undefined,
    receive: (source: ByteSource) => Promise<Result>,
  ): Promise<Result> {
    await using process = await this.#start("sh", {
      args: ["-c", scripts[script], "sh", pathArgument(path)],
      env: { LC_ALL: "C" },
      stdout: "piped",
      stderr: "piped",
      signal,
    });
    const said = collect(process.stderr, 4096);
    const source = streamSource(process.stdout);
    try {
      const result = await receive(source);
      // Behind the end of an archive there may be more.
      while (await source.read() !== undefined);
      await checkEnd(process);
      return result;
    } catch (error) {
      process.end();
      if (signal?.aborted) throw signal.reason;
      const text = new TextDecoder().decode((await said).bytes);
      if (error instanceof RuncError && error.errnoName === undefined && text !== "") {
        throw fileError("read", String(path), text);
      }
      throw error instanceof RuncError
        ? new RuncError("command-failed", `cannot read ${path}: ${error.message}`, error)
        : error;
    } finally {
      await source.close();
      await said;
    }
  }

  async #run(
    what: string,
    path: string | URL,
    script: ScriptName,
    { args = [], signal }: Pick<SandboxSpawnOptions, "args" | "signal"> = {},
    data?: Uint8Array | ReadableStream<Uint8Array>,
  ): Promise<SandboxOutput> {
    await using process = await this.#start("sh", {
      args: ["-c", scripts[script], "sh", pathArgument(path), ...args],
      env: { LC_ALL: "C" },
      stdin: data === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      signal,
    });
    const output = process.output();
    const [result] = await Promise.all([output, data === undefined ? undefined : give(process, data)]);
    if (result.success && !result.truncated) return result;
    if (signal?.aborted) throw signal.reason;
    if (result.truncated) throw new RuncError("command-failed", `cannot ${what} ${path}: the answer is too long`);
    const ended = howEnded(result);
    // A program that the kernel has ended has no errno to tell.
    if (ended !== undefined) throw fileError(what, String(path), `the sandbox's program ${ended}`);
    throw fileError(what, String(path), result.stderrText!);
  }
}

async function checkEnd(process: SandboxProcess): Promise<void> {
  if (!(await process.status).success) throw new RuncError("command-failed", "the sandbox's program has failed");
}

async function writeHostFile(
  path: string,
  source: ByteSource,
  { maximumBytes, mode }: { maximumBytes: number; mode: number },
): Promise<void> {
  using file = withFileErrors(() => Deno.openSync(path, { write: true, createNew: true, mode: hostMode(mode) }));
  let left = maximumBytes;
  for (let piece = await source.read(); piece !== undefined; piece = await source.read()) {
    left -= piece.length;
    if (left < 0) {
      throw new RuncError("command-failed", `it has more than ${maximumBytes} bytes`, { errnoName: "EFBIG" });
    }
    for (let rest = piece; rest.length > 0;) rest = rest.subarray(await file.write(rest));
  }
}

/** @throws {TypeError} */
function tempPath({ dir = "/tmp", prefix = "", suffix = "" }: SandboxTempOptions): string {
  if (`${prefix}${suffix}`.includes("/")) throw new TypeError("a prefix or suffix contains a slash");
  return `${dir}/${prefix}${crypto.randomUUID().slice(0, 13)}${suffix}`;
}

/** The entries that `options` want. */
function* chosen(entries: readonly SandboxWalkEntry[], options: SandboxWalkOptions): Generator<SandboxWalkEntry> {
  const { includeFiles = true, includeDirs = true, includeSymlinks = true, exts, match, skip } = options;
  const skipped: string[] = [];
  for (const entry of entries) {
    const { path, name, isDirectory, isSymlink } = entry;
    if (skipped.some((above) => path.startsWith(`${above}/`))) continue;
    if (skip?.some((pattern) => path.search(pattern) !== -1)) {
      skipped.push(path);
      continue;
    }
    if (!(isDirectory ? includeDirs : isSymlink ? includeSymlinks : includeFiles)) continue;
    if (exts !== undefined && !exts.some((ext) => name.endsWith(ext))) continue;
    if (match !== undefined && !match.some((pattern) => path.search(pattern) !== -1)) continue;
    yield entry;
  }
}

/** Gives a process its input. That it does not read all of it shows in its own result. */
async function give(process: SandboxProcess, data: Uint8Array | ReadableStream<Uint8Array>): Promise<void> {
  const source = data instanceof ReadableStream ? data : ReadableStream.from([data]);
  try {
    await source.pipeTo(process.stdin);
  } catch (error) {
    if (error instanceof RuncError && error.errnoName === "EPIPE") return;
    throw error;
  }
}
