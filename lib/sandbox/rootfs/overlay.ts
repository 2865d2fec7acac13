/**
 * What the overlay of an image's layers shows, without mounting it.
 *
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 * @module
 */

import { openFlag } from "../../ffi/constants.ts";
import { open } from "../../ffi/files.ts";
import { alloc, cString, type Kernel } from "../../ffi/kernel.ts";
import { utf8ByteString } from "./tar/byte_string.ts";
import { opaqueAttribute, Target } from "./unpack/target.ts";

/**
 * The layers that count: those from the highest opaque root on. `layers`: the lowest first.
 *
 * Of a layer that occurs several times only the highest one counts: it has everything that the lower ones have, and
 * overlayfs refuses a directory that it has already. Images often have the same empty layer several times.
 */
export function visibleLayers(kernel: Kernel, layers: readonly string[], rootless: boolean): readonly string[] {
  const name = opaqueAttribute(rootless);
  const value = alloc(1);
  const isOpaque = (path: string) =>
    kernel.call("getxattr", cString(path), cString(name), value, 1) === 1 && value[0] === "y".charCodeAt(0);
  const highest = layers.filter((layer, index) => layers.lastIndexOf(layer) === index);
  return highest.slice(Math.max(0, highest.findLastIndex(isOpaque)));
}

/**
 * A file as the overlay of the layers would show it, at most `limit` bytes; undefined if there is none. It is for small
 * files such as /etc/passwd: a directory that hides those below is not looked for.
 *
 * @param path Without a leading slash.
 */
export function readInLayers(
  kernel: Kernel,
  layers: readonly string[],
  path: string,
  limit: number,
): Uint8Array<ArrayBuffer> | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const parent = utf8ByteString(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
  for (const layer of layers.toReversed()) {
    using target = new Target(kernel, open(kernel, layer, openFlag(kernel.arch).O_DIRECTORY));
    const found = target.readFile(utf8ByteString(path), limit);
    if (found !== undefined) return found;
    using directory = target.tryDirectory(parent);
    // A whiteout, or another kind of file, hides the lower one.
    if (directory !== undefined && target.look(directory, utf8ByteString(name)) !== undefined) return undefined;
  }
  return undefined;
}
