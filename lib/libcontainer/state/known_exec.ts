/**
 * The file `known` beside state.json: the last few execs of a container, ready to be done again without an engine. Pure.
 *
 * A health probe runs the same process every few seconds. The front of the program (tools/snapshot/front) compares the
 * whole request with those in the file, byte by byte, and then starts the image of stage and init that the first one was
 * encoded to. The file is believed no more than `resident`: it is the caller's own, in the container's directory, and is
 * void once state.json, the program or the caller's namespaces and capabilities are others. Numbers are little-endian:
 *
 * - the head, {@link knownHead}; `identity` is that of state.json, `program` that of the program's file, as
 *   `identityOffsets` of resident.ts has it; `namespaces` are the inode numbers of the caller's
 * - the entries, of a multiple of 8 bytes each: numbers and the places of sections, {@link entryOffsets}, then the sections
 * - 8 bytes of zero, which end every text
 *
 * @module
 */

import { IDENTITY_WORD } from "./resident.ts";

/** The file's name in the state directory. */
export const KNOWN = "known";
/** The first bytes. The last of them is the version of the format. */
export const KNOWN_MAGIC = "runcEXE\x01";
/** A larger file, or a request that is larger, is not kept. */
export const KNOWN_LIMIT = 1 << 20, REQUEST_LIMIT = 32 * 1024;
/** So many execs are kept. */
export const MOST_KNOWN = 4;

/** Offsets in the head. */
export const knownHead = {
  magic: 0,
  length: 8,
  count: 12,
  identity: 16,
  program: 72,
  namespaces: 128,
  capabilities: 160,
  entries: 184,
} as const;

/** The caller's namespaces that decide what paths, pids and ids mean. */
export const callersNamespaces = ["user", "mnt", "pid", "cgroup"] as const;

/** The size of the sets of capget(2). */
export const CAPABILITY_BYTES = 24;

/** What happens besides, as bits. */
export const KnownFlag = {
  /** The command ends once the process runs. */
  detached: 1,
  /** Init says that the command was found. */
  created: 2,
  /** Init closes the socket once its filter is loaded. */
  end: 4,
} as const;

/** Numbers of an entry: their offsets. All of them have 4 bytes. */
export const entryOffsets = {
  length: 0,
  flags: 4,
  /** How many there are. */
  words: 8,
  /** Numbers of the stage's descriptors. `lowest`: no descriptor that is given one may have this number or a higher one. */
  lowest: 12,
  sync: 16,
  proc: 20,
  /** In the foreground: S_IFMT of the mode of each standard stream. */
  stdin: 24,
  stdout: 28,
  stderr: 32,
  /** Where the process's pid belongs in the monitor's image. */
  pidPlace: 36,
  /** The owner of the process's pipes. */
  uid: 40,
  gid: 44,
  /** In the foreground: how many arguments the program has, with its name. */
  arguments: 48,
  sections: 56,
} as const;

/** The sections of an entry, in the order of their places: offset from the entry and length in bytes, 4 bytes each. */
export const knownSections = [
  /** The words after `exec`, each with a NUL; a file that is read or written is {@link ANY_WORD} instead. */
  "argv",
  /** In the foreground: the values of --root, --log and --log-format, each with a NUL. */
  "root",
  "log",
  "format",
  /** The content of process.json, or of config.json. */
  "request",
  /** The path of config.json, with a NUL; empty: the path of process.json is a word. */
  "requestPath",
  /** What init sends of the container's /etc/passwd, and what it is answered. */
  "passwd",
  "home",
  /** {@link RLIMIT_SIZE} bytes each. */
  "rlimitTable",
  /** {@link NAMESPACE_SIZE} bytes each. */
  "namespaceTable",
  /** The program of stage and init. */
  "image",
  /** The program of the monitor; empty if the process is detached. */
  "monitor",
] as const;

/** The length of an entry's numbers and places, a multiple of 8 bytes. */
export const ENTRY_HEAD: number = entryOffsets.sections + 8 * knownSections.length;

/** The name of a section. */
export type KnownSection = typeof knownSections[number];

