import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import { ByteReader, streamSource } from "../../../../../lib/sandbox/rootfs/byte_reader.ts";
import type { ImageFiles } from "../../../../../lib/sandbox/rootfs/image/files.ts";
import {
  type ImageChoice,
  isSameReference,
  readOciLayout,
} from "../../../../../lib/sandbox/rootfs/image/oci_layout.ts";
import { readDockerArchive } from "../../../../../lib/sandbox/rootfs/image/docker_archive.ts";
import { type MadeFiles, nestedLayout, ociLayout } from "../image_maker.ts";
import { digestOf, gzip, tar, utf8 } from "../tar_writer.ts";

const one = tar({ name: "one", content: "1" });
const two = tar({ name: "two", content: "2" });
const config = { User: "app", Env: ["A=b"], Entrypoint: ["/e"], Cmd: ["c"], WorkingDir: "/w", StopSignal: "SIGINT" };

function filesOf(files: MadeFiles): ImageFiles {
  return {
    has: (path) => Promise.resolve(files.has(path)),
    open: (path) => {
      const bytes = files.get(path);
      if (bytes === undefined) return Promise.reject(new RuncError("image-invalid", `there is no file ${path}`));
      return Promise.resolve(streamSource(new Blob([bytes]).stream()));
    },
  };
}

const read = (files: MadeFiles, choice: Partial<ImageChoice> = {}) =>
  readOciLayout(filesOf(files), { architecture: "amd64", ...choice });

async function refusal(files: MadeFiles, choice: Partial<ImageChoice> = {}): Promise<RuncError> {
  const error = await assertRejects(() => read(files, choice), RuncError);
  assertEquals(error.code, "image-invalid");
  return error;
}

Deno.test("readOciLayout() reads config and layers, the lowest first", async () => {
  const image = await read(await ociLayout({ layers: [one, two], config }));
  assertEquals(image.config, {
    user: "app",
    env: ["A=b"],
    entrypoint: ["/e"],
    command: ["c"],
    workingDirectory: "/w",
    stopSignal: "SIGINT",
  });
  assertEquals(image.layers.map(({ diffId }) => diffId), [await digestOf(one), await digestOf(two)]);
  assertEquals(image.layers[1]!.digest, await digestOf(await gzip(two)));
  const source = await image.layers[1]!.open();
  assertEquals(await new ByteReader(source).upTo(100_000), await gzip(two));
});

Deno.test("readOciLayout() takes null for absent, as Go writes it", async () => {
  for (const given of [undefined, null, {}, { Env: null, Cmd: null }]) {
    const image = await read(await ociLayout({ layers: [], config: given }));
    assertEquals([image.config.env, image.config.command, image.layers], [[], [], []]);
  }
});

Deno.test("readOciLayout() chooses by name", async () => {
  const files = await ociLayout(
    { layers: [one], names: ["docker.io/library/app:1", "app:one"] },
    { layers: [two], names: ["other:1"] },
  );
  for (const reference of ["app:1", "docker.io/library/app:1", "app:one"]) {
    assertEquals((await read(files, { reference })).layers[0]!.diffId, await digestOf(one), reference);
  }
  const missing = await refusal(files, { reference: "app:2" });
  assertMatch(missing.hint!, /docker.io\/library\/app:1, app:one, other:1/);
  const several = await refusal(files);
  assertMatch(several.hint!, /choose one by its name/);
});

Deno.test("readOciLayout() chooses by platform, also in an index below the index", async () => {
  const images = [
    { layers: [one], architecture: "arm64", config: { User: "arm" } },
    { layers: [one], architecture: "amd64", config: { User: "amd" } },
  ];
  for (const files of [await ociLayout(...images), await nestedLayout(...images)]) {
    assertEquals((await read(files)).config.user, "amd");
    assertEquals((await read(files, { architecture: "arm64" })).config.user, "arm");
    assertMatch((await refusal(files, { architecture: "riscv64" })).message, /no image for linux\/riscv64/);
  }
});

type Change = (files: MadeFiles, manifest: string) => void | Promise<void>;

