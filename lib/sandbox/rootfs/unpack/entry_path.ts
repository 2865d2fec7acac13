/**
 * Names in a layer's archive, as paths below the layer's root; whiteouts. Pure.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#representing-changes
 * @module
 */

import type { ByteString } from "../tar/byte_string.ts";
import { shown } from "../tar/byte_string.ts";
import { invalidArchive } from "../tar/header.ts";

/** NAME_MAX and PATH_MAX, limits.h. */
const NAME_MAX = 255, PATH_MAX = 4096;

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** aufs's own files. */
const AUFS = ".wh..wh.";

/** A place below the root of the layer. */
export interface EntryPath {
  /** Without slashes at both ends; empty for the root's own entries. */
  readonly parent: ByteString;
  /** One name; empty for the root itself. */
  readonly name: ByteString;
}

/** What an entry of the archive does. */
export type Change =
  | { readonly kind: "entry"; readonly path: EntryPath }
  /** Hides `path` of lower layers. */
  | { readonly kind: "whiteout"; readonly path: EntryPath }
  /** Hides all that lower layers have in the directory. */
  | { readonly kind: "opaque"; readonly directory: ByteString }
  /** Nothing: a file of aufs. */
  | { readonly kind: "ignored" };

/**
 * The path that `name` means: a leading slash, `.` and repeated slashes do not count.
 *
 * @throws {RuncError} `image-invalid` for `..`, a NUL, and names that are too long. No program that makes images writes
 * them, and refusing is safer than reading them in one of several ways.
 */
export function cleanPath(name: ByteString): EntryPath {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".") as ByteString[];
  if (parts.includes(".." as ByteString)) throw invalidArchive(`the name ${shown(name)} leads upwards`);
  if (name.includes("\0")) throw invalidArchive(`the name ${shown(name)} contains a NUL byte`);
  if (name.length >= PATH_MAX || parts.some((part) => part.length > NAME_MAX)) {
    throw invalidArchive(`the name ${shown(name.slice(0, NAME_MAX) as ByteString)}... is too long`);
  }
  return { parent: parts.slice(0, -1).join("/") as ByteString, name: parts.at(-1) ?? "" as ByteString };
}

/** The path as one text. */
export function joined({ parent, name }: EntryPath): ByteString {
  return (parent === "" ? name : `${parent}/${name}`) as ByteString;
}

/** What the entry with this name does. @throws {RuncError} as {@link cleanPath}, and for a broken whiteout. */
export function changeOf(entryName: ByteString): Change {
  const path = cleanPath(entryName);
  const { parent, name } = path;
  if (name === OPAQUE) return { kind: "opaque", directory: parent };
  if (name.startsWith(AUFS)) return { kind: "ignored" };
  if (parent.split("/").some((part) => part.startsWith(AUFS))) return { kind: "ignored" };
  if (!name.startsWith(WHITEOUT)) return { kind: "entry", path };
  const hidden = name.slice(WHITEOUT.length) as ByteString;
  if (["", ".", ".."].includes(hidden)) throw invalidArchive(`the whiteout ${shown(entryName)} names no file`);
  return { kind: "whiteout", path: { parent, name: hidden } };
}