/** Stands for a word that may differ. No word that is compared may begin with it. */
export const ANY_WORD = "\x01";

/** Three numbers of 8 bytes: the resource, the soft limit, the hard limit. */
export const RLIMIT_SIZE = 24;
/** A descriptor's number of 8 bytes, the path of init's namespace of 32, of ours of 24: with NUL. */
export const NAMESPACE_SIZE = 64, NAMESPACE_PATH = 8, OWN_NAMESPACE_PATH = 40;

/** The descriptors of the monitor. Its standard streams are 0, 1 and 2. */
export const monitorNumbers = { signals: 48, "stdin pipe": 49, "stdout pipe": 50, "stderr pipe": 51 } as const;

/** A descriptor's number for stage and init, and the file of the namespace in /proc/PID/ns. */
export interface KnownNamespace {
  readonly number: number;
  readonly file: string;
}

/** An exec that can be done again. */
export interface KnownExec {
  readonly flags: number;
  readonly argv: readonly string[];
  readonly root: string;
  readonly log: string;
  readonly format: string;
  readonly request: Uint8Array;
  readonly requestPath: string;
  readonly passwd: Uint8Array;
  /** With its NUL. */
  readonly home: Uint8Array;
  readonly rlimits: readonly { readonly resource: number; readonly soft: bigint; readonly hard: bigint }[];
  /** The container's init. */
  readonly init: number;
  readonly namespaces: readonly KnownNamespace[];
  readonly numbers: { readonly lowest: number; readonly sync: number; readonly proc: number };
  readonly image: Uint8Array;
  readonly monitor: Uint8Array;
  readonly pidPlace: number;
  readonly streams: readonly [stdin: number, stdout: number, stderr: number];
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly ownArguments: number;
}

/** What has to be the same for all execs of a file. */
export interface KnownFor {
  /** The words of `identityOffsets` of state.json, and of the program's file. */
  readonly identity: readonly bigint[];
  readonly program: readonly bigint[];
  /** Inode numbers, in the order of {@link callersNamespaces}. */
  readonly namespaces: readonly bigint[];
  readonly capabilities: Uint8Array;
}

const encoder = new TextEncoder();
const text = (value: string) => encoder.encode(`${value}\0`);
const padded = (length: number) => Math.ceil(length / 8) * 8;

/** Encodes an entry. */
export function encodeKnownExec(known: KnownExec): Uint8Array<ArrayBuffer> {
  const contents: Readonly<Record<KnownSection, Uint8Array>> = {
    ...known,
    argv: encoder.encode(known.argv.map((word) => `${word}\0`).join("")),
    root: text(known.root),
    log: text(known.log),
    format: text(known.format),
    requestPath: known.requestPath === "" ? new Uint8Array() : text(known.requestPath),
    rlimitTable: rlimitTable(known),
    namespaceTable: namespaceTable(known),
  };
  const entry = new Uint8Array(knownSections.reduce((sum, name) => sum + padded(contents[name].length), ENTRY_HEAD));
  const view = new DataView(entry.buffer);
  const numbers: Readonly<Record<Exclude<keyof typeof entryOffsets, "sections">, number>> = {
    length: entry.length,
    flags: known.flags,
    words: known.argv.length,
    ...known.numbers,
    stdin: known.streams[0],
    stdout: known.streams[1],
    stderr: known.streams[2],
    pidPlace: known.pidPlace,
    ...known.owner,
    arguments: known.ownArguments,
  };
  for (const [name, number] of Object.entries(numbers)) {
    view.setUint32(entryOffsets[name as keyof typeof numbers], number, true);
  }
  let end = ENTRY_HEAD;
  knownSections.forEach((name, index) => {
    const content = contents[name];
    view.setUint32(entryOffsets.sections + 8 * index, end, true);
    view.setUint32(entryOffsets.sections + 8 * index + 4, content.length, true);
    entry.set(content, end);
    end += padded(content.length);
  });
  return entry;
}

