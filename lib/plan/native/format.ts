/**
 * The image's byte format, version 2. The encoder writes it and both executors read it.
 *
 * All numbers are little-endian. An image is an ELF header, the interpreter's code (mapped read-execute) and the
 * *program* (mapped read-write at {@link PROGRAM_BASE} plus its file offset): a header, the instruction table,
 * initialised data. In memory only, zeroed memory follows the data. In the file only, the relocation list follows it.
 *
 * @module
 */

/** The address where the interpreter's code is mapped: file offset 0 of the image. */
export const CODE_BASE = 0x400000;
/**
 * The program is mapped at this address plus its file offset. So one file page can serve both segments with any page
 * size (64 KiB at most, arm64).
 */
export const PROGRAM_BASE = 0x10000000;

/** "RUNP". */
export const MAGIC = 0x504e5552;
export const VERSION = 2;

/** Byte offsets in the program's header. Fields are u32 unless noted otherwise. */
export const header = {
  magic: 0,
  version: 4,
  /** Offset of the first instruction from the program's start. */
  entry: 8,
  /** Offset of the first instruction of `init`, where the second executor takes over. */
  initEntry: 12,
  /** Descriptor that reports are sent to. */
  reportFd: 16,
  /** Offset and length in bytes of the instruction table. */
  table: 20,
  tableLength: 24,
  /** Offset and length in bytes of the initialised data. */
  data: 28,
  dataLength: 32,
  /** Length in bytes of the zeroed memory that follows the data. */
  zeroLength: 36,
  /**
   * Offset of the relocation list (one u32 per entry: the offset of an 8-byte word in the data that holds an address),
   * and its number of entries.
   */
  relocations: 40,
  relocationCount: 44,
  /** The absolute address where the program's start is mapped. */
  base: 48,
  /** 16 bytes: the report that is being sent. The first slot follows it and is sent with it. See {@link report}. */
  report: 64,
  /** {@link SLOT_COUNT} u64 slots. */
  slots: 80,
} as const;

export const SLOT_COUNT = 56;
/**
 * This slot holds the address of the initial stack from the beginning: argc, argv and the environment, as passed to
 * execve(2). In the second executor, which runs on Deno's stack, it is 0.
 */
export const STACK_SLOT = 1;
/** The header's size: the instruction table starts here. */
export const HEADER_SIZE = 80 + 8 * SLOT_COUNT;

/**
 * A report, as sent on the report descriptor with MSG_NOSIGNAL: u32 kind, u32 offset of the instruction from the
 * program's start, i64 value, and the first slot, which follows it in memory and tells the turn of a loop.
 */
export const report = { kind: 0, instruction: 4, value: 8, cursor: 16, size: 24 } as const;
export const ReportKind = { error: 1, warning: 2 } as const;

/**
 * An instruction is a head of 8 bytes, `operands` u32 words and `handlers` u32 words.
 *
 *     u16 code      a system call's number, or an Opcode
 *     u16 kinds     an OperandKind of two bits per operand, the first operand in the lowest bits
 *     u8  operands  0 to 6; missing operands are 0
 *     u8  out       slot that receives the result, or NO_SLOT
 *     u8  handlers  number of handler words
 *     u8  flags     Flag bits
 *
 * A handler word is `errno << 24 | target / 4`: where execution continues if the system call fails with that errno. The
 * target is an offset from the program's start; 0 is the next instruction. Errno {@link ANY_ERRNO} matches every
 * failure. The first match is used. After a handled failure `out` holds −errno. A failure without a handler is reported
 * (kind error, value errno) and ends the process. EINTR is retried. With `Flag.retryAgain` EAGAIN is retried too, 128
 * times.
 */
export const ANY_ERRNO = 0xff;
/** Above it a handler word has the errno, of which programs see 133 at most; below it the target. asm-generic/errno.h */
export const ERRNO_SHIFT = 24;
/** Results from −MAX_ERRNO to −1 are failures: include/linux/err.h. */
export const MAX_ERRNO = 4095;
export const NO_SLOT = 0xff;
export const HEAD_SIZE = 8;
/** Byte offsets in the head. */
export const head = { code: 0, kinds: 2, operands: 4, out: 5, handlers: 6, flags: 7 } as const;
export const RETRY_LIMIT = 128;

export const OperandKind = {
  /** The word is the value, sign-extended to 64 bits. */
  immediate: 0,
  /** The word is the number of a slot. */
  slot: 1,
  /** The word is an absolute address, zero-extended. The second executor subtracts the header's `base`. */
  address: 2,
} as const;

export const Flag = { retryAgain: 1 } as const;

/** Codes from 0x8000 are the interpreter's own. Operands are named a, b, c in order. */
export const Opcode = {
  /** Continue at offset a. */
  jump: 0x8000,
  /** Continue at offset c if a == b (64 bits). */
  jumpEqual: 0x8001,
  /** Continue at offset c if a != b. */
  jumpNotEqual: 0x8002,
  /** out = the b bytes (1, 2, 4, 8) at address a, zero-extended. */
  load: 0x8003,
  /** The b bytes at address a = c. */
  store: 0x8004,
  /** out = a & b. */
  and: 0x8005,
  /** out = a + b. */
  add: 0x8006,
  /** out = a >> b (64 bits, filling with 0). Only the low 6 bits of b count. */
  shr: 0x8007,
  /** Report an error with value a, exit 1. */
  fail: 0x8008,
  /** Report a warning with value a, continue. */
  warn: 0x8009,
  /** out = a - b. */
  sub: 0x800a,
} as const;
