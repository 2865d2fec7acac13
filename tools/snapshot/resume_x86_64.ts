/**
 * What a frozen program's file begins with: code that puts its memory back and goes on in it.
 *
 *     see whether the file is whole, and the processor can what is in it
 *     map every area of memory, each where it was
 *     keep the addresses free that V8 has reserved, unless the caller limits them
 *     make fs, tid, robust list and restartable sequences this thread's own
 *     load the registers, return
 *
 * Nothing of it waits, allocates or reads: which calls there are was decided when the file was made. Where one of them fails, or the
 * processor lacks something that the program has been compiled for, it says so on standard error and executes the launcher instead, which
 * starts the program anew. Where there is no launcher either, or the file is cut, it says that and ends with status 1.
 *
 * @see tools/snapshot/snapshot.ts
 * @module
 */

import type { FreezePoint } from "../../lib/ffi/snapshot.ts";
import {
  andImm,
  at,
  cmp,
  cmpImm,
  cpuid,
  element,
  lea,
  load,
  mov,
  movImm,
  movImm64,
  near,
  ret,
  short,
  store,
  syscall,
  xor,
} from "../../lib/plan/native/asm_x86_64.ts";
import { assemble, type Assembly, type Row } from "../../lib/plan/native/assembler.ts";

/** arch/x86/entry/syscalls/syscall_64.tbl */
export const Sys = {
  write: 1,
  open: 2,
  close: 3,
  lseek: 8,
  mmap: 9,
  rt_sigaction: 13,
  access: 21,
  madvise: 28,
  execve: 59,
  getrlimit: 97,
  arch_prctl: 158,
  gettid: 186,
  set_tid_address: 218,
  exit_group: 231,
  set_robust_list: 273,
  rseq: 334,
} as const;

/** A system call of the table. The fifth argument is always the descriptor of the file itself, which mmap(2) alone looks at. */
export interface TableCall {
  readonly number: number;
  readonly args: readonly [bigint, bigint, bigint, bigint];
  /** The sixth argument. */
  readonly last: bigint;
  /** The only result that is good; undefined where it may fail. */
  readonly expected?: bigint;
}

/** Bytes of an entry of the table: number, arguments 1 to 4 and 6, expected result. */
export const ENTRY_SIZE = 56;
/** The result that is never looked at. No call answers it. */
const ANY = 0xffff_ffff_ffff_ffffn;

/** Bits of CPUID that have to be there. */
export interface CpuRequirement {
  readonly leaf: number;
  readonly register: "ebx" | "ecx" | "edx";
  readonly bits: number;
}

/** Why a program does not go on. */
export type Reason = "processor" | "file" | "memory" | "damaged";

/**
 * Lines for standard error, each with its line feed: before the launcher is executed, and where it cannot be. In the file they are two addresses with
 * lengths, of 8 bytes each.
 */
export interface Saying {
  readonly anew: string;
  readonly end: string;
}

/** Bytes of a {@link Saying} without its texts. */
export const SAYING_SIZE = 32;

/** Addresses that the code has in it. */
export interface ThawPlaces {
  /** The first entry of the table, and the end of the last. */
  readonly table: number;
  readonly tableEnd: number;
  /** The same of the calls that keep addresses free for later: they are left out where the caller limits how many there may be. */
  readonly reserve: number;
  readonly reserveEnd: number;
  /** The smallest limits of the caller, in bytes, with which going on is tried: of addresses, and of memory that is written to. */
  readonly leastAddresses: number;
  readonly leastData: number;
  /** "/proc/self/exe", and the launcher's path. */
  readonly ownPath: number;
  readonly launcherPath: number;
  /** Address of what is said in each case, see {@link Saying}. */
  readonly sayings: Readonly<Record<Reason, number>>;
  /** Length of the whole file in bytes. */
  readonly fileSize: number;
  readonly point: FreezePoint;
  /** Where the thread's control block has the thread's id. */
  readonly threadId: bigint;
}

/** Where in the block of registers the address of the initial stack is wanted. */
const STACK_AT = 56;
const MAX_ERRNO = 4095;
/** asm-generic/fcntl.h, unistd.h */
const O_CLOEXEC = 0x80000, SEEK_END = 2, X_OK = 1;
/** "feat", as the processor reads it. */
const FEAT = 0x74616566;

/** Encodes the table. */
export function encodeTable(calls: readonly TableCall[]): Uint8Array<ArrayBuffer> {
  const table = new BigUint64Array(calls.length * ENTRY_SIZE / 8);
  calls.forEach(({ number, args, last, expected = ANY }, index) => {
    table.set([BigInt(number), ...args, last, expected], index * ENTRY_SIZE / 8);
  });
  return new Uint8Array(table.buffer);
}

/** Assembles the code. Its length depends on `cpu` alone. */
export function thawCode(places: ThawPlaces, cpu: readonly CpuRequirement[]): Assembly {
  return assemble([
    [mov("rbp", "rsp"), "argc, argv, envp"],
    ...openFile(places),
    ...checkProcessor(cpu),
    [mov("rbx", "r12"), "the descriptor"],
    ...makeCalls("next", { from: places.table, to: places.tableEnd }),
    ...reserveAddresses(places),
    ...becomeThread(places),
    ...goOn(places),
    ...startAnew(places),
  ]);
}

