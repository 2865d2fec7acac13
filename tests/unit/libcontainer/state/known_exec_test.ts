import { assert, assertEquals } from "@std/assert";
import {
  addKnownExec,
  ENTRY_HEAD,
  entryOffsets,
  KNOWN_LIMIT,
  KNOWN_MAGIC,
  type KnownExec,
  type KnownFor,
  knownHead,
  type KnownSection,
  knownSections,
  MOST_KNOWN,
  REQUEST_LIMIT,
} from "../../../../lib/libcontainer/state/known_exec.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const head: KnownFor = {
  identity: [1n, 2n, 3n, 4n, 5n, 6n, 7n],
  program: [8n, 9n, 10n, 11n, 12n, 13n, -1n],
  namespaces: [14n, 15n, 16n, 17n],
  capabilities: new Uint8Array(24).fill(18),
};

const exec: KnownExec = {
  flags: 2,
  argv: ["-e", "A=b", "box", "sh", "-c", ""],
  root: "/run/runc",
  log: "",
  format: "text",
  request: bytes("{}"),
  requestPath: "/bundle/config.json",
  passwd: bytes("root:x:0:0::/root:\n"),
  home: bytes("/root\0"),
  rlimits: [{ resource: 7, soft: 1n, hard: 2n ** 64n - 1n }],
  init: 4194303,
  namespaces: [{ number: 33, file: "mnt" }, { number: 34, file: "cgroup" }],
  numbers: { lowest: 32, sync: 35, proc: 36 },
  image: bytes("image"),
  monitor: bytes("monitor"),
  pidPlace: 3,
  streams: [1, 2, 3],
  owner: { uid: 4, gid: 5 },
  ownArguments: 7,
};

const word = (file: Uint8Array, at: number) => new DataView(file.buffer, file.byteOffset).getUint32(at, true);

/** The entries of a file, as the front finds them. */
function entriesOf(file: Uint8Array): readonly Uint8Array[] {
  let at: number = knownHead.entries;
  return Array.from({ length: word(file, knownHead.count) }, () => {
    const entry = file.subarray(at, at + word(file, at + entryOffsets.length));
    at += entry.length;
    return entry;
  });
}

function section(entry: Uint8Array, name: KnownSection): Uint8Array {
  const at = entryOffsets.sections + 8 * knownSections.indexOf(name);
  return entry.subarray(word(entry, at), word(entry, at) + word(entry, at + 4));
}

const requests = (file: Uint8Array | undefined) => entriesOf(file!).map((entry) => text(section(entry, "request")));

Deno.test("a file has a head, the newest exec first, and zeroes that end its texts", () => {
  const file = addKnownExec(undefined, head, exec)!;
  assertEquals(text(file.subarray(0, 8)), KNOWN_MAGIC);
  assertEquals([word(file, knownHead.length), word(file, knownHead.count)], [file.length, 1]);
  const words = new BigUint64Array(file.slice(knownHead.identity, knownHead.entries).buffer);
  assertEquals([...words.subarray(0, 14)], [...head.identity, ...head.program.slice(0, 6), 2n ** 64n - 1n]);
  assertEquals([...words.subarray(14, 18)], head.namespaces);
  assertEquals(file.subarray(knownHead.capabilities, knownHead.entries), head.capabilities);
  assertEquals([...file.subarray(-8)], [0, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("an entry has its numbers and its sections, each where a word can be read", () => {
  const [entry] = entriesOf(addKnownExec(undefined, head, exec)!);
  assertEquals(entry!.length % 8, 0);
  const numbers = Object.fromEntries(
    Object.entries(entryOffsets).map(([name, at]) => [name, name === "sections" ? at : word(entry!, at)]),
  );
  assertEquals(numbers, {
    ...{ length: entry!.length, flags: 2, words: 6, lowest: 32, sync: 35, proc: 36 },
    ...{ stdin: 1, stdout: 2, stderr: 3, pidPlace: 3, uid: 4, gid: 5, arguments: 7, sections: entryOffsets.sections },
  });
  for (const [index, name] of knownSections.entries()) {
    assertEquals(word(entry!, entryOffsets.sections + 8 * index) % 8, 0, name);
  }
  assertEquals(text(section(entry!, "argv")), "-e\0A=b\0box\0sh\0-c\0\0");
  assertEquals(text(section(entry!, "requestPath")), "/bundle/config.json\0");
  assertEquals(text(section(entry!, "home")), "/root\0");
  const limits = new BigUint64Array(section(entry!, "rlimitTable").slice().buffer);
  assertEquals([...limits], [7n, 1n, 2n ** 64n - 1n]);
  const table = section(entry!, "namespaceTable");
  assertEquals(table.length, 128);
  assertEquals(text(table.subarray(72, 104)).replace(/\0*$/, ""), "/proc/4194303/ns/cgroup");
  assertEquals(text(table.subarray(104)).replace(/\0*$/, ""), "/proc/self/ns/cgroup");
});

Deno.test("the last few different requests are kept; the same request is kept once", () => {
  let file: Uint8Array<ArrayBuffer> | undefined;
  for (const name of ["a", "b", "a", "c", "d", "e"]) {
    file = addKnownExec(file, head, { ...exec, request: bytes(name), image: bytes(`image of ${name}`) });
  }
  assertEquals(requests(file), ["e", "d", "c", "a"]);
  assertEquals(MOST_KNOWN, 4);
  const other = addKnownExec(file, head, { ...exec, request: bytes("e"), argv: ["box", "other"] });
  assertEquals(requests(other), ["e", "e", "d", "c"]);
});

Deno.test("nothing is kept of a file for another state, program or caller, or of a broken one", () => {
  const file = addKnownExec(undefined, head, exec)!;
  const next = { ...exec, request: bytes("next") };
  assertEquals(requests(addKnownExec(file, head, next)), ["next", "{}"]);
  const others: readonly Partial<KnownFor>[] = [
    { identity: head.identity.with(6, 0n) },
    { program: head.program.with(0, 0n) },
    { namespaces: head.namespaces.with(3, 0n) },
    { capabilities: new Uint8Array(24) },
  ];
  for (const other of others) assertEquals(requests(addKnownExec(file, { ...head, ...other }, next)), ["next"]);
  const broken: readonly (readonly [at: number, value: number])[] = [
    [7, 2],
    [knownHead.count, MOST_KNOWN + 1],
    [knownHead.entries + entryOffsets.length, 4],
    // Shorter than its places.
    [knownHead.entries + entryOffsets.length, ENTRY_HEAD - 8],
    [knownHead.entries + entryOffsets.length + 3, 0x7f],
  ];
  // The entry's other bytes of the length are 0 then.
  const changed = (at: number, value: number) =>
    file.with(at + 1, at < knownHead.entries ? file[at + 1]! : 0).with(at, value);
  for (const [at, value] of broken) assertEquals(requests(addKnownExec(changed(at, value), head, next)), ["next"]);
  for (let length = 0; length < knownHead.entries + 100; length += 11) {
    assertEquals(requests(addKnownExec(file.subarray(0, length), head, next)), ["next"]);
  }
});

Deno.test("what is too large is not kept", () => {
  assert(addKnownExec(undefined, head, { ...exec, request: new Uint8Array(REQUEST_LIMIT) }) !== undefined);
  assertEquals(addKnownExec(undefined, head, { ...exec, request: new Uint8Array(REQUEST_LIMIT + 1) }), undefined);
  assertEquals(addKnownExec(undefined, head, { ...exec, image: new Uint8Array(KNOWN_LIMIT) }), undefined);
});
