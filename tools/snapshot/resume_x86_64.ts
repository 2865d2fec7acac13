/**
 * The code at the start of a snapshot file. It restores the memory and resumes the program.
 *
 *     check that the file is complete and that the processor has the needed features
 *     map every area of memory at its old address
 *     if the file is not in the page cache, read what commands use
 *     populate the pages that a command like this one writes to
 *     set fs, tid, robust list and restartable sequences for this thread
 *     reserve the addresses that V8 had reserved, unless the caller limits the address space
 *     draw the stack canary and the pointer guard
 *     load the registers, return
 *
 * The code does not wait, allocate or read: all calls were fixed when the file was written. If a call fails, or the
 * processor lacks a feature that the program was compiled for, it prints the reason on stderr and executes the
 * launcher, which starts the program from scratch. If there is no launcher either, the file is incomplete, or the hard
 * limit of open files leaves no descriptor, it prints that and exits with status 1.
 *
 * @see tools/snapshot/snapshot.ts
 * @module
 */

import { Errno } from "../../lib/ffi/errno.ts";
import type { SnapshotPoint } from "../../lib/ffi/snapshot.ts";
import {
  andImm,
  at,
  cmp,
  cmpImm,
  cpuid,
  element,
  int3,
  lea,
  load,
  mov,
  movImm,
  movImm64,
  near,
  ret,
  rolImm,
  shlImm,
  short,
  shrImm,
  store,
  syscall,
  testByteImm,
  xor,
} from "../../lib/plan/native/asm_x86_64.ts";
import { assemble, type Assembly, type Row } from "../../lib/plan/native/assembler.ts";
import { call } from "./calls.ts";
import { drawAgain, type FallbackPlaces, findRandomBytes, sayCrash, startAnew } from "./fallback_x86_64.ts";
import { ROTATION } from "./guards.ts";
import { PAGE } from "./memory.ts";

/** A system call in the table. The fifth argument is always the file's own descriptor. Only mmap(2) uses it. */
export interface TableCall {
  readonly number: number;
  readonly args: readonly [bigint, bigint, bigint, bigint];
  /** The sixth argument. */
  readonly last: bigint;
  /** The only acceptable result; undefined if the call may fail. */
  readonly expected?: bigint;
}

/** Size of a table entry in bytes: number, arguments 1 to 4 and 6, expected result. */
export const ENTRY_SIZE = 56;
/** Marks a result that is not checked. No call returns this value. */
const ANY = 0xffff_ffff_ffff_ffffn;

/** CPUID bits that must be set. */
export interface CpuRequirement {
  readonly leaf: number;
  readonly register: "ebx" | "ecx" | "edx";
  readonly bits: number;
}

/** The addresses of a table's first entry and of its end. */
export interface Table {
  readonly from: number;
  readonly to: number;
}

/** Calls for command lines with one of the words, of which the first four characters count. */
export interface Populate {
  readonly hasWord: readonly string[];
  readonly table: Table;
}

/** Addresses that the code contains. */
export interface ResumePlaces extends FallbackPlaces {
  /** The calls that map the memory. */
  readonly map: Table;
  /** The calls that restore the kernel's records of the thread. */
  readonly thread: Table;
  /** The calls that read pages from the disk. They are made if the last one of these pages is not cached. */
  readonly readAhead: Table;
  readonly lastRead: { readonly address: bigint; readonly offset: number };
  /** Whether the process is traced, and raises SIGTRAP when the memory is mapped. */
  readonly isTraced: boolean;
  /** The calls that populate pages: one of the tables, chosen by the words of the command line. */
  readonly populate: readonly Populate[];
  /** The calls that reserve addresses. They are skipped if the caller limits the address space. */
  readonly reserve: Table;
  /** The tables of {@link GuardedWords}: addresses of 8 bytes each. */
  readonly canaries: Table;
  readonly guards: Table;
  readonly pointers: Table;
  /** The smallest limits in bytes with which resuming is tried: of the address space, and of writable memory. */
  readonly leastAddresses: number;
  readonly leastData: number;
  /** Length of the whole file in bytes. */
  readonly fileSize: number;
  readonly point: SnapshotPoint;
  /** The address of the thread's id in its control block. */
  readonly threadId: bigint;
}

/** The offset in the register block for the address of the initial stack. */
const STACK_AT = 56;
const MAX_ERRNO = 4095;
/** asm-generic/fcntl.h, unistd.h */
const O_CLOEXEC = 0x80000, SEEK_END = 2;

/** Encodes the calls as a table. */
export function encodeTable(calls: readonly TableCall[]): Uint8Array<ArrayBuffer> {
  const table = new BigUint64Array(calls.length * ENTRY_SIZE / 8);
  calls.forEach(({ number, args, last, expected = ANY }, index) => {
    table.set([BigInt(number), ...args, last, expected], index * ENTRY_SIZE / 8);
  });
  return new Uint8Array(table.buffer);
}

/**
 * Assembles the code. Its length does not depend on addresses. `front`: runs before everything else, and leaves rsp
 * as it is.
 */
