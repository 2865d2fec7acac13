/** Images for tests: OCI image layouts and archives of docker save. Pure. */

import { digestOf, gzip, tar, utf8, type Written } from "./tar_writer.ts";

/** What an image is made of. */
export interface Made {
  /** Archives of the layers, the lowest first. */
  readonly layers: readonly Uint8Array<ArrayBuffer>[];
  /** The `config` of the config. */
  readonly config?: unknown;
  /** Names of the image. */
  readonly names?: readonly string[];
  /** Layers of a layout are compressed unless this is false. */
  readonly compressed?: boolean;
  readonly architecture?: string;
}

/** Files by path. */
export type MadeFiles = Map<string, Uint8Array<ArrayBuffer>>;

const json = (value: unknown): Uint8Array<ArrayBuffer> => utf8(JSON.stringify(value));

async function configOf({ layers, config, architecture = "amd64" }: Made): Promise<Uint8Array<ArrayBuffer>> {
  const diff_ids = await Promise.all(layers.map(digestOf));
  // Builders need it.
  const history = layers.map(() => ({ created_by: "a test" }));
  return json({ architecture, os: "linux", config, rootfs: { type: "layers", diff_ids }, history });
}

/** Puts a blob among the files. Returns its descriptor. */
async function blob(
  files: MadeFiles,
  bytes: Uint8Array<ArrayBuffer>,
  type = "manifest.v1+json",
): Promise<{ mediaType: string; digest: string; size: number }> {
  const digest = await digestOf(bytes);
  files.set(`blobs/sha256/${digest.slice(7)}`, bytes);
  return { mediaType: `application/vnd.oci.image.${type}`, digest, size: bytes.length };
}

/** The files of an OCI image layout with these images. */
export async function ociLayout(...images: readonly Made[]): Promise<MadeFiles> {
  const files: MadeFiles = new Map([["oci-layout", json({ imageLayoutVersion: "1.0.0" })]]);
  const manifests: unknown[] = [];
  for (const image of images) {
    const config = await blob(files, await configOf(image), "config.v1+json");
    const layers = [];
    for (const layer of image.layers) {
      const isPlain = image.compressed === false;
      layers.push(await blob(files, isPlain ? layer : await gzip(layer), `layer.v1.tar${isPlain ? "" : "+gzip"}`));
    }
    const manifest = await blob(files, json({ schemaVersion: 2, config, layers }));
    const platform = image.architecture && { os: "linux", architecture: image.architecture };
    for (const name of image.names ?? [undefined]) {
      const annotations = name && { "org.opencontainers.image.ref.name": name };
      manifests.push({ ...manifest, annotations, platform });
    }
  }
  files.set("index.json", json({ schemaVersion: 2, manifests }));
  return files;
}

/** The files of a layout whose index has one entry: an index with all of these, as BuildKit writes it. */
export async function nestedLayout(...images: readonly Made[]): Promise<MadeFiles> {
  const files = await ociLayout(...images);
  const inner = await blob(files, files.get("index.json")!, "index.v1+json");
  const attestation = await blob(files, json({}));
  const platform = { os: "unknown", architecture: "unknown" };
  files.set("index.json", json({ manifests: [inner, { ...attestation, platform }] }));
  return files;
}

/** The entries of an archive as docker save before Docker 25 made it. */
export async function dockerArchive(...images: readonly Made[]): Promise<readonly Written[]> {
  const entries: Written[] = [];
  const manifest = [];
  for (const image of images) {
    const config = await configOf(image);
    const name = `${(await digestOf(config)).slice(7)}.json`;
    const paths: string[] = [];
    for (const layer of image.layers) {
      const path = `${(await digestOf(layer)).slice(7)}/layer.tar`;
      // A layer that occurs twice is a link.
      const first = paths.find((other) => other === path);
      paths.push(first === undefined ? path : `again${paths.length}/layer.tar`);
      if (first === undefined) entries.push({ name: path, content: layer });
      else entries.push({ name: paths.at(-1)!, type: "2", linkName: `../${path}` });
    }
    entries.push({ name, content: config });
    manifest.push({ Config: name, RepoTags: image.names ?? null, Layers: paths });
  }
  return [...entries, { name: "manifest.json", content: json(manifest) }];
}

/** Files as an archive. */
export function archiveOf(files: MadeFiles): Uint8Array<ArrayBuffer> {
  return tar(...[...files].map(([name, content]) => ({ name, content })));
}
