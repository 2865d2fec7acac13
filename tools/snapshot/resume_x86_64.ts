/**
 * The code at the start of a snapshot file. It restores the memory and resumes the program.
 *
 *     check that the file is complete and that the processor has the needed features
 *     map every area of memory at its old address
 *     reserve the addresses that V8 had reserved, unless the caller limits the address space
 *     set fs, tid, robust list and restartable sequences for this thread
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
  setrlimit: 160,
  gettid: 186,
  set_tid_address: 218,
  exit_group: 231,
  set_robust_list: 273,
  rseq: 334,
} as const;

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

/** The reason why a snapshot cannot be resumed. */
export type Reason = "processor" | "file" | "descriptors" | "memory" | "damaged";

/**
 * Messages for stderr, each with a final newline: one before the launcher is executed, one for when it cannot be
 * executed. In the file they are two addresses with lengths, of 8 bytes each.
 */
export interface Saying {
  readonly anew: string;
  readonly end: string;
}

/** Size of a {@link Saying} in bytes, without its texts. */
export const SAYING_SIZE = 32;

/** Addresses that the code contains. */
export interface ResumePlaces {
  /** The first entry of the table; the next field is the end of the last. */
  readonly table: number;
  readonly tableEnd: number;
  /** The same for the calls that reserve addresses. They are skipped if the caller limits the address space. */
  readonly reserve: number;
  readonly reserveEnd: number;
  /** The smallest limits in bytes with which resuming is tried: of the address space, and of writable memory. */
  readonly leastAddresses: number;
  readonly leastData: number;
  /** The addresses of "/proc/self/exe" and of the launcher's path. */
  readonly ownPath: number;
  readonly launcherPath: number;
  /** The address of the {@link Saying} for each reason. */
  readonly sayings: Readonly<Record<Reason, number>>;
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
const O_CLOEXEC = 0x80000, SEEK_END = 2, X_OK = 1;
/** "feat" as a little-endian number. */
const FEAT = 0x74616566;

/** Encodes the calls as a table. */
export function encodeTable(calls: readonly TableCall[]): Uint8Array<ArrayBuffer> {
  const table = new BigUint64Array(calls.length * ENTRY_SIZE / 8);
  calls.forEach(({ number, args, last, expected = ANY }, index) => {
    table.set([BigInt(number), ...args, last, expected], index * ENTRY_SIZE / 8);
  });
  return new Uint8Array(table.buffer);
}

/** Assembles the code. Its length depends on `cpu` alone. */
export function resumeCode(places: ResumePlaces, cpu: readonly CpuRequirement[]): Assembly {
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
    ...drawAgain(places),
  ]);
}

const call = (name: keyof typeof Sys): readonly Row[] => [movImm("eax", Sys[name]), syscall()];

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

/** Makes the calls of a non-empty table. `label`: the loop's label. */
const makeCalls = (label: string, { from, to }: { from: number; to: number }): readonly Row[] => [
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

/**
 * Reserves addresses, unless the caller has limits. Limits count reserved addresses even though they hold no memory.
 * Most callers have no limits.
 */
const reserveAddresses = ({ reserve, reserveEnd, leastAddresses, leastData }: ResumePlaces): readonly Row[] => [
  ...([[RLIMIT_AS, leastAddresses], [RLIMIT_DATA, leastData]] as const).flatMap(([resource, least]): readonly Row[] => [
    ...limit("getrlimit", resource),
    [load("rax", at("rbp", -16)), "the soft limit"],
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

const startAnew = ({ launcherPath, sayings }: ResumePlaces): readonly Row[] => [
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
  // Suppresses the message for `features`: some callers read its stdout and stderr as one text.
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
  "no_descriptor:",
  movImm64("r14", BigInt(sayings.descriptors)),
  short("jmp", "give_up"),
];

/** include/uapi/linux/auxvec.h, asm-generic/errno-base.h */
const AT_NULL = 0, AT_RANDOM = 25, AT_EXECFN = 31, EEXIST = 17;
/** The code gives up once in this many tries, a power of two: 64 tries of 0.3 ms are less than Deno's start. */
const TRIES = 64;

/**
 * Executes the file again if an address is in use. The kernel chooses the addresses of the stack, the vDSO and this
 * file at random at each execve, and may choose one that the snapshot needs: once in some thousand starts.
 *
 * No counter survives execve, so the process's random bytes decide whether to try again.
 */
const drawAgain = ({ ownPath }: ResumePlaces): readonly Row[] => [
  "not_mapped:",
  cmpImm("rax", -EEXIST),
  near("jne", "no_memory"),
  load("rcx", at("rbp", 0)),
  [lea("rdx", element("rbp", "rcx", 8, 16)), "envp"],
  mov("r13", "rdx"),
  "environment:",
  load("rax", at("r13", 0)),
  lea("r13", at("r13", 8)),
  cmpImm("rax", 0),
  short("jne", "environment"),
  ...findAuxiliary("random_bytes", AT_RANDOM, "no_memory"),
  load("eax", at("rdi", 0)),
  andImm("eax", TRIES - 1),
  near("je", "no_memory"),
  // The name that the file was executed by, so that the process keeps its name.
  ...findAuxiliary("own_name", AT_EXECFN, "by_link"),
  lea("rsi", at("rbp", 8)),
  ...call("execve"),
  "by_link:",
  movImm("edi", ownPath),
  lea("rsi", at("rbp", 8)),
  ...call("execve"),
  near("jmp", "no_memory"),
];

/** Loads the value of an entry of the auxiliary vector, from r13 on, to rdi. getauxval(3) */
const findAuxiliary = (label: string, type: number, missing: string): readonly Row[] => [
  `${label}:`,
  load("rax", at("r13", 0)),
  load("rdi", at("r13", 8)),
  lea("r13", at("r13", 16)),
  cmpImm("rax", AT_NULL),
  near("je", missing),
  cmpImm("rax", type),
  short("jne", label),
];

/** Prints the message. A failed write is ignored. */
function say(): readonly Row[] {
  return [
    [movImm("edi", 2), "standard error"],
    load("rsi", at("r14", 0)),
    load("rdx", at("r14", 8)),
    ...call("write"),
  ];
}
