/**
 * The part of `@std/fs` that this project uses.
 *
 * @see jsr:@std/fs
 * @module
 */

import { join, normalize } from "./path.ts";

/**
 * Creates the directory `path` and its parents unless it exists.
 *
 * @throws {Deno.errors.AlreadyExists} if `path` is not a directory.
 */
export function ensureDirSync(path: string): void {
  try {
    if (Deno.statSync(path).isDirectory) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.mkdirSync(path, { recursive: true });
}

/** Whether `path` exists. Symlinks are followed. `isFile` and `isDirectory` also require that type. */
export function existsSync(path: string, options: { isFile?: boolean; isDirectory?: boolean } = {}): boolean {
  try {
    const info = Deno.statSync(path);
    return (!options.isFile || info.isFile) && (!options.isDirectory || info.isDirectory);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** One entry found by {@link walkSync}: a directory entry with its path. */
export interface WalkEntry extends Deno.DirEntry {
  path: string;
}

/** What {@link walkSync} yields; everything by default. */
export interface WalkOptions {
  includeFiles?: boolean;
  includeDirs?: boolean;
  includeSymlinks?: boolean;
  /** Endings, with or without the leading dot; a path must have one of them. */
  exts?: string[];
  /** Paths that match one of these are not yielded, and such directories are not entered. */
  skip?: RegExp[];
}

/** Yields `root` and everything below it, parents first. Symlinks are yielded but not followed. */
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
