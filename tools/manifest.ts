/**
 * The list of what an installation has put where, for whoever removes it: one absolute path a line, directories that it made with `/` behind.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { dirname } from "@std/path";

/** The list at `path`, which is read when it is asked for. */
export class Manifest {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Whether something was installed. */
  get exists(): boolean {
    return existsSync(this.path);
  }

  get #lines(): readonly string[] {
    return this.exists ? Deno.readTextFileSync(this.path).split("\n").filter((line) => line !== "") : [];
  }

  /** Everything but directories. */
  get files(): readonly string[] {
    return this.#lines.filter((line) => !line.endsWith("/"));
  }

  /** Those that were not there before, parents first. */
  get directories(): readonly string[] {
    return this.#lines.filter((line) => line.endsWith("/"));
  }

  /** Makes the directories of `files`, and writes the list. */
  write(files: readonly string[]): void {
    const made = new Set(this.directories);
    for (const path of [this.path, ...files]) for (const directory of missing(dirname(path))) made.add(`${directory}/`);
    for (const directory of made) Deno.mkdirSync(directory, { recursive: true });
    Deno.writeTextFileSync(this.path, [...files, ...made].map((line) => `${line}\n`).join(""));
  }
}

/** The directories on the way to `path` that are not there, parents first. */
function missing(path: string): readonly string[] {
  return existsSync(path) ? [] : [...missing(dirname(path)), path];
}
