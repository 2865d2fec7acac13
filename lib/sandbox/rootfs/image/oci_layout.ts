/**
 * OCI image layouts: `oci-layout`, `index.json`, `blobs/sha256/…`. As a directory (`skopeo copy … oci:DIR`), or in an
 * archive (`podman save --format oci-archive`, `docker save` since Docker 25).
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 * @module
 */

import { type ImageFiles, readDocument } from "./files.ts";
import {
  checkDigest,
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
import { Sha256 } from "../sha256.ts";

/** Which image of several. */
export interface ImageChoice {
  /** `name:tag` or the tag alone. Needed only if there are several images. */
  readonly reference?: string;
  /** As Go names it: `amd64`, `arm64`. */
  readonly architecture: string;
}

/** An index may contain another one, which has the platforms of an image. Deeper ones are no image's. */
const DEPTH_LIMIT = 3;

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const blobPath = (digest: string): string => `blobs/sha256/${checkDigest(digest).slice("sha256:".length)}`;

/** A document that is stored under its digest, which is checked. */
async function readBlob(files: ImageFiles, digest: string, pathOf = blobPath): Promise<string> {
  const path = pathOf(digest);
  const bytes = await readDocument(files, path);
  const hash = new Sha256();
  hash.update(bytes);
  const found = `sha256:${hash.hex()}`;
  if (found !== digest) throw invalidImage(`${path} has the digest ${found}`);
  return decode(bytes);
}

/** Finds the image in the layout. @throws {RuncError} `image-invalid` */
export async function readOciLayout(files: ImageFiles, choice: ImageChoice): Promise<Image> {
  const index = objectOf(parseJson(decode(await readDocument(files, "index.json")), "index.json"), "index.json");
  const manifests = descriptorsOf(index);
  const named = manifests.filter((descriptor) => hasName(descriptor, choice.reference));
  if (named.length === 0) {
    const names = manifests.flatMap(namesOf);
    throw invalidImage(`there is no image ${JSON.stringify(choice.reference)}`, `there are: ${names.join(", ")}`);
  }
  return await readManifest(files, await chooseManifest(files, named, choice, 0));
}

function descriptorsOf(index: JsonObject): readonly JsonObject[] {
  return listOf(index.manifests, "manifests").map((item) => objectOf(item, "a manifest's descriptor"));
}

/** The names of a manifest: skopeo and podman write the first one; containerd and docker both. */
function namesOf(descriptor: JsonObject): readonly string[] {
  if (descriptor.annotations === undefined || descriptor.annotations === null) return [];
  const annotations = objectOf(descriptor.annotations, "annotations");
  return ["org.opencontainers.image.ref.name", "io.containerd.image.name"]
    .map((name) => textOf(annotations[name], name)).filter((name) => name !== "");
}

function hasName(descriptor: JsonObject, reference: string | undefined): boolean {
  return reference === undefined || namesOf(descriptor).some((name) => isSameReference(name, reference));
}

/**
 * Whether an image's name is what `reference` means: `alpine:3` is `docker.io/library/alpine:3`, and `alpine` is
 * `alpine:latest`. Pure.
 */
export function isSameReference(name: string, reference: string): boolean {
  const short = (text: string) => text.replace(/^docker\.io\/(?:library\/)?/, "").replace(/^localhost\//, "");
  return [reference, `${reference}:latest`].some((text) => short(text) === short(name));
}

/** The digest of the manifest for the platform. */
async function chooseManifest(
  files: ImageFiles,
  descriptors: readonly JsonObject[],
  choice: ImageChoice,
  depth: number,
): Promise<string> {
  const fitting = descriptors.filter((descriptor) => fitsPlatform(descriptor, choice.architecture));
  const [first] = fitting;
  if (first === undefined) throw invalidImage(`there is no image for linux/${choice.architecture}`);
  const digests = new Set(fitting.map(({ digest }) => checkDigest(digest)));
  if (digests.size > 1) {
    const names = fitting.flatMap(namesOf);
    throw invalidImage("there are several images", `choose one by its name: ${names.join(", ")}`);
  }
  const digest = checkDigest(first.digest);
  const document = objectOf(parseJson(await readBlob(files, digest), "a manifest"), "a manifest");
  if (document.manifests === undefined) return digest;
  if (depth === DEPTH_LIMIT) throw invalidImage("too many indexes in each other");
  return await chooseManifest(files, descriptorsOf(document), choice, depth + 1);
}

/** A descriptor without a platform is for any. Attestations of BuildKit have the platform `unknown`. */
function fitsPlatform(descriptor: JsonObject, architecture: string): boolean {
  if (descriptor.platform === undefined || descriptor.platform === null) return true;
  const platform = objectOf(descriptor.platform, "platform");
  return platform.os === "linux" && platform.architecture === architecture;
}

async function readManifest(files: ImageFiles, digest: string): Promise<Image> {
  const manifest = objectOf(parseJson(await readBlob(files, digest), "the manifest"), "the manifest");
  return await readImage(files, manifest, blobPath);
}

/** The image of a manifest. `pathOf`: where the file with a digest is. @throws {RuncError} `image-invalid` */
export async function readImage(
  files: ImageFiles,
  manifest: JsonObject,
  pathOf: (digest: string) => string,
): Promise<Image> {
  const config = objectOf(manifest.config, "config of the manifest");
  const { config: defaults, diffIds } = parseImageDocument(await readBlob(files, checkDigest(config.digest), pathOf));
  const blobs = listOf(manifest.layers, "layers").map((layer) => checkDigest(objectOf(layer, "a layer").digest));
  if (blobs.length !== diffIds.length) {
    throw invalidImage(`the manifest has ${blobs.length} layers, and the config ${diffIds.length}`);
  }
  const layers = blobs.map((blob, index): Layer => ({
    digest: blob,
    diffId: diffIds[index]!,
    open: () => files.open(pathOf(blob)),
  }));
  return { config: defaults, layers };
}
