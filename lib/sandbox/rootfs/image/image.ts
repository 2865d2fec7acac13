/**
 * An image: its layers and its config. Pure, except that {@link Layer.open} reads.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
 * @module
 */

import { RuncError } from "../../../errors.ts";
import type { ByteSource } from "../byte_reader.ts";
import type { LayerDigests } from "../layer_source.ts";

/** One layer of an image, as stored. */
export interface Layer extends LayerDigests {
  /** Its blob from the start. */
  readonly open: () => Promise<ByteSource>;
}

/** The defaults that an image has for processes. */
export interface ImageConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly workingDirectory: string;
  /** Name or number; empty if absent. */
  readonly stopSignal: string;
}

/** The image's config file. */
export interface ImageDocument {
  readonly config: ImageConfig;
  /** Digests of the uncompressed layers, the lowest first. */
  readonly diffIds: readonly string[];
}

/** An image that was found on disk. */
export interface Image {
  readonly config: ImageConfig;
  /** The lowest first. */
  readonly layers: readonly Layer[];
}

/** The error for a document of an image. */
export function invalidImage(message: string, hint?: string): RuncError {
  return new RuncError("image-invalid", `invalid image: ${message}`, { hint });
}

/** The only algorithm that is supported. Also keeps a digest from being a path to elsewhere. */
const digestPattern = /^sha256:[0-9a-f]{64}$/;

/** `digest`, if it is one. */
export function checkDigest(digest: unknown): string {
  if (typeof digest === "string" && digestPattern.test(digest)) return digest;
  throw invalidImage(`${JSON.stringify(digest)} is not a SHA-256 digest`);
}

/** A JSON object, by its field. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** `value` as an object; `what` is its name for the message. */
export function objectOf(value: unknown, what: string): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw invalidImage(`${what} is not an object`);
}

/** `value` as an array; null and undefined are empty, as Go writes them. */
export function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw invalidImage(`${what} is not an array`);
}

/** `value` as a text; null and undefined are empty. */
export function textOf(value: unknown, what: string): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "string" && !value.includes("\0")) return value;
  throw invalidImage(`${what} is not a text`);
}

const textsOf = (value: unknown, what: string) => listOf(value, what).map((item) => textOf(item, what));

/** Parses JSON. `what`: the document's name for the message, which has nothing of its content. */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalidImage(`${what} is not JSON`);
  }
}

/** Reads an image's config file. @throws {RuncError} `image-invalid` */
export function parseImageDocument(text: string): ImageDocument {
  const document = objectOf(parseJson(text, "the config"), "the config");
  const config = document.config === null || document.config === undefined
    ? {}
    : objectOf(document.config, "config of the image");
  const rootfs = objectOf(document.rootfs, "rootfs of the image's config");
  return {
    config: {
      user: textOf(config.User, "User"),
      env: textsOf(config.Env, "Env"),
      entrypoint: textsOf(config.Entrypoint, "Entrypoint"),
      command: textsOf(config.Cmd, "Cmd"),
      workingDirectory: textOf(config.WorkingDir, "WorkingDir"),
      stopSignal: textOf(config.StopSignal, "StopSignal"),
    },
    diffIds: listOf(rootfs.diff_ids, "diff_ids").map(checkDigest),
  };
}
