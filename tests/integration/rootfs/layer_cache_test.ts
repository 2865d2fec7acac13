/** The cache of layers: once for all, complete or not at all. As root. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { RuncError } from "../../../lib/errors.ts";
import type { ByteSource } from "../../../lib/sandbox/rootfs/byte_reader.ts";
import type { Layer } from "../../../lib/sandbox/rootfs/image/image.ts";
import { openImage } from "../../../lib/sandbox/rootfs/image/open_image.ts";
import {
  archiveOf,
  dockerArchive,
  type Made,
  type MadeFiles,
  ociLayout,
} from "../../unit/sandbox/rootfs/image_maker.ts";
import { digestOf, gzip, join as concat, tar } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { untilAsync } from "../foreground_harness.ts";
import { inWorkshop, layerOf, listing, output, type Workshop } from "./workshop.ts";

const archive = tar({ name: "d/", type: "5", mode: 0o700 }, { name: "d/a", content: "text", mode: 0o600 });
const other = tar({ name: "b", content: "other" });

/** A layer that counts how often its blob is opened. */
async function counted(bytes: Uint8Array<ArrayBuffer>): Promise<{ layer: Layer; opened: () => number }> {
  let count = 0;
  const { open, ...rest } = await layerOf(bytes);
  return { layer: { ...rest, open: () => (count++, open()) }, opened: () => count };
}

/** Yields the start of a layer, and then nothing. */
function endless(
  start: Uint8Array<ArrayBuffer>,
): { source: ByteSource; isClosed: () => boolean; isRead: () => boolean } {
  let isClosed = false, reads = 0;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const read = () => reads++ === 0 ? Promise.resolve(start) : promise;
  const close = () => {
    isClosed = true;
    resolve(undefined);
    return Promise.resolve();
  };
  return { source: { read, close }, isClosed: () => isClosed, isRead: () => reads > 1 };
}

Deno.test("a layer is unpacked once, and never again", async () => {
  await inWorkshop(async (workshop) => {
    const { layer, opened } = await counted(archive);
    const cache = workshop.cache();
    const path = await cache.unpacked(layer);
    assertEquals(path, join(workshop.cachePath, "root/sha256", layer.diffId.slice(7)));
    assertEquals([await cache.unpacked(layer), await workshop.cache().unpacked(layer), opened()], [path, path, 1]);
    assertEquals(Deno.readTextFileSync(join(path, "d/a")), "text");
    assertEquals(Deno.statSync(path).mode! & 0o7777, 0o755);
    // Nobody else can enter: the archive may have programs with setuid, and devices.
    assertEquals(Deno.statSync(workshop.cachePath).mode! & 0o7777, 0o700);
  });
});

/** Deno compresses with zstd as Node does, whose types are a package. */
function zstd(bytes: Uint8Array): Uint8Array {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): { zstdCompressSync(bytes: Uint8Array): Uint8Array } };
  };
  return process.getBuiltinModule("node:zlib").zstdCompressSync(bytes);
}

Deno.test("a layer of zstd is unpacked: frames, frames to be skipped, large blocks; broken ones leave nothing", async () => {
  const random = crypto.getRandomValues(new Uint8Array(60_000));
  const content = concat([...Array.from({ length: 20 }, () => random), new Uint8Array(10_000_000)]);
  const bytes = tar({ name: "d/", type: "5" }, { name: "d/large", content });
  const skipped = Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
  const parts = [bytes.subarray(0, 1), bytes.subarray(1, 5_000_000), bytes.subarray(5_000_000)];
  const compressed = concat([...parts.flatMap((part) => [zstd(part), skipped])]);
  assert(compressed.length < bytes.length / 10);
  await inWorkshop(async (workshop) => {
    const layer = await layerOf(compressed, { diffId: await digestOf(bytes), digest: await digestOf(compressed) });
    const path = await workshop.cache().unpacked(layer);
    assertEquals(await digestOf(Deno.readFileSync(join(path, "d/large"))), await digestOf(content));
  });
  const changed = compressed.slice();
  changed[compressed.length >> 1]! ^= 0xff;
  const cases = [[compressed.slice(0, -30), /ends within|broken/], [changed, /broken|digest/]] as const;
  for (const [broken, message] of cases) {
    await inWorkshop(async (workshop) => {
      const layer = await layerOf(broken, { diffId: await digestOf(bytes) });
      const error = await assertRejects(() => workshop.cache().unpacked(layer), RuncError);
      assertEquals(error.code, "image-invalid");
      assertMatch(error.message, message);
      assertEquals(workshop.kept(), []);
    });
  }
  await inWorkshop(async (workshop) => {
    const layer = await layerOf(compressed, { diffId: await digestOf(bytes) });
    const cache = workshop.cache({ maximumBytes: 1_000_000 });
    await assertRejects(() => cache.unpacked(layer), RuncError, "more than 1000000 bytes");
  });
});

