/**
 * An archive of a sandbox, unpacked into a directory of the host. The archive is the sandbox's, so it is as little
 * trusted as what runs there: names cannot lead out of the directory, nothing is made but files and directories, and
 * their number and size are limited.
 *
 * @module
 */

import { FileType, openFlag } from "../../ffi/constants.ts";
import { open } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { RuncError } from "../../errors.ts";
import { ByteReader, type ByteSource } from "../rootfs/byte_reader.ts";
import { bytesOf } from "../rootfs/tar/byte_string.ts";
import { type TarEntry, TarReader } from "../rootfs/tar/tar_reader.ts";
import { cleanPath, type EntryPath, joined } from "../rootfs/unpack/entry_path.ts";
import { Target } from "../rootfs/unpack/target.ts";

/** Where to, and how much. */
export interface UnpackRequest {
  /** Of the host; it exists. */
  readonly directory: string;
  readonly maximumBytes: number;
  readonly maximumEntries: number;
}

/** Unpacks. Returns the names of symlinks and special files, which are not made. @throws {RuncError} */
export async function unpackFiles(
  kernel: Kernel,
  source: ByteSource,
  request: UnpackRequest,
): Promise<readonly string[]> {
  const reader = new TarReader(new ByteReader(source));
  using target = new Target(kernel, open(kernel, request.directory, openFlag(kernel.arch).O_DIRECTORY));
  const leftOut: string[] = [];
  let left = request.maximumBytes;
  for (let count = 0;; count++) {
    const entry = await reader.next();
    if (entry === undefined) return leftOut;
    if (count >= request.maximumEntries) throw tooMuch(`${request.maximumEntries} files`);
    const path = cleanPath(entry.name);
    left -= entry.size;
    if (left < 0) throw tooMuch(`${request.maximumBytes} bytes`);
    if (entry.type === "directory") target.parent(joined(path));
    else if (path.name !== "" && (entry.type === "file" || entry.type === "link")) {
      await make(target, entry, path, kernel);
    } else leftOut.push(new TextDecoder().decode(bytesOf(joined(path))));
  }
}

async function make(target: Target, entry: TarEntry, path: EntryPath, kernel: Kernel): Promise<void> {
  const directory = target.parent(path.parent);
  const existing = target.look(directory, path.name);
  if (existing?.type === FileType.S_IFDIR) throw new RuncError("command-failed", `${path.name} is a directory`);
  // What is there may be a link to elsewhere, or have other names.
  if (existing !== undefined) target.remove(directory, path.name);
  if (entry.type === "link") return target.link(cleanPath(entry.linkName), directory, path);
  const O = openFlag(kernel.arch);
  using file = target.openIn(directory, path.name, O.O_WRONLY | O.O_CREAT | O.O_EXCL, 0o600);
  for (let piece = await entry.read(); piece !== undefined; piece = await entry.read()) {
    target.write(file, joined(path), piece);
  }
  target.must(joined(path), "fchmod", file.number, hostMode(entry.mode));
}

/** Neither setuid nor writable for others. */
export const hostMode = (mode: number): number => mode & 0o755 | 0o600;

function tooMuch(what: string): RuncError {
  return new RuncError("command-failed", `there is more than ${what}`, { errnoName: "EFBIG" });
}
