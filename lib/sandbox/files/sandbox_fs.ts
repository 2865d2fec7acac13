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
import type { SandboxOutput, SandboxProcess } from "../process/sandbox_process.ts";
import type { SandboxSpawnOptions } from "../run/options.ts";
import {
  fileError,
  modeArgument,
  parseEntries,
  parseFileInfo,
  pathArgument,
  type SandboxDirEntry,
  type SandboxFileInfo,
  scripts,
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
}

type ScriptName = keyof typeof scripts;

/**
 * The files of a sandbox. Relative paths begin at its working directory. A failure is a {@link RuncError} with
 * `errnoName`, such as `ENOENT`.
 */
export class SandboxFs {
  readonly #start: StartProgram;
  readonly #maxBytes: number;

  /** Made by {@link Sandbox.create}. `maxBytes`: the longest file that can be read. */
  constructor(start: StartProgram, maxBytes: number) {
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
    { append = false, mode, signal }: SandboxWriteOptions = {},
  ): Promise<void> {
    // A wrong one is found before anything is written.
    const permissions = mode === undefined ? undefined : modeArgument(mode);
    await this.#run("write", path, append ? "append" : "write", { signal }, data);
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
    throw fileError(what, String(path), result.stderrText!);
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
