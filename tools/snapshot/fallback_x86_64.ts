/**
 * The code in a snapshot file for when the memory cannot be restored: it executes the file again, executes the
 * launcher, or prints why it cannot.
 *
 * @module
 */

import {
  add,
  andImm,
  at,
  cmpImm,
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
  sub,
  xor,
} from "../../lib/plan/native/asm_x86_64.ts";
import type { Row } from "../../lib/plan/native/assembler.ts";
import { call } from "./calls.ts";

/** The reason why a snapshot cannot be resumed, or that the resumed program has crashed. */
export type Reason = "processor" | "file" | "descriptors" | "memory" | "damaged" | "crash";

/**
 * Messages for stderr: one before the launcher is executed, and one for when it cannot be executed, which is printed
 * with the launcher's path between its parts. They end with a newline. In the file they are three addresses with
 * lengths, of 8 bytes each.
 */
export interface Saying {
  readonly anew: string;
  readonly end: readonly [before: string, after: string];
}

/** Size of a {@link Saying} in bytes, without its texts. */
export const SAYING_SIZE = 48;

/** Addresses that this code contains. */
export interface FallbackPlaces {
  /** The address of "/proc/self/exe". */
  readonly ownPath: number;
  /** The address of the {@link Saying} for each reason. */
  readonly sayings: Readonly<Record<Reason, number>>;
}

/** The launcher's name is this file's with `.sh` appended. */
export const LAUNCHER_SUFFIX = ".sh";

/** asm-generic/unistd.h, ioctls.h */
const X_OK = 1, TCGETS = 0x5401;
const MAX_ERRNO = 4095;
/** linux/limits.h */
const PATH_MAX = 4096;
const STANDARD_ERROR: Row = [movImm("edi", 2), "standard error"];

/** Executes the launcher, or prints the reason and ends. The labels are the reasons. */
export const startAnew = (places: FallbackPlaces): readonly Row[] => [
  "other_processor:",
  movImm64("r14", BigInt(places.sayings.processor)),
  short("jmp", "start_anew"),
  "no_memory:",
  movImm64("r14", BigInt(places.sayings.memory)),
  "start_anew:",
  ...findLauncher(places, "no_file"),
  mov("rdi", "r13"),
  [movImm("esi", X_OK), "X_OK"],
  ...call("access"),
  cmpImm("rax", 0),
  short("jne", "give_up"),
  // Only a person is told: callers read standard error as the command's, and some read both streams as one text.
  STANDARD_ERROR,
  [movImm("esi", TCGETS), "TCGETS: fails if this is no terminal"],
  [lea("rdx", at("rbp", -128)), "struct termios; below the stack"],
  ...call("ioctl"),
  cmpImm("rax", 0),
  short("jne", "execute"),
  STANDARD_ERROR,
  load("rsi", at("r14", 0)),
  load("rdx", at("r14", 8)),
  // A failed write is ignored.
  ...call("write"),
  "execute:",
  load("rcx", at("rbp", 0)),
  mov("rdi", "r13"),
  lea("rsi", at("rbp", 8)),
  lea("rdx", element("rbp", "rcx", 8, 16)),
  ...call("execve"),
  "give_up:",
  ...sayAll(),
  movImm("edi", 1),
  ...call("exit_group"),
  ...giveUpBecause("no_file", places.sayings.file),
  ...giveUpBecause("damaged", places.sayings.damaged),
  ...giveUpBecause("no_descriptor", places.sayings.descriptors),
];

/** Prints a message without a path and ends. */
const giveUpBecause = (label: string, saying: number): readonly Row[] => [
  `${label}:`,
  movImm64("r14", BigInt(saying)),
  ...noPath(),
  short("jmp", "give_up"),
];

const noPath = (): readonly Row[] => [xor("ecx", "ecx"), mov("r12", "rcx")];

/**
 * Writes the launcher's path below the stack, its address to r13 and its length to r12. Jumps to `missing` if the path
 * of this file cannot be read.
 */
const findLauncher = ({ ownPath }: FallbackPlaces, missing: string): readonly Row[] => [
  mov("r13", "rbp"),
  movImm("ecx", 2 * PATH_MAX),
  sub("r13", "rcx"),
  movImm("edi", ownPath),
  mov("rsi", "r13"),
  movImm("edx", PATH_MAX),
  ...call("readlink"),
  cmpImm("rax", -MAX_ERRNO),
  near("jae", missing),
  mov("rcx", "r13"),
  add("rcx", "rax"),
  [movImm("edx", new DataView(new TextEncoder().encode(`${LAUNCHER_SUFFIX}\0`).buffer).getUint32(0, true)), ".sh"],
  store(at("rcx", 0), "edx"),
  lea("rcx", at("rax", LAUNCHER_SUFFIX.length)),
  mov("r12", "rcx"),
];

/** Prints the message's last two parts, with the path between them. */
const sayAll = (): readonly Row[] => [
  ...[0, 8].flatMap((offset) => [load("rax", at("r14", 16 + offset)), store(at("rbp", offset - 48), "rax")]),
  store(at("rbp", -32), "r13"),
  store(at("rbp", -24), "r12"),
  ...[0, 8].flatMap((offset) => [load("rax", at("r14", 32 + offset)), store(at("rbp", offset - 16), "rax")]),
  STANDARD_ERROR,
  [lea("rsi", at("rbp", -48)), "struct iovec; below the stack"],
  movImm("edx", 3),
  ...call("writev"),
];

/** The labels of the handler for signals that end a process because of an error, and of its restorer. */
export const CRASHED = "crashed", RESTORER = "restorer";

/**
 * The signal handler: prints how to run the same command without the snapshot. Then the signal, whose action is the
 * default again (SA_RESETHAND), ends the process.
 */
export const sayCrash = (places: FallbackPlaces): readonly Row[] => [
  `${CRASHED}:`,
  mov("rbp", "rsp"),
  [mov("ebx", "edi"), "the signal"],
  movImm64("r14", BigInt(places.sayings.crash)),
  ...findLauncher(places, "raise"),
  ...sayAll(),
  "raise:",
  ...call("getpid"),
  mov("edi", "eax"),
  mov("esi", "ebx"),
  ...call("kill"),
  ret(),
  `${RESTORER}:`,
  ...call("rt_sigreturn"),
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
export const drawAgain = ({ ownPath }: FallbackPlaces): readonly Row[] => [
  "not_mapped:",
  cmpImm("rax", -EEXIST),
  near("jne", "no_memory"),
  ...findRandomBytes("seed", "no_memory"),
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

/**
 * Loads the address of the 16 random bytes that the kernel gives each process to rdi, and that of the environment to
 * rdx. `label`: makes the labels unique.
 */
export const findRandomBytes = (label: string, missing: string): readonly Row[] => [
  load("rcx", at("rbp", 0)),
  [lea("rdx", element("rbp", "rcx", 8, 16)), "envp"],
  mov("r13", "rdx"),
  `${label}_environment:`,
  load("rax", at("r13", 0)),
  lea("r13", at("r13", 8)),
  cmpImm("rax", 0),
  short("jne", `${label}_environment`),
  ...findAuxiliary(`${label}_bytes`, AT_RANDOM, missing),
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
