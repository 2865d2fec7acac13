import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import { ByteReader, type ByteSource } from "../../../../../lib/sandbox/rootfs/byte_reader.ts";
import { TarReader } from "../../../../../lib/sandbox/rootfs/tar/tar_reader.ts";
import { header, join, tar, utf8, withChecksum, type Written, written } from "../tar_writer.ts";

/** `bytes` in pieces of `length`. */
function pieces(bytes: Uint8Array<ArrayBuffer>, length: number): ByteSource {
  let at = 0;
  return {
    read: () => Promise.resolve(at >= bytes.length ? undefined : bytes.subarray(at, at += length)),
    close: () => Promise.resolve(),
  };
}

interface Read {
  readonly name: string;
  readonly type: string;
  readonly content: string;
  readonly [field: string]: unknown;
}

async function read(bytes: Uint8Array<ArrayBuffer>, length = 1000): Promise<readonly Read[]> {
  const reader = new TarReader(new ByteReader(pieces(bytes, length)));
  const entries: Read[] = [];
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const content: Uint8Array[] = [];
    for (let piece = await entry.read(); piece !== undefined; piece = await entry.read()) content.push(piece.slice());
    if (!entry.isSparse) assertEquals(join(content), bytes.subarray(entry.offset, entry.offset + entry.size));
    entries.push({ ...entry, content: new TextDecoder().decode(join(content)) });
  }
  return entries;
}

const refusal = async (bytes: Uint8Array<ArrayBuffer>) => await assertRejects(() => read(bytes), RuncError);

Deno.test("TarReader reads every kind of entry, whatever the pieces of the source", async () => {
  const archive = tar(
    { name: "d/", type: "5", mode: 0o755, uid: 1, gid: 2, mtime: 3 },
    { name: "d/f", content: "x".repeat(1025), mode: 0o4755 },
    { name: "d/empty" },
    { name: "d/l", type: "1", linkName: "d/f" },
    { name: "d/s", type: "2", linkName: "../f" },
    { name: "d/c", type: "3", major: 1, minor: 3 },
    { name: "d/b", type: "4", major: 8, minor: 0 },
    { name: "d/p", type: "6" },
    { name: "volume", type: "V" },
  );
  for (const length of [1, 511, 512, 513, 100_000]) {
    const entries = await read(archive, length);
    assertEquals(entries.map(({ name, type }) => `${type} ${name}`), [
      "directory d/",
      "file d/f",
      "file d/empty",
      "link d/l",
      "symlink d/s",
      "char d/c",
      "block d/b",
      "fifo d/p",
      "other volume",
    ]);
    assertEquals(entries[1]!.content, "x".repeat(1025));
  }
  const [directory, file, , link, symlink, char] = await read(archive);
  const { mode, uid, gid, mtime } = directory!;
  assertEquals([mode, uid, gid, mtime], [0o755, 1, 2, { seconds: 3, nanoseconds: 0 }]);
  assertEquals([file!.mode, link!.linkName, symlink!.linkName], [0o4755, "d/f", "../f"]);
  assertEquals([char!.major, char!.minor], [1, 3]);
});

Deno.test("TarReader skips content that is not read", async () => {
  const reader = new TarReader(new ByteReader(pieces(tar({ name: "a", content: "1234" }, { name: "b" }), 100)));
  const first = await reader.next();
  assertEquals((await reader.next())?.name as string, "b");
  await assertRejects(() => first!.read(), TypeError);
  assertEquals(await reader.next(), undefined);
});

const long = `${"d/".repeat(100)}${"f".repeat(100)}`;

const longNames: readonly [what: string, archive: Uint8Array<ArrayBuffer>, name: string, linkName: string][] = [
  [
    "ustar's prefix",
    tar({ name: "f".repeat(100), prefix: "p".repeat(155) }),
    `${"p".repeat(155)}/${"f".repeat(100)}`,
    "",
  ],
  ["pax", tar({ name: "short", pax: { path: long, linkpath: `../${long}` }, type: "2" }), long, `../${long}`],
  [
    "GNU",
    tar(
      { name: "././@LongLink", type: "L", format: "gnu", content: `${long}\0` },
      { name: "././@LongLink", type: "K", format: "gnu", content: `../${long}\0` },
      { name: "short", type: "2", format: "gnu" },
    ),
    long,
    `../${long}`,
  ],
  // In GNU's format, the place of the prefix has times.
  ["GNU's other fields", tar({ name: "a", format: "gnu", prefix: "00000000000" }), "a", ""],
  ["v7", tar({ name: "a", format: "v7", prefix: "b" }), "a", ""],
];

