/**
 * Reads files of the host without failing: what cannot be read is undefined. Runs in: parent.
 *
 * @module
 */

import { isThere } from "../../../ffi/files.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import type { FileFacts, FileKind } from "../facts.ts";

/** The content of a file; undefined if it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

/** The names in a directory; empty if it cannot be read. */
export function namesIn(path: string): readonly string[] {
  try {
    return Array.from(Deno.readDirSync(path), ({ name }) => name).sort();
  } catch {
    return [];
  }
}

/** The type of a file. */
export function kindOf(info: Deno.FileInfo): FileKind {
  if (info.isFile) return "file";
  if (info.isDirectory) return "directory";
  if (info.isSocket) return "socket";
  if (info.isBlockDevice) return "block";
  if (info.isCharDevice) return "char";
  return info.isFifo ? "fifo" : "unknown";
}

/** What stat(2) says. Undefined if there is no such file; of kind `unknown` if the caller may not see it. */
export function fileFacts(path: string): FileFacts | undefined {
  try {
    const info = Deno.statSync(path);
    return { kind: kindOf(info), mode: (info.mode ?? 0) & 0o7777, uid: info.uid ?? 0, gid: info.gid ?? 0 };
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
    return isMissing ? undefined : { kind: "unknown", mode: 0, uid: 0, gid: 0 };
  }
}

/** The path of a program in a list of directories such as PATH; undefined if none has it. */
export function programIn(kernel: Kernel, directories: string, name: string): string | undefined {
  return directories.split(":").filter((directory) => directory.startsWith("/"))
    .map((directory) => `${directory}/${name}`).find((path) => isThere(kernel, path));
}
