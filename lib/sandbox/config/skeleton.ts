/**
 * Writes the skeleton of a root file system to disk, once for all sandboxes that have the same one.
 *
 * @module
 */

import { withFileErrors } from "../../ffi/file_error.ts";
import { isThere } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { RuncError } from "../../errors.ts";
import { Sha256 } from "../rootfs/sha256.ts";
import type { SkeletonEntry } from "./host_root.ts";

/**
 * The absolute path of a directory with these entries, below `directory`, which must be the caller's own. It is made if
 * it is not there, complete or not at all. Nothing may change it afterwards.
 */
export function writeSkeleton(kernel: Kernel, directory: string, entries: readonly SkeletonEntry[]): string {
  const hash = new Sha256();
  hash.update(new TextEncoder().encode(JSON.stringify(entries)));
  const path = `${directory}/${hash.hex()}`;
  if (isThere(kernel, path)) return path;
  withFileErrors(() => Deno.mkdirSync(directory, { recursive: true, mode: 0o700 }));
  const partial = `${directory}/.${crypto.randomUUID()}`;
  try {
    make(partial, "directory");
    for (const entry of entries) makeEntry(partial, entry);
    withFileErrors(() => Deno.renameSync(partial, path));
    return path;
  } catch (error) {
    withFileErrors(() => Deno.removeSync(partial, { recursive: true }));
    // Another process was faster: a directory cannot take the place of one with files.
    if (error instanceof RuncError && isThere(kernel, path)) return path;
    throw error;
  }
}

function makeEntry(root: string, entry: SkeletonEntry): void {
  const path = root + entry.path;
  if (entry.kind === "symlink") withFileErrors(() => Deno.symlinkSync(entry.target, path));
  else make(path, entry.kind, entry.kind === "file" ? entry.content : "");
}

/** Modes are set, because the caller's umask may forbid others to read. */
function make(path: string, kind: "directory" | "file", content = ""): void {
  withFileErrors(() => {
    if (kind === "directory") Deno.mkdirSync(path);
    else Deno.writeTextFileSync(path, content, { createNew: true });
    Deno.chmodSync(path, kind === "directory" ? 0o755 : 0o644);
  });
}