/** Replaces a blob's content, so that its digest is not its name. */
const broken: readonly [what: string, change: Change, message: RegExp][] = [
  ["no JSON", (files) => void files.set("index.json", utf8("{")), /index.json is not JSON/],
  ["an array", (files) => void files.set("index.json", utf8("[]")), /index.json is not an object/],
  ["no manifests", (files) => void files.set("index.json", utf8("{}")), /there is no image/],
  ["a changed manifest", (files, manifest) => void files.set(manifest, utf8("{}")), /has the digest sha256:/],
  ["a missing manifest", (files, manifest) => void files.delete(manifest), /there is no file blobs/],
  ["a long index", (files) => void files.set("index.json", new Uint8Array(9 * 2 ** 20)), /is longer than/],
  [
    "a digest that is a path",
    (files) =>
      void files.set("index.json", utf8(JSON.stringify({ manifests: [{ digest: "sha256:../../../etc/passwd" }] }))),
    /is not a SHA-256 digest/,
  ],
  [
    "another algorithm",
    (files) =>
      void files.set("index.json", utf8(JSON.stringify({ manifests: [{ digest: `sha512:${"0".repeat(128)}` }] }))),
    /is not a SHA-256 digest/,
  ],
];

Deno.test("readOciLayout() refuses what is broken, without its content in the message", async () => {
  for (const [what, change, message] of broken) {
    const files = await ociLayout({ layers: [one] });
    const { manifests: [{ digest }] } = JSON.parse(new TextDecoder().decode(files.get("index.json")));
    await change(files, `blobs/sha256/${digest.slice(7)}`);
    assertMatch((await refusal(files)).message, message, what);
  }
});

Deno.test("readOciLayout() refuses fields of the wrong type, and a config for other layers", async () => {
  for (
    const [given, message] of [[{ Env: "A=b" }, /Env is not an array/], [{ User: 1 }, /User is not a text/]] as const
  ) {
    assertMatch((await refusal(await ociLayout({ layers: [], config: given }))).message, message);
  }
});

Deno.test("readOciLayout() ends where indexes contain each other without end", async () => {
  let files = await ociLayout({ layers: [one] });
  for (let depth = 0; depth < 6; depth++) {
    const bytes = files.get("index.json")!;
    const digest = await digestOf(bytes);
    files = new Map([...files, [`blobs/sha256/${digest.slice(7)}`, bytes]]);
    files.set("index.json", utf8(JSON.stringify({ manifests: [{ digest }] })));
  }
  assertMatch((await refusal(files)).message, /too many indexes/);
});

Deno.test("readDockerArchive() reads a directory of skopeo, whose blobs have digests as names", async () => {
  const layout = await ociLayout({ layers: [one, two], config });
  const { manifests: [{ digest }] } = JSON.parse(new TextDecoder().decode(layout.get("index.json")));
  const blobs = [...layout].filter(([path]) => path.startsWith("blobs/"));
  const files: MadeFiles = new Map(blobs.map(([path, content]) => [path.slice("blobs/sha256/".length), content]));
  const manifest = `${digest}`.slice("sha256:".length);
  files.set("manifest.json", files.get(manifest)!);
  const image = await readDockerArchive(filesOf(files), { architecture: "amd64" });
  assertEquals([image.config.user, image.layers.map(({ diffId }) => diffId)], [
    "app",
    [await digestOf(one), await digestOf(two)],
  ]);
  const source = await image.layers[1]!.open();
  assertEquals(await new ByteReader(source).upTo(100_000), await gzip(two));
  const name = image.layers[0]!.digest!.slice("sha256:".length);
  files.delete(name);
  await assertRejects(() => image.layers[0]!.open(), RuncError, `there is no file ${name}`);
});

Deno.test("isSameReference() knows Docker's short names", () => {
  const same: readonly [name: string, reference: string, isSame: boolean][] = [
    ["docker.io/library/a:1", "a:1", true],
    ["localhost/a:1", "a:1", true],
    ["docker.io/x/a:1", "x/a:1", true],
    ["quay.io/a:1", "a:1", false],
    ["a:1", "a:2", false],
    ["localhost/a:latest", "a", true],
    ["localhost:5000/a:latest", "localhost:5000/a", true],
    ["a", "a:latest", false],
    ["a:1", "a", false],
  ];
  for (const [a, b, expected] of same) assertEquals(isSameReference(a, b), expected, `${a} ${b}`);
});