export function resumeCode(
  places: ResumePlaces,
  cpu: readonly CpuRequirement[],
  front: readonly Row[] = [],
): Assembly {
  return assemble([
    ...front,
    [mov("rbp", "rsp"), "argc, argv, envp"],
    ...openFile(places),
    ...checkProcessor(cpu),
    [mov("rbx", "r12"), "the descriptor"],
    ...makeCalls("next", places.map),
    ...(places.isTraced ? [int3()] : []),
    ...readPages(places),
    ...populatePages(places.populate),
    ...makeCalls("next_of_thread", places.thread),
    ...reserveAddresses(places),
    ...becomeThread(places),
    ...drawGuards(places),
    ...goOn(places),
    ...startAnew(places),
    ...drawAgain(places),
    ...sayCrash(places),
  ]);
}

/** asm-generic/resource.h */
const RLIMIT_DATA = 2, RLIMIT_NOFILE = 7, RLIMIT_AS = 9;

/** Gets or sets a limit: the soft one at rbp - 16, the hard one at rbp - 8, below the stack. */
const limit = (name: "getrlimit" | "setrlimit", resource: number): readonly Row[] => [
  movImm("edi", resource),
  lea("rsi", at("rbp", -16)),
  ...call(name),
];

const openOwnFile = (path: number): readonly Row[] => [
  movImm("edi", path),
  [movImm("esi", O_CLOEXEC), "O_RDONLY|O_CLOEXEC"],
  ...call("open"),
];

/**
 * Opens the file and checks its size. A page beyond the file's end can be mapped, but using it raises SIGBUS.
 *
 * If the soft limit of open files leaves no descriptor, the hard limit applies for the open. The program, which raises
 * the limit for itself, has to see the caller's.
 */
const openFile = ({ ownPath, fileSize }: ResumePlaces): readonly Row[] => [
  ...openOwnFile(ownPath),
  cmpImm("rax", -Errno.EMFILE),
  short("jne", "opened"),
  ...limit("getrlimit", RLIMIT_NOFILE),
  [load("rbx", at("rbp", -16)), "the caller's soft limit"],
  load("rax", at("rbp", -8)),
  store(at("rbp", -16), "rax"),
  ...limit("setrlimit", RLIMIT_NOFILE),
  ...openOwnFile(ownPath),
  mov("r12", "rax"),
  store(at("rbp", -16), "rbx"),
  ...limit("setrlimit", RLIMIT_NOFILE),
  mov("rax", "r12"),
  cmpImm("rax", -Errno.EMFILE),
  near("je", "no_descriptor"),
  "opened:",
  cmpImm("rax", -MAX_ERRNO),
  near("jae", "no_file"),
  [mov("r12", "rax"), "the descriptor; cpuid takes ebx"],
  mov("rdi", "rax"),
  xor("esi", "esi"),
  [movImm("edx", SEEK_END), "SEEK_END"],
  ...call("lseek"),
  cmpImm("rax", fileSize),
  near("jb", "damaged"),
];

function checkProcessor(cpu: readonly CpuRequirement[]): readonly Row[] {
  return cpu.flatMap(({ leaf, register, bits }): Row[] => [
    movImm("eax", leaf),
    xor("ecx", "ecx"),
    cpuid(),
    andImm(register, bits),
    cmpImm(register, bits),
    near("jne", "other_processor"),
  ]);
}

/** Makes the calls of a table. `label`: the loop's label. */
const makeCalls = (label: string, { from, to }: Table): readonly Row[] =>
  from === to ? [] : [
    [movImm64("r13", BigInt(from)), "the current entry"],
    `${label}:`,
    load("rax", at("r13", 0)),
    load("rdi", at("r13", 8)),
    load("rsi", at("r13", 16)),
    load("rdx", at("r13", 24)),
    load("r10", at("r13", 32)),
    mov("r8", "rbx"),
    load("r9", at("r13", 40)),
    syscall(),
    load("rcx", at("r13", 48)),
    cmp("rax", "rcx"),
    short("je", `${label}_good`),
    cmpImm("rcx", -1),
    near("jne", "not_mapped"),
    `${label}_good:`,
    lea("r13", at("r13", ENTRY_SIZE)),
    cmpImm("r13", to),
    short("jb", label),
  ];

/** linux/fs.h */
const RWF_NOWAIT = 8;

/**
 * Reads the pages that commands use, if the last one of them is not in the page cache. Otherwise each of their first
 * faults would wait for the disk, which reads much around it.
 *
 * mincore(2) tells the file's owner and root, and says yes to everybody else. For them, a byte of the page is read
 * without waiting; rarely, this is late enough to find what it has requested itself. If the kernel does not say, the
 * pages are cached.
 */