Deno.test("callers that need the same layer at once share one unpacking", async () => {
  await inWorkshop(async (workshop) => {
    const { layer, opened } = await counted(archive);
    const cache = workshop.cache();
    const paths = await Promise.all(Array.from({ length: 50 }, () => cache.unpacked(layer)));
    assertEquals([new Set(paths).size, opened()], [1, 1]);
    // Each of these has its own lock, as other processes have.
    const second = await counted(other);
    const caches = Array.from({ length: 8 }, () => workshop.cache());
    const others = await Promise.all(caches.map((one) => one.unpacked(second.layer)));
    assertEquals([new Set(others).size, second.opened()], [1, 1]);
  });
});

Deno.test("a layer with a wrong digest is not kept", async () => {
  await inWorkshop(async (workshop) => {
    const wrong = { ...await layerOf(archive), diffId: await digestOf(other) };
    const error = await assertRejects(() => workshop.cache().unpacked(wrong), RuncError);
    assertEquals([error.code, workshop.kept()], ["image-invalid", []]);
    const blob = { ...await layerOf(archive), digest: await digestOf(other) };
    await assertRejects(() => workshop.cache().unpacked(blob), RuncError);
    assertEquals(workshop.kept(), []);
    // The right one is not affected.
    await workshop.unpack(archive);
  });
});

Deno.test("a layer that is no digest is no path", async () => {
  await inWorkshop(async (workshop) => {
    for (const diffId of ["sha256:../../x", "sha256:", "x", `sha256:${"A".repeat(64)}`]) {
      const error = await assertRejects(
        async () => workshop.cache().unpacked({ ...await layerOf(archive), diffId }),
        RuncError,
      );
      assertMatch(error.message, /is not a SHA-256 digest/);
    }
    assert(!existsSync(workshop.cachePath));
  });
});

Deno.test("an aborted unpacking leaves nothing, and closes what it reads", async () => {
  await inWorkshop(async (workshop) => {
    const { source, isClosed, isRead } = endless(archive.slice(0, 1000));
    const layer = { ...await layerOf(archive), open: () => Promise.resolve(source) };
    const abort = new AbortController();
    const cache = workshop.cache();
    const unpacked = assertRejects(() => cache.unpacked(layer, abort.signal), Error, "enough");
    await untilAsync("the layer is read", isRead);
    abort.abort(new Error("enough"));
    await unpacked;
    await untilAsync("the source is closed", isClosed);
    await untilAsync("nothing is left", () => workshop.kept().length === 0);
    await assertRejects(() => cache.unpacked(layer, AbortSignal.abort(new Error("before"))), Error, "before");
    await cache.unpacked(await layerOf(archive));
  });
});

Deno.test("one caller's abort does not end the unpacking that others wait for", async () => {
  await inWorkshop(async (workshop) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { open, ...rest } = await layerOf(archive);
    const layer = { ...rest, open: () => promise.then(open) };
    const abort = new AbortController();
    const cache = workshop.cache();
    const first = assertRejects(() => cache.unpacked(layer, abort.signal), Error, "enough");
    const second = cache.unpacked(layer);
    abort.abort(new Error("enough"));
    await first;
    resolve();
    assertEquals(Deno.readTextFileSync(join(await second, "d/a")), "text");
  });
});

/** A program that unpacks a layer of which only the beginning comes. Prints a line once it has unpacked that. */
const unpackingProgram = (cache: string, start: string, diffId: string) => `
  import { Kernel } from "${new URL("../../../lib/ffi/kernel.ts", import.meta.url)}";
  import { LayerCache } from "${new URL("../../../lib/sandbox/rootfs/layer_cache.ts", import.meta.url)}";
  let count = 0;
  const read = async () => {
    if (count++ === 0) return Deno.readFileSync(${JSON.stringify(start)});
    console.log("waiting");
    await new Promise((resolve) => setTimeout(resolve, 1e9));
  };
  const cache = new LayerCache(new Kernel(), { directory: ${JSON.stringify(cache)}, rootless: false });
  await cache.unpacked({ diffId: ${JSON.stringify(diffId)}, open: async () => ({ read, close: async () => {} }) });
`;

async function startUnpacking(workshop: Workshop): Promise<Deno.ChildProcess> {
  const [start, program] = [join(workshop.path, "start"), join(workshop.path, "program.ts")];
  Deno.writeFileSync(start, archive.slice(0, 1300));
  Deno.writeTextFileSync(program, unpackingProgram(workshop.cachePath, start, await digestOf(archive)));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", program],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value), "waiting\n");
  await reader.cancel();
  return child;
}

Deno.test("a process that is killed while it unpacks leaves nothing that is taken for a layer", async () => {
  await inWorkshop(async (workshop) => {
    const child = await startUnpacking(workshop);
    const { layer, opened } = await counted(archive);
    const abort = new AbortController();
    // The process holds the lock: another one waits, and can give up.
    const waiting = assertRejects(() => workshop.cache().unpacked(layer, abort.signal), Error, "enough");
    assertEquals(workshop.kept().length, 1);
    abort.abort(new Error("enough"));
    await waiting;
    const next = workshop.cache().unpacked(layer);
    assertEquals(opened(), 0);
    child.kill("SIGKILL");
    await child.status;
    const path = await next;
    assertEquals([opened(), workshop.kept()], [1, [layer.diffId.slice(7)]]);
    assertEquals(listing(path).length, 2);
  });
});

