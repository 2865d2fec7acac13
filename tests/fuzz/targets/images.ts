/**
 * Images: archives of OCI layouts and of `docker save`, and the archives of layers.
 *
 * Digests of what was changed are right, so that what is behind them is reached.
 *
 * @module
 */

import { RuncError } from "../../../lib/errors.ts";
import { ByteReader, type ByteSource } from "../../../lib/sandbox/rootfs/byte_reader.ts";
import { readArchive } from "../../../lib/sandbox/rootfs/image/files.ts";
import { imageProcess } from "../../../lib/sandbox/rootfs/image/image_process.ts";
import { readImage } from "../../../lib/sandbox/rootfs/image/open_image.ts";
import { LayerSource } from "../../../lib/sandbox/rootfs/layer_source.ts";
import { Sha256 } from "../../../lib/sandbox/rootfs/sha256.ts";
import { byteString } from "../../../lib/sandbox/rootfs/tar/byte_string.ts";
import { TarReader } from "../../../lib/sandbox/rootfs/tar/tar_reader.ts";
import { changeOf, joined as joinedPath } from "../../../lib/sandbox/rootfs/unpack/entry_path.ts";
import { gzip, tar, utf8, withChecksum, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { mutateJson } from "../mutate_json.ts";
import { mutateBytes } from "../mutate_text.ts";
import type { Random } from "../random.ts";
import { asBytes, hold, type Target } from "../target.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const choice = { architecture: "amd64" };

// --- what archives are made of -----------------------------------------------------------------------------------------

const entries: readonly Written[] = [
  { name: "bin/", type: "5", mode: 0o755 },
  { name: "bin/sh", content: "#!", mode: 0o4755 },
  { name: "bin/ash", type: "2", linkName: "sh" },
  { name: "bin/hard", type: "1", linkName: "bin/sh" },
  { name: "dev/null", type: "3", major: 1, minor: 3 },
  { name: "fifo", type: "6" },
  { name: ".wh.gone", content: "" },
  { name: "etc/.wh..wh..opq", content: "" },
  { name: "a", content: "x".repeat(600), pax: { path: "long/".repeat(30) + "a", mtime: "1350244992.023960108" } },
  { name: "x", content: "1", pax: { "SCHILY.xattr.user.a": "b", uid: "4294967294", size: "1" } },
  { name: "././@LongLink", type: "L", content: "n".repeat(200) + "\0", format: "gnu" },
  { name: "n", content: "long", format: "gnu" },
  { name: "./../up", content: "" },
];

function digestOf(bytes: Bytes): string {
  const hash = new Sha256();
  hash.update(bytes);
  return `sha256:${hash.hex()}`;
}

/** Changes bytes, and corrects the checksums of some blocks that look like headers. */
function changedArchive(bytes: Bytes, random: Random): Bytes {
  const changed = mutateBytes(bytes, random);
  if (random.chance(30)) return changed;
  for (let at = 0; at + 512 <= changed.length; at += 512) {
    const block = changed.slice(at, at + 512);
    const isHeader = block[257] === 0x75 && block[258] === 0x73 || at === 0;
    if (isHeader) changed.set(withChecksum(block), at);
  }
  return changed;
}

const layerEntries = (random: Random): readonly Written[] =>
  Array.from({ length: random.few(6) }, () => {
    const entry = random.pick(entries);
    return random.chance(20)
      ? { ...entry, name: random.pick(["../x", "/abs", "a/../b", ".wh...", "", "x".repeat(300), "\0"]) }
      : entry;
  });

const layer = (random: Random): Bytes =>
  random.chance(40) ? changedArchive(tar(...layerEntries(random)), random) : tar(...layerEntries(random));

const gzipped = await gzip(tar(...entries.slice(0, 9)));

const imageConfig = {
  User: "app:wheel",
  Env: ["PATH=/bin", "A=b"],
  Entrypoint: ["/e"],
  Cmd: ["c"],
  WorkingDir: "w",
  StopSignal: "SIGINT",
};

/** JSON of `value`, at times changed. */
const json = (value: unknown, random: Random): Bytes =>
  utf8(random.chance(25) ? mutateJson(value, random) : JSON.stringify(value));

/** The entries of an OCI layout. */
function ociEntries(random: Random): readonly Written[] {
  const blobs: Written[] = [];
  const blob = (bytes: Bytes) => {
    const digest = digestOf(bytes);
    blobs.push({ name: `blobs/sha256/${digest.slice(7)}`, content: bytes });
    return { digest, size: bytes.length, mediaType: "application/vnd.oci.image.manifest.v1+json" };
  };
  const layers = Array.from({ length: random.below(3) }, () => layer(random));
  const stored = layers.map((bytes) => random.chance(85) ? bytes : gzipped);
  const config = blob(
    json({
      architecture: "amd64",
      os: "linux",
      config: imageConfig,
      rootfs: { type: "layers", diff_ids: layers.map(digestOf) },
    }, random),
  );
  const manifest = blob(json({ schemaVersion: 2, config, layers: stored.map(blob) }, random));
  const platform = { os: "linux", architecture: "amd64" };
  let index: Bytes = json({
    schemaVersion: 2,
    manifests: [{ ...manifest, platform, annotations: { "org.opencontainers.image.ref.name": "app:1" } }],
  }, random);
  for (let depth = random.chance(20) ? random.below(6) : 0; depth > 0; depth--) {
    index = json({ manifests: [blob(index)] }, random);
  }
  return [
    { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", content: index },
    ...blobs,
  ];
}

/** The entries of an archive of `docker save`. */
function dockerEntries(random: Random): readonly Written[] {
  const layers = Array.from({ length: random.below(3) }, () => layer(random));
  const config = json({
    architecture: "amd64",
    os: "linux",
    config: imageConfig,
    rootfs: { diff_ids: layers.map(digestOf) },
  }, random);
  const name = `${digestOf(config).slice(7)}.json`;
  const paths = layers.map((_, index) => `${index}/layer.tar`);
  const stored = layers.map((content, index): Written =>
    index > 0 && random.chance(20)
      ? {
        name: paths[index]!,
        type: "2",
        linkName: random.pick(["../0/layer.tar", "../../x", "/0/layer.tar", "layer.tar"]),
      }
      : { name: paths[index]!, content }
  );
  return [...stored, { name, content: config }, {
    name: "manifest.json",
    content: json([{ Config: name, RepoTags: ["app:1"], Layers: paths }], random),
  }];
}

// --- reading -----------------------------------------------------------------------------------------------------------

/** A part of bytes, in pieces. */
function source(
  bytes: Bytes,
  { offset = 0, size = bytes.length }: { offset?: number; size?: number } = {},
): ByteSource {
  let at = Math.min(offset, bytes.length);
  const end = Math.min(bytes.length, offset + size);
  return {
    read: () => {
      const piece = bytes.subarray(at, Math.min(end, at + 1000));
      at += piece.length;
      return Promise.resolve(piece.length === 0 ? undefined : piece);
    },
    skip: (length) => {
      const count = Math.min(length, end - at);
      at += count;
      return Promise.resolve(count);
    },
    close: () => Promise.resolve(),
  };
}

/** Reads all entries with their content. Returns their size. */
async function readEntries(archive: ByteSource): Promise<number> {
  const reader = new TarReader(new ByteReader(archive));
  let size = 0;
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const change = changeOf(entry.name);
    if ("path" in change) {
      const path = joinedPath(change.path);
      hold(!path.split("/").includes("..") && !path.startsWith("/"), () => `the path ${path}`);
    }
    let left = entry.size;
    for (let piece = await entry.read(); piece !== undefined; piece = await entry.read()) left -= piece.length;
    hold(left === 0 || entry.type !== "file", () => `${left} bytes of ${entry.size} are missing`);
    hold(entry.size >= 0 && Number.isSafeInteger(entry.size), () => `the size ${entry.size}`);
    size += entry.size + entry.name.length + entry.xattrs.size;
  }
  return size;
}

const users = { passwd: "app:x:5:6::/:/bin/sh\n", group: "wheel:x:7:app\n" };

/** What decompresses zstd is a library of the host. */
function noZstd(): never {
  throw new RuncError("host-lacks", "there is no libzstd here");
}

const image: Target = {
  name: "image",
  share: 6,
  make: (random) => {
    const archive = tar(...random.chance(60) ? ociEntries(random) : dockerEntries(random));
    return random.chance(30) ? changedArchive(archive, random) : archive;
  },
  run: async (input) => {
    const bytes = asBytes(input);
    const files = await readArchive(source(bytes), (part) => Promise.resolve(source(bytes, part)));
    const { config, layers } = await readImage(files, "image.tar", choice);
    let size = JSON.stringify(imageProcess(config, users)).length;
    for (const { open, diffId, digest } of layers) {
      const layer = await LayerSource.open(await open(), { diffId, digest }, noZstd);
      try {
        size += await readEntries(layer);
        await layer.verify();
      } finally {
        await layer.close();
      }
    }
    return size;
  },
};

const archive: Target = {
  name: "tar",
  share: 50,
  make: (random) => changedArchive(tar(...layerEntries(random)), random),
  run: async (input) => {
    const bytes = asBytes(input);
    const size = await readEntries(source(bytes));
    hold(size <= bytes.length + 1000 * 512, () => `${size} bytes in an archive of ${byteString(bytes).length}`);
    return size;
  },
};

/** Targets of images. */
export const imageTargets: readonly Target[] = [image, archive];
