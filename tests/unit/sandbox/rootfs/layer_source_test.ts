import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { ByteReader, streamSource } from "../../../../lib/sandbox/rootfs/byte_reader.ts";
import { type Decompressor, type LayerDigests, LayerSource } from "../../../../lib/sandbox/rootfs/layer_source.ts";
import { digestOf, gzip, join, tar, utf8 } from "./tar_writer.ts";

const archive = tar({ name: "a", content: "x".repeat(200_000) });
const zeroes = `sha256:${"0".repeat(64)}`;

const magic = [0x28, 0xb5, 0x2f, 0xfd];

/** As if zstd were each byte after the magic twice, up to a zero. */
class Doubling implements Decompressor {
  #left: number[] = [];
  #count = -magic.length;
  isAtEnd = false;
  isDisposed = false;

  feed(piece: Uint8Array<ArrayBuffer>): void {
    this.#left = [...piece];
  }

  next(): Uint8Array<ArrayBuffer> | undefined {
    for (let byte = this.#left.shift(); byte !== undefined; byte = this.#left.shift()) {
      if (this.#count++ < 0) continue;
      this.isAtEnd = byte === 0;
      if (byte !== 0) return Uint8Array.of(byte, byte);
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    this.isDisposed = true;
  }
}

const open = (bytes: Uint8Array<ArrayBuffer>, digests: LayerDigests, decompressor = new Doubling()) =>
  LayerSource.open(streamSource(new Blob([bytes]).stream()), digests, () => decompressor);

async function read(bytes: Uint8Array<ArrayBuffer>, digests: LayerDigests): Promise<Uint8Array> {
  const source = await open(bytes, digests);
  const content = await new ByteReader(source).upTo(1_000_000);
  await source.verify();
  await source.close();
  return content;
}

Deno.test("LayerSource decompresses gzip, passes on what is not compressed, and checks both digests", async () => {
  const compressed = await gzip(archive);
  const diffId = await digestOf(archive);
  for (const bytes of [compressed, archive]) {
    assertEquals(await read(bytes, { diffId, digest: await digestOf(bytes) }), archive);
    assertEquals(await read(bytes, { diffId }), archive);
    const uncompressed = await assertRejects(() => read(bytes, { diffId: zeroes }), RuncError);
    assertMatch(uncompressed.message, /uncompressed layer has the digest sha256:[0-9a-f]+, not sha256:0/);
    const stored = await assertRejects(() => read(bytes, { diffId, digest: zeroes }), RuncError);
    assertEquals([stored.code, stored.message.includes("the layer has the digest")], ["image-invalid", true]);
  }
});

Deno.test("LayerSource takes gzip in several parts, wherever they are cut", async () => {
  const cuts = [0, 1, 100_000, archive.length];
  const parts = await Promise.all(cuts.map((at, index) => gzip(archive.slice(at, cuts[index + 1]))));
  const bytes = join(parts);
  assertEquals(await read(bytes, { diffId: await digestOf(archive), digest: await digestOf(bytes) }), archive);
});

Deno.test("LayerSource.verify() counts what the reader has not read", async () => {
  const source = await open(await gzip(archive), { diffId: await digestOf(archive) });
  await source.read();
  await source.verify();
});

Deno.test("LayerSource refuses broken gzip: changed, cut, with more behind it", async () => {
  const compressed = await gzip(archive);
  const changed = compressed.slice();
  changed[100]! ^= 0xff;
  for (const bytes of [changed, compressed.slice(0, -20), join([compressed, compressed, utf8("x")])]) {
    const error = await assertRejects(() => read(bytes, { diffId: zeroes }), RuncError);
    assertEquals(error.code, "image-invalid", error.message);
  }
});

Deno.test("LayerSource decompresses zstd to its end, and checks both digests", async () => {
  const bytes = Uint8Array.of(...magic, 1, 2, 0);
  const digests = { diffId: await digestOf(Uint8Array.of(1, 1, 2, 2)), digest: await digestOf(bytes) };
  assertEquals(await read(bytes, digests), Uint8Array.of(1, 1, 2, 2));
  await assertRejects(() => read(bytes, { ...digests, digest: zeroes }), RuncError, "the layer has the digest");
  await assertRejects(() => read(bytes, { diffId: zeroes }), RuncError, "uncompressed layer has the digest");
  await assertRejects(() => read(bytes.slice(0, -1), digests), RuncError, "ends within a frame");
  const decompressor = new Doubling();
  const source = await open(bytes, digests, decompressor);
  await source.read();
  await source.close();
  assert(decompressor.isDisposed);
});

Deno.test("LayerSource refuses other compressions by name", async () => {
  for (const [name, magic] of [["bzip2", [0x42, 0x5a, 0x68]], ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a]]] as const) {
    const error = await assertRejects(() => open(Uint8Array.from(magic), { diffId: zeroes }), RuncError);
    assertEquals(error.code, "unsupported");
    assert(error.message.includes(name));
  }
});