function rlimitTable({ rlimits }: KnownExec): Uint8Array {
  return new Uint8Array(
    BigUint64Array.from(rlimits.flatMap(({ resource, soft, hard }) => [BigInt(resource), soft, hard])).buffer,
  );
}

function namespaceTable({ init, namespaces }: KnownExec): Uint8Array {
  const table = new Uint8Array(NAMESPACE_SIZE * namespaces.length);
  const view = new DataView(table.buffer);
  namespaces.forEach(({ number, file }, index) => {
    const start = NAMESPACE_SIZE * index;
    view.setUint32(start, number, true);
    table.set(text(`/proc/${init}/ns/${file}`), start + NAMESPACE_PATH);
    table.set(text(`/proc/self/ns/${file}`), start + OWN_NAMESPACE_PATH);
  });
  return table;
}

/** The head of a file without entries. */
function encodeHead({ identity, program, namespaces, capabilities }: KnownFor): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(knownHead.entries);
  const view = new DataView(head.buffer);
  const words = (at: number, values: readonly bigint[]) =>
    values.forEach((word, index) => view.setBigUint64(at + IDENTITY_WORD * index, BigInt.asUintN(64, word), true));
  head.set(encoder.encode(KNOWN_MAGIC), knownHead.magic);
  words(knownHead.identity, identity);
  words(knownHead.program, program);
  words(knownHead.namespaces, namespaces);
  head.set(capabilities, knownHead.capabilities);
  return head;
}

/**
 * The file with one more entry, which comes first; undefined if it is too large. `before`: the file as it is; what it has
 * for another state, program or caller is left out, and so is the same request.
 */
export function addKnownExec(
  before: Uint8Array | undefined,
  head: KnownFor,
  known: KnownExec,
): Uint8Array<ArrayBuffer> | undefined {
  const entry = encodeKnownExec(known);
  const others = entriesOf(before, head).filter((other) => !isSameRequest(other, entry));
  const entries = [entry, ...others].slice(0, MOST_KNOWN);
  const length = entries.reduce((sum, { length }) => sum + length, knownHead.entries + 8);
  if (length > KNOWN_LIMIT || known.request.length > REQUEST_LIMIT) return undefined;
  const file = new Uint8Array(length);
  file.set(encodeHead(head));
  const view = new DataView(file.buffer);
  view.setUint32(knownHead.length, length, true);
  view.setUint32(knownHead.count, entries.length, true);
  let end: number = knownHead.entries;
  for (const each of entries) {
    file.set(each, end);
    end += each.length;
  }
  return file;
}

/** The entries of a file with this head; none if anything about it is wrong. */
function entriesOf(file: Uint8Array | undefined, head: KnownFor): readonly Uint8Array[] {
  const expected = encodeHead(head);
  if (file === undefined || file.length < expected.length) return [];
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const count = view.getUint32(knownHead.count, true);
  expected.set(file.subarray(knownHead.length, knownHead.identity), knownHead.length);
  if (!isEqual(expected, file.subarray(0, expected.length)) || count > MOST_KNOWN) return [];
  const entries: Uint8Array[] = [];
  let at: number = knownHead.entries;
  for (let index = 0; index < count; index++) {
    if (at + ENTRY_HEAD > file.length) return [];
    const length = view.getUint32(at + entryOffsets.length, true);
    if (length % 8 !== 0 || length < ENTRY_HEAD || at + length > file.length) return [];
    entries.push(file.subarray(at, at + length));
    at += length;
  }
  return entries;
}

/** The content of a section. */
function sectionOf(entry: Uint8Array, name: KnownSection): Uint8Array {
  const view = new DataView(entry.buffer, entry.byteOffset, entry.length);
  const at = entryOffsets.sections + 8 * knownSections.indexOf(name);
  const start = view.getUint32(at, true);
  return entry.subarray(start, start + view.getUint32(at + 4, true));
}

function isSameRequest(one: Uint8Array, other: Uint8Array): boolean {
  return (["argv", "root", "log", "format", "request"] as const).every((name) =>
    isEqual(sectionOf(one, name), sectionOf(other, name))
  );
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
