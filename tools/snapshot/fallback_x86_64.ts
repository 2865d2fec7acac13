/**
 * The code in a snapshot file for when the memory cannot be restored: it executes the file again, executes the
 * launcher, or prints why it cannot.
 *
 * @module
 */

import {
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
  short,
} from "../../lib/plan/native/asm_x86_64.ts";
import type { Row } from "../../lib/plan/native/assembler.ts";
import { call } from "./calls.ts";

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

/** Addresses that this code contains. */
export interface FallbackPlaces {
  /** The addresses of "/proc/self/exe" and of the launcher's path. */
  readonly ownPath: number;
  readonly launcherPath: number;
  /** The address of the {@link Saying} for each reason. */
  readonly sayings: Readonly<Record<Reason, number>>;
}

/** asm-generic/unistd.h, ioctls.h */
const X_OK = 1, TCGETS = 0x5401;

/** Executes the launcher, or prints the reason and ends. The labels are the reasons. */
export const startAnew = ({ launcherPath, sayings }: FallbackPlaces): readonly Row[] => [
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
  // Only a person is told: callers read standard error as the command's, and some read both streams as one text.
  [movImm("edi", 2), "standard error"],
  [movImm("esi", TCGETS), "TCGETS: fails if this is no terminal"],
  [lea("rdx", at("rbp", -128)), "struct termios; below the stack"],
  ...call("ioctl"),
  cmpImm("rax", 0),
  short("jne", "execute"),
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
export const drawAgain = ({ ownPath }: FallbackPlaces): readonly Row[] => [
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
