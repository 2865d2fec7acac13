/**
 * The list of installed files, for uninstalling: one absolute path per line. Directories that the installation created
 * end with `/`.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { dirname } from "@std/path";

/** The list at `path`. It is read on each access. */
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

  /** The files. */
  get files(): readonly string[] {
    return this.#lines.filter((line) => !line.endsWith("/"));
  }

  /** The directories that the installation created, parents first. */
  get directories(): readonly string[] {
    return this.#lines.filter((line) => line.endsWith("/"));
  }

  /** Creates the directories of `files` and writes the list. */
  write(files: readonly string[]): void {
    const made = new Set(this.directories);
    for (const path of [this.path, ...files]) for (const directory of missing(dirname(path))) made.add(`${directory}/`);
    for (const directory of made) Deno.mkdirSync(directory, { recursive: true });
    Deno.writeTextFileSync(this.path, [...files, ...made].map((line) => `${line}\n`).join(""));
  }
}

/** The missing ancestors of `path`, parents first. */
function missing(path: string): readonly string[] {
  return existsSync(path) ? [] : [...missing(dirname(path)), path];
}