const call = (name: keyof typeof Sys): readonly Row[] => [movImm("eax", Sys[name]), syscall()];

/** A page that is missing at the file's end could be mapped, and would be SIGBUS when it is used. */
const openFile = ({ ownPath, fileSize }: ThawPlaces): readonly Row[] => [
  movImm("edi", ownPath),
  [movImm("esi", O_CLOEXEC), "O_RDONLY|O_CLOEXEC"],
  ...call("open"),
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

/** Makes the calls of a table, which is not empty. `label`: of the loop. */
const makeCalls = (label: string, { from, to }: { from: number; to: number }): readonly Row[] => [
  [movImm64("r13", BigInt(from)), "the entry whose turn it is"],
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
  near("jne", "no_memory"),
  `${label}_good:`,
  lea("r13", at("r13", ENTRY_SIZE)),
  cmpImm("r13", to),
  short("jb", label),
];

/** asm-generic/resource.h */
const RLIMIT_DATA = 2, RLIMIT_AS = 9;

/** Addresses count against limits though nothing is there. Most callers have none. */
const reserveAddresses = ({ reserve, reserveEnd, leastAddresses, leastData }: ThawPlaces): readonly Row[] => [
  ...([[RLIMIT_AS, leastAddresses], [RLIMIT_DATA, leastData]] as const).flatMap(([limit, least]): readonly Row[] => [
    movImm("edi", limit),
    [lea("rsi", at("rbp", -16)), "the soft limit; below the stack"],
    ...call("getrlimit"),
    load("rax", at("rbp", -16)),
    [cmpImm("rax", least), "RLIM_INFINITY is the largest of all"],
    near("jb", "no_memory"),
    cmpImm("rax", -1),
    near("jne", "mapped"),
  ]),
  ...(reserve === reserveEnd ? [] : makeCalls("next_reserved", { from: reserve, to: reserveEnd })),
  "mapped:",
  mov("edi", "ebx"),
  ...call("close"),
];

/** What the kernel knows of a thread by address is in the table; here is what the memory knows of the process. */
const becomeThread = ({ point, threadId }: ThawPlaces): readonly Row[] => [
  ...call("gettid"),
  movImm64("rcx", threadId),
  store(at("rcx", 0), "eax"),
  load("rcx", at("rbp", 0)),
  [lea("rax", element("rbp", "rcx", 8, 16)), "envp: behind argc, argv and its NULL"],
  movImm64("rcx", point.environ),
  store(at("rcx", 0), "rax"),
];

const goOn = ({ point }: ThawPlaces): readonly Row[] => [
  movImm64("rdi", point.registers),
  store(at("rdi", STACK_AT), "rbp"),
  load("rbx", at("rdi", 0)),
  load("rbp", at("rdi", 8)),
  load("r12", at("rdi", 16)),
  load("r13", at("rdi", 24)),
  load("r14", at("rdi", 32)),
  load("r15", at("rdi", 40)),
  load("rsp", at("rdi", 48)),
  [movImm("eax", 1), "what freeze returns to whoever goes on"],
  ret(),
];

const startAnew = ({ launcherPath, sayings }: ThawPlaces): readonly Row[] => [
  "other_processor:",
  movImm64("r14", BigInt(sayings.processor)),
  short("jmp", "start_anew"),
  "no_file:",
  movImm64("r14", BigInt(sayings.file)),
  short("jmp", "start_anew"),
  "no_memory:",
  movImm64("r14", BigInt(sayings.memory)),
  "start_anew:",
  movImm("edi", launcherPath),
  [movImm("esi", X_OK), "X_OK"],
  ...call("access"),
  cmpImm("rax", 0),
  short("jne", "no_launcher"),
  load("rcx", at("rbp", 0)),
  cmpImm("rcx", 2),
  short("jb", "warn"),
  // Some callers read both streams of `features` as one text.
  load("rcx", at("rbp", 16)),
  load("eax", at("rcx", 0)),
  [cmpImm("eax", FEAT), "the first word begins with feat"],
  short("je", "execute"),
  "warn:",
  ...say(),
  "execute:",
  load("rcx", at("rbp", 0)),
  movImm("edi", launcherPath),
  lea("rsi", at("rbp", 8)),
  lea("rdx", element("rbp", "rcx", 8, 16)),
  ...call("execve"),
  "no_launcher:",
  lea("r14", at("r14", SAYING_SIZE / 2)),
  "give_up:",
  ...say(),
  movImm("edi", 1),
  ...call("exit_group"),
  "damaged:",
  movImm64("r14", BigInt(sayings.damaged)),
  short("jmp", "give_up"),
];

/** Nothing can be done where nobody listens. */
function say(): readonly Row[] {
  return [
    [movImm("edi", 2), "standard error"],
    load("rsi", at("r14", 0)),
    load("rdx", at("r14", 8)),
    ...call("write"),
  ];
}