Deno.test("a cache of another user, or one that others can write to, is not used", async () => {
  await inWorkshop(async (workshop) => {
    for (const change of ["chmod 777", "chown 1:1"]) {
      output("sh", "-ec", `rm -rf "$1"; mkdir -m 700 "$1"; ${change} "$1"`, "sh", workshop.cachePath);
      const error = await assertRejects(() => workshop.unpack(archive), RuncError);
      assertEquals(error.code, "usage", change);
    }
    output("sh", "-ec", 'rm -rf "$1"; ln -s /tmp "$1"', "sh", workshop.cachePath);
    await assertRejects(() => workshop.unpack(archive), RuncError);
    Deno.removeSync(workshop.cachePath);
  });
});

const made: Made = { layers: [archive, other, archive], config: { Cmd: ["c"] }, names: ["app:1"] };

/** Writes an image of each kind. */
async function images(directory: string): Promise<Readonly<Record<string, string>>> {
  const write = (name: string, bytes: Uint8Array<ArrayBuffer>) => {
    Deno.writeFileSync(join(directory, name), bytes);
    return join(directory, name);
  };
  const layout = await ociLayout(made);
  return {
    "an OCI layout": writeFiles(join(directory, "layout"), layout),
    "an OCI layout without compression": writeFiles(
      join(directory, "plain"),
      await ociLayout({ ...made, compressed: false }),
    ),
    "an OCI archive": write("oci.tar", archiveOf(layout)),
    "an archive of docker save": write("docker.tar", tar(...await dockerArchive(made))),
  };
}

function writeFiles(directory: string, files: MadeFiles): string {
  for (const [name, bytes] of files) {
    const path = join(directory, name);
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    Deno.writeFileSync(path, bytes);
  }
  return directory;
}

Deno.test("every kind of image gives the same layers", async () => {
  await inWorkshop(async (workshop) => {
    const cache = workshop.cache();
    const diffIds = [await digestOf(archive), await digestOf(other), await digestOf(archive)];
    for (const [what, path] of Object.entries(await images(workshop.path))) {
      for (const reference of [undefined, "app:1"]) {
        const image = await openImage(path, { architecture: "amd64", reference });
        assertEquals([image.layers.map(({ diffId }) => diffId), image.config.command], [diffIds, ["c"]], what);
        const paths = await Promise.all(image.layers.map((layer) => cache.unpacked(layer)));
        assertEquals(Deno.readTextFileSync(join(paths[2]!, "d/a")), "text", what);
      }
      await assertRejects(() => openImage(path, { architecture: "amd64", reference: "app:2" }), RuncError, "no image");
    }
    assertEquals(workshop.kept().length, 2);
  });
});

Deno.test("each layer of each kind of image is read from the image itself", async () => {
  await inWorkshop(async (workshop) => {
    for (const [what, path] of Object.entries(await images(workshop.path))) {
      const directory = join(workshop.path, `cache of ${what}`);
      const image = await openImage(path, { architecture: "amd64" });
      for (const layer of image.layers) await workshop.cache({ directory }).unpacked(layer);
    }
  });
});

Deno.test("what is no image is refused", async () => {
  await inWorkshop(async (workshop) => {
    const empty = join(workshop.path, "empty");
    Deno.mkdirSync(empty);
    const compressed = join(workshop.path, "compressed.tar.gz");
    Deno.writeFileSync(compressed, await gzip(tar({ name: "a" })));
    const text = join(workshop.path, "text");
    Deno.writeTextFileSync(text, "x".repeat(1000));
    const fifo = writeFiles(join(workshop.path, "fifo"), new Map([["oci-layout", archive]]));
    output("mkfifo", join(fifo, "index.json"));
    const rows: readonly [path: string, code: string, message: RegExp][] = [
      [empty, "image-invalid", /neither oci-layout and index.json nor manifest.json/],
      [compressed, "image-invalid", /archive is compressed with gzip/],
      [text, "image-invalid", /checksum/],
      [fifo, "image-invalid", /neither/],
      [join(workshop.path, "missing"), "syscall-failed", /no such file/],
    ];
    for (const [path, code, message] of rows) {
      const error = await assertRejects(() => openImage(path, { architecture: "amd64" }), RuncError);
      assertEquals(error.code, code, error.message);
      assertMatch(error.message, message);
    }
  });
});

Deno.test("a changed blob is refused", async () => {
  await inWorkshop(async (workshop) => {
    const files = await ociLayout(made);
    const { layers } = await openImage(writeFiles(join(workshop.path, "image"), files), { architecture: "amd64" });
    const blob = join(workshop.path, "image/blobs/sha256", layers[1]!.digest!.slice(7));
    Deno.writeFileSync(blob, await gzip(archive));
    const error = await assertRejects(() => workshop.cache().unpacked(layers[1]!), RuncError);
    assertMatch(error.message, /digest/);
    assertEquals(workshop.kept(), []);
  });
});