Deno.test("TarReader reads long names", async () => {
  for (const [what, archive, name, linkName] of longNames) {
    const [entry, next] = await read(archive);
    assertEquals([entry?.name, entry?.linkName, next], [name, linkName, undefined], what);
  }
});

Deno.test("TarReader keeps names that are not UTF-8", async () => {
  const [entry] = await read(tar({ name: Uint8Array.of(0x61, 0xff, 0xfe) }));
  assertEquals(entry?.name, "a\xff\xfe");
  const [other] = await read(tar({ name: "a", pax: { path: "ä" } }));
  assertEquals(other?.name, "\xc3\xa4");
});

Deno.test("TarReader reads v7's directories, which only a slash tells", async () => {
  const [entry] = await read(tar({ name: "d/", type: "\0", format: "v7" }, { name: "f", type: "\0", format: "v7" }));
  assertEquals(entry?.type, "directory");
});

Deno.test("TarReader reads pax: ids, size, time, attributes, empty values, global headers", async () => {
  const [entry] = await read(tar({
    name: "a",
    size: 0,
    content: "12345",
    mtime: 1,
    pax: {
      uid: "3000000",
      gid: "3000001",
      size: "5",
      mtime: "12.5",
      comment: "",
      "SCHILY.xattr.user.empty": "",
      "SCHILY.xattr.user.bytes": Uint8Array.of(0, 10, 0xff, 61),
    },
  }));
  const { uid, gid, content, mtime, xattrs } = entry!;
  assertEquals([uid, gid, content, mtime], [3000000, 3000001, "12345", { seconds: 12, nanoseconds: 500000000 }]);
  assertEquals(xattrs, new Map([["user.empty", new Uint8Array(0)], ["user.bytes", Uint8Array.of(0, 10, 0xff, 61)]]));

  const times: readonly [text: string, seconds: number, nanoseconds: number][] = [
    ["-1.25", -2, 750000000],
    ["-1", -1, 0],
    ["0.1234567899", 0, 123456789],
    ["7.", 7, 0],
  ];
  for (const [text, seconds, nanoseconds] of times) {
    assertEquals((await read(tar({ name: "a", pax: { mtime: text } })))[0]?.mtime, { seconds, nanoseconds }, text);
  }
  const global: Written = { name: "g", type: "g", content: "9 uid=42\n" };
  const uids = await read(tar(global, { name: "a" }, { name: "b", pax: { uid: "7" } }, { name: "c" }));
  assertEquals(uids.map((one) => one.uid), [42, 7, 42]);
});

Deno.test("TarReader reads base-256 numbers", async () => {
  const block = header({ name: "a" });
  block.set([0x80, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0], 108);
  block.set([0xff, ...new Array(10).fill(0xff), 0xfe], 136);
  const [entry] = await read(withChecksum(block));
  assertEquals([entry?.uid, entry?.mtime], [3000000, { seconds: -2, nanoseconds: 0 }]);
});

Deno.test("TarReader reads an archive without empty blocks at its end, and nothing behind them", async () => {
  assertEquals((await read(join([written({ name: "a" })]))).length, 1);
  assertEquals((await read(join([tar({ name: "a" }), written({ name: "b" })]))).length, 1);
  assertEquals((await read(new Uint8Array(0))).length, 0);
});

function changed(offset: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const block = header({ name: "a", type: "3" });
  block.set(bytes, offset);
  return withChecksum(block);
}

const negative = Uint8Array.of(0xff, ...new Array(11).fill(0xff));
const huge = Uint8Array.of(0x80, ...new Array(11).fill(0xff));

const broken: readonly [what: string, archive: Uint8Array<ArrayBuffer>, message: RegExp][] = [
  ["a cut header", tar({ name: "a" }).subarray(0, 300), /ends within a header/],
  ["a cut content", tar({ name: "a", content: "x".repeat(600) }).subarray(0, 1000), /ends within an entry/],
  ["a cut extension", tar({ name: "a", pax: { path: "b" } }).subarray(0, 515), /ends within an entry/],
  ["no archive", utf8("x".repeat(512)), /checksum/],
  ["a wrong checksum", join([header({ name: "a" }).fill(66, 0, 1)]), /checksum is wrong/],
  ["no number", changed(100, utf8("abc")), /mode is not an octal number/],
  ["a negative size", changed(124, negative), /size is negative/],
  ["a huge size", changed(124, huge), /size is out of range/],
  ["a huge device", changed(329, utf8("7777777\0")), /device number/],
  ["a huge extension", tar({ name: "x", type: "x", size: 2 ** 30 }), /extended header is longer/],
  ["a huge long name", tar({ name: "x", type: "L", size: 2 ** 30 }), /extended header is longer/],
  ["a record without an end", tar({ name: "x", type: "x", content: "20 path=a" }), /record/],
  ["a record that is too long", tar({ name: "x", type: "x", content: "99 path=a\n" }), /record/],
  ["a record of length 0", tar({ name: "x", type: "x", content: "0 path=a\n" }), /record/],
  ["a record without a key", tar({ name: "x", type: "x", content: "5 =a\n" }), /record/],
  ["a size that is no number", tar({ name: "a", pax: { size: "-1" } }), /size of an extended header/],
  ["a time that is no number", tar({ name: "a", pax: { mtime: "now" } }), /mtime of an extended header/],
];

