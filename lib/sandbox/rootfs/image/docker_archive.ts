/**
 * Archives of `docker save` before Docker 25 and of `podman save`: `manifest.json`, a config, and `layer.tar` files. And
 * directories of `skopeo copy … dir:DIR` and `podman save --format docker-dir`, whose `manifest.json` is one manifest.
 *
 * @see https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
 * @module
 */

import { cleanPath, joined } from "../unpack/entry_path.ts";
import { utf8ByteString } from "../tar/byte_string.ts";
import { type ImageFiles, readDocument } from "./files.ts";
import {
  type Image,
  invalidImage,
  type JsonObject,
  type Layer,
  listOf,
  objectOf,
  parseImageDocument,
  parseJson,
  textOf,
} from "./image.ts";
import { type ImageChoice, isSameReference, readImage } from "./oci_layout.ts";

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Finds the image in the archive. @throws {RuncError} `image-invalid` */
export async function readDockerArchive(files: ImageFiles, { reference }: ImageChoice): Promise<Image> {
  const text = decode(await readDocument(files, "manifest.json"));
  const document = parseJson(text, "manifest.json");
  if (isManifest(document)) return await readImage(files, document, (digest) => digest.slice("sha256:".length));
  const images = listOf(document, "manifest.json").map((item) => objectOf(item, "an image"));
  const image = choose(images, reference);
  const { config, diffIds } = parseImageDocument(decode(await readDocument(files, pathOf(image.Config, "Config"))));
  const paths = listOf(image.Layers, "Layers").map((path) => pathOf(path, "Layers"));
  if (paths.length !== diffIds.length) {
    throw invalidImage(`manifest.json has ${paths.length} layers, and the config ${diffIds.length}`);
  }
  const layers = paths.map((path, index): Layer => ({
    diffId: diffIds[index]!,
    open: () => files.open(path),
  }));
  return { config, layers };
}

function isManifest(document: unknown): document is JsonObject {
  return typeof document === "object" && document !== null && "config" in document && "layers" in document;
}

const tagsOf = (image: JsonObject) => listOf(image.RepoTags, "RepoTags").map((tag) => textOf(tag, "RepoTags"));

function choose(images: readonly JsonObject[], reference: string | undefined): JsonObject {
  const named = reference === undefined
    ? images
    : images.filter((image) => tagsOf(image).some((tag) => isSameReference(tag, reference)));
  const [first] = named;
  const names = images.flatMap(tagsOf).join(", ");
  if (first === undefined) throw invalidImage(`there is no image ${JSON.stringify(reference)}`, `there are: ${names}`);
  if (named.length > 1) throw invalidImage("there are several images", `choose one by its name: ${names}`);
  return first;
}

/** A path in the archive, which must not lead out of it. */
function pathOf(value: unknown, what: string): string {
  const text = textOf(value, what);
  cleanPath(utf8ByteString(text));
  const path = text.split("/").filter((part) => part !== "" && part !== ".").join("/");
  if (path === "" || joined(cleanPath(utf8ByteString(path))) === "") throw invalidImage(`${what} has an empty path`);
  return path;
}
