/**
 * A directory of the host as an archive, for a sandbox.
 *
 * Nothing outside of the directory gets into it, also while somebody changes the directory: each name is opened below
 * its open parent and not followed. A tree that a sandbox could write to may have any symlink.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { FileType, openFlag } from "../../ffi/constants.ts";
import type { Fd } from "../../ffi/fd.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { open } from "../../ffi/files.ts";
import { alloc, type Kernel } from "../../ffi/kernel.ts";
import { type ByteString, byteString, cBytes, shown } from "../rootfs/tar/byte_string.ts";
import { padding, tarEnd, tarHeader } from "../rootfs/tar/tar_header.ts";
import { fileSource } from "../rootfs/byte_reader.ts";
import { Target } from "../rootfs/unpack/target.ts";

/** PATH_MAX, limits.h */
const PATH_MAX = 4096;
/** Each level holds a descriptor. No tree of people is as deep. */
const DEPTH_LIMIT = 256;

/** What is packed. */
export interface PackRequest {
  /** Of the host. */
  readonly directory: string;
  /** Gets the names of what is neither a file, nor a directory, nor a symlink. */
  leaveOut(name: string): void;
}

/** The archive of a directory's content, in pieces. */
export async function* pack(kernel: Kernel, request: PackRequest): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const root = open(kernel, request.directory, openFlag(kernel.arch).O_DIRECTORY);
  using target = new Target(kernel, root);
  yield* packDirectory({ kernel, target, ...request }, root, "" as ByteString, 0);
  yield tarEnd();
}

type Packing = PackRequest & { readonly kernel: Kernel; readonly target: Target };

async function* packDirectory(
  packing: Packing,
  directory: Fd,
  path: ByteString,
  depth: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { target, kernel } = packing;
  if (depth > DEPTH_LIMIT) {
    throw new RuncError("unsupported", `${shown(path)} has more than ${DEPTH_LIMIT} directories above it`);
  }
  const O = openFlag(kernel.arch);
  for (const name of target.names(directory)) {
    const whole = (path === "" ? name : `${path}/${name}`) as ByteString;
    const type = target.look(directory, name)?.type;
    if (type === FileType.S_IFDIR) {
      using inner = target.openIn(directory, name, O.O_DIRECTORY);
      const { mode, mtime } = statusOf(inner);
      yield tarHeader({ type: "directory", name: `${whole}/` as ByteString, mode, size: 0, mtime });
      yield* packDirectory(packing, inner, whole, depth + 1);
    } else if (type === FileType.S_IFREG) {
      // Not a FIFO by now, which would block.
      using file = target.openIn(directory, name, O.O_NONBLOCK);
      yield* packFile(file, whole);
    } else if (type === FileType.S_IFLNK) {
      const linkName = readLink(target, directory, name);
      yield tarHeader({ type: "symlink", name: whole, linkName, mode: 0o777, size: 0, mtime: 0 });
    } else if (type !== undefined) packing.leaveOut(decoded(whole));
  }
}

async function* packFile(file: Fd, name: ByteString): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { mode, mtime, size, isFile } = statusOf(file);
  if (!isFile) throw changed(name);
  yield tarHeader({ type: "file", name, mode, size, mtime });
  const source = fileSource(withFileErrors(() => Deno.openSync(`/proc/self/fd/${file.number}`)), 0, size);
  try {
    let left = size;
    for (let piece = await source.read(); piece !== undefined; piece = await source.read()) {
      left -= piece.length;
      yield piece;
    }
    if (left > 0) throw changed(name);
  } finally {
    await source.close();
  }
  yield padding(size);
}

const changed = (name: ByteString) => new RuncError("usage", `${shown(name)} was changed while it was read`);

/** What is open, whatever its name leads to by now. */
function statusOf(file: Fd): { mode: number; size: number; mtime: number; isFile: boolean } {
  const { mode, size, mtime, isFile } = withFileErrors(() => Deno.statSync(`/proc/self/fd/${file.number}`));
  return { mode: mode ?? 0, size, mtime: (mtime?.getTime() ?? 0) / 1000, isFile };
}

function readLink(target: Target, directory: Fd, name: ByteString): ByteString {
  const bytes = alloc(PATH_MAX);
  return byteString(
    bytes.subarray(0, target.must(name, "readlinkat", directory.number, cBytes(name), bytes, bytes.length)),
  );
}

const decoded = (name: ByteString) => new TextDecoder().decode(Uint8Array.from(name, (char) => char.charCodeAt(0)));