Deno.test("TarReader refuses what is broken", async () => {
  for (const [what, archive, message] of broken) {
    const error = await refusal(archive);
    assertEquals(error.code, "image-invalid", what);
    assertMatch(error.message, message);
  }
});

/** A sparse file of pax's format 1.0: `map` is before its data. */
const sparse = (map: string, data: string, realsize: string, more: Readonly<Record<string, string>> = {}): Written => ({
  name: "GNUSparseFile.1/a",
  content: map.padEnd(Math.ceil(map.length / 512) * 512, "\0") + data,
  pax: {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "a",
    "GNU.sparse.realsize": realsize,
    ...more,
  },
});

Deno.test("TarReader reads sparse files: zeros are between their parts", async () => {
  const zeros = (count: number) => "\0".repeat(count);
  const many = Array.from({ length: 200 }, (_, index) => `${index * 1000}\n1\n`).join("");
  const pax01 = { "GNU.sparse.map": "2,1,5,0", "GNU.sparse.size": "5" };
  const old = header({ name: "a", type: "S", content: "xyz", format: "gnu" });
  for (const [at, text] of [[386, "0"], [398, "1"], [410, "100000"], [422, "2"], [483, "303243"]] as const) {
    old.set(utf8(text.padStart(11, "0")), at);
  }
  old[482] = 1;
  const extension = new Uint8Array(512);
  extension.set(utf8("00000303240\0" + "00000000000\0"));
  const cases: readonly [what: string, archive: Uint8Array<ArrayBuffer>, content: string][] = [
    ["a hole first and last", tar(sparse("1\n3\n2\n", "xy", "9")), `${zeros(3)}xy${zeros(4)}`],
    ["nothing but a hole", tar(sparse("0\n", "", "200000")), zeros(200_000)],
    ["adjacent and empty parts", tar(sparse("3\n0\n1\n1\n1\n2\n0\n", "xy", "2")), "xy"],
    [
      "a map of several blocks",
      tar(sparse(`200\n${many}`, "x".repeat(200), "199001")),
      `x${zeros(999)}`.repeat(199) + "x",
    ],
    ["format 0.1", tar({ name: "a", content: "x", pax: pax01 }), `${zeros(2)}x${zeros(2)}`],
    [
      "GNU's old format",
      join([withChecksum(old), extension, utf8("xyz".padEnd(512, "\0")), new Uint8Array(1024)]),
      `x${zeros(0o77777)}yz${zeros(0o303243 - 0o100002)}`,
    ],
  ];
  for (const [what, archive, content] of cases) {
    for (const length of [1, 500, 100_000]) {
      if (length === 1 && archive.length > 10_000) continue;
      const [first, next] = await read(join([archive.slice(0, -1024), tar({ name: "next", content: "n" })]), length);
      assertEquals([first!.name, first!.type, next!.name, next!.content], ["a", "file", "next", "n"], what);
      assertEquals(first!.content, content, what);
    }
  }
});

Deno.test("TarReader refuses broken maps of sparse files, and formats that it does not know", async () => {
  const broken: readonly Written[] = [
    sparse("2\n0\n2\n1\n2\n", "abcd", "9"),
    sparse("1\n8\n2\n", "ab", "9"),
    sparse("1\n0\n1\n", "ab", "9"),
    sparse("1\n0\n3\n", "ab", "9"),
    sparse("1\n0\nx\n", "ab", "9"),
    sparse(`${"1".repeat(100)}\n`, "", "9"),
    sparse("99999999\n0\n1\n", "", "9"),
    sparse("9\n0\n1\n", "", "9"),
    sparse("1\n0\n1\n", "a", "x"),
    { name: "a", content: "x", pax: { "GNU.sparse.map": "2,1,5", "GNU.sparse.size": "5" } },
  ];
  for (const entry of broken) assertEquals((await refusal(tar(entry))).code, "image-invalid", `${entry.content}`);
  for (const key of ["GNU.sparse.numblocks", "GNU.sparse.major"]) {
    assertEquals((await refusal(tar({ name: "a", pax: { [key]: "2" } }))).code, "unsupported");
  }
});