const readPages = ({ readAhead, lastRead }: ResumePlaces): readonly Row[] =>
  readAhead.from === readAhead.to ? [] : [
    movImm64("rdi", lastRead.address),
    movImm("esi", PAGE),
    [lea("rdx", at("rbp", -24)), "a byte below the stack"],
    ...call("mincore"),
    testByteImm(at("rbp", -24), 1),
    short("je", "read"),
    [lea("rax", at("rbp", -24)), "the same byte"],
    store(at("rbp", -16), "rax"),
    movImm("eax", 1),
    store(at("rbp", -8), "rax"),
    mov("edi", "ebx"),
    [lea("rsi", at("rbp", -16)), "struct iovec"],
    movImm("edx", 1),
    movImm("r10d", lastRead.offset),
    xor("r8d", "r8d"),
    movImm("r9d", RWF_NOWAIT),
    ...call("preadv2"),
    cmpImm("rax", -Errno.EAGAIN),
    short("jne", "cached"),
    "read:",
    ...makeCalls("next_read", readAhead),
    "cached:",
  ];

/**
 * Populates pages by the first table of which the command line has a word, or by the last one. This is a guess: a wrong
 * one costs time only.
 */
const populatePages = (tables: readonly Populate[]): readonly Row[] =>
  tables.length === 0 ? [] : [
    [lea("r13", at("rbp", 8)), "argv"],
    "next_word:",
    load("rcx", at("r13", 0)),
    cmpImm("rcx", 0),
    near("je", `populate_${tables.length - 1}`),
    [load("eax", at("rcx", 0)), "a shorter word is followed by the next one or the environment"],
    ...tables.flatMap(({ hasWord }, index) =>
      hasWord.flatMap((word): Row[] => [cmpImm("eax", firstFour(word)), near("je", `populate_${index}`)])
    ),
    lea("r13", at("r13", 8)),
    short("jmp", "next_word"),
    ...tables.flatMap(({ table }, index): Row[] => [
      `populate_${index}:`,
      ...makeCalls(`next_populated_${index}`, table),
      near("jmp", "populated"),
    ]),
    "populated:",
  ];

/** The first four bytes of a word as it is in memory. */
const firstFour = (word: string) =>
  new DataView(new TextEncoder().encode(`${word}\0`.slice(0, 4)).buffer).getInt32(0, true);

/**
 * Reserves addresses, unless the caller has limits. Limits count reserved addresses even though they hold no memory.
 * Most callers have no limits.
 */
const reserveAddresses = ({ reserve, leastAddresses, leastData }: ResumePlaces): readonly Row[] => [
  ...([[RLIMIT_AS, leastAddresses], [RLIMIT_DATA, leastData]] as const).flatMap(([resource, least]): readonly Row[] => [
    ...limit("getrlimit", resource),
    [load("rax", at("rbp", -16)), "the soft limit"],
    [cmpImm("rax", least), "RLIM_INFINITY is the largest of all"],
    near("jb", "no_memory"),
    cmpImm("rax", -1),
    near("jne", "mapped"),
  ]),
  ...makeCalls("next_reserved", reserve),
  "mapped:",
  mov("edi", "ebx"),
  ...call("close"),
];

/** Updates what the memory records about the process. The table's calls update the kernel's records of the thread. */
const becomeThread = ({ point, threadId }: ResumePlaces): readonly Row[] => [
  ...call("gettid"),
  movImm64("rcx", threadId),
  store(at("rcx", 0), "eax"),
  load("rcx", at("rbp", 0)),
  [lea("rax", element("rbp", "rcx", 8, 16)), "envp: after argc, argv and its NULL"],
  movImm64("rcx", point.environ),
  store(at("rcx", 0), "rax"),
];

/** Draws the secrets of {@link GuardedWords} as libc does at a start: from the random bytes that the kernel provides. */
const drawGuards = ({ canaries, guards, pointers }: ResumePlaces): readonly Row[] => [
  ...findRandomBytes("secret", "no_memory"),
  load("rax", at("rdi", 0)),
  shrImm("rax", 8),
  [shlImm("rax", 8), "the canary: a zero byte ends strings"],
  [load("rdx", at("rdi", 8)), "the pointer guard"],
  ...applyTo("next_canary", canaries, "rax"),
  ...applyTo("next_guard", guards, "rdx"),
  rolImm("rdx", ROTATION),
  ...applyTo("next_pointer", pointers, "rdx"),
];

const applyTo = (label: string, { from, to }: Table, secret: "rax" | "rdx"): readonly Row[] =>
  from === to ? [] : [
    movImm64("r13", BigInt(from)),
    `${label}:`,
    load("rcx", at("r13", 0)),
    load("rsi", at("rcx", 0)),
    xor("rsi", secret),
    store(at("rcx", 0), "rsi"),
    lea("r13", at("r13", 8)),
    cmpImm("r13", to),
    short("jb", label),
  ];

const goOn = ({ point }: ResumePlaces): readonly Row[] => [
  movImm64("rdi", point.registers),
  store(at("rdi", STACK_AT), "rbp"),
  load("rbx", at("rdi", 0)),
  load("rbp", at("rdi", 8)),
  load("r12", at("rdi", 16)),
  load("r13", at("rdi", 24)),
  load("r14", at("rdi", 32)),
  load("r15", at("rdi", 40)),
  load("rsp", at("rdi", 48)),
  [movImm("eax", 1), "the return value of freeze in the resumed process"],
  ret(),
];
