/**
 * The part of `@std/fs` that this project uses.
 *
 * @see https://jsr.io/@std/fs
 * @module
 */

import { join, normalize } from "./path.ts";

/**
 * Makes directory `path` with its parents unless it exists.
 *
 * @throws {Deno.errors.AlreadyExists} where `path` is something else than a directory.
 */
export function ensureDirSync(path: string): void {
  try {
    if (Deno.statSync(path).isDirectory) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.mkdirSync(path, { recursive: true });
}

/** Whether `path` exists, following symlinks; `isFile` and `isDirectory` ask for that type too. */
export function existsSync(path: string, options: { isFile?: boolean; isDirectory?: boolean } = {}): boolean {
  try {
    const info = Deno.statSync(path);
    return (!options.isFile || info.isFile) && (!options.isDirectory || info.isDirectory);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** One thing found by {@link walkSync}: a directory entry with its path. */
export interface WalkEntry extends Deno.DirEntry {
  path: string;
}

/** What {@link walkSync} yields; everything by default. */
export interface WalkOptions {
  includeFiles?: boolean;
  includeDirs?: boolean;
  includeSymlinks?: boolean;
  /** Endings that a path must have one of, with or without the leading dot. */
  exts?: string[];
  /** Directories whose path matches one of these are not entered, and nothing that matches is yielded. */
  skip?: RegExp[];
}

/** Yields `root` and everything below it, parents first; symlinks are yielded and not followed. */
export function* walkSync(root: string, options: WalkOptions = {}): IterableIterator<WalkEntry> {
  const path = normalize(root);
  const info = Deno.lstatSync(path);
  const { isDirectory, isFile, isSymlink } = info;
  yield* walkEntry({ path, name: path.slice(path.lastIndexOf("/") + 1), isDirectory, isFile, isSymlink }, options);
}

function* walkEntry(entry: WalkEntry, options: WalkOptions): IterableIterator<WalkEntry> {
  if (options.skip?.some((pattern) => entry.path.match(pattern) !== null)) return;
  if (isWanted(entry, options)) yield entry;
  if (!entry.isDirectory) return;
  for (const child of Deno.readDirSync(entry.path)) {
    yield* walkEntry({ ...child, path: join(entry.path, child.name) }, options);
  }
}

function isWanted(entry: WalkEntry, options: WalkOptions): boolean {
  const { includeFiles = true, includeDirs = true, includeSymlinks = true, exts } = options;
  if (entry.isDirectory && !includeDirs || entry.isFile && !includeFiles || entry.isSymlink && !includeSymlinks) {
    return false;
  }
  return exts?.some((ending) => entry.path.endsWith(ending.startsWith(".") ? ending : `.${ending}`)) ?? true;
}
