/**
 * The JavaScript executor: runs the same image as the native interpreter, with libc's syscall(2). Runs in: init,
 * started by the stage.
 *
 * It is the reference implementation: it does for each instruction what format.ts says, in the same order.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { MsgFlag, openFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { isInherited, open, sealedMemfd } from "../../ffi/files.ts";
import { isSameFile } from "../../ffi/process/kcmp.ts";
import { addressOf, alloc, type Kernel } from "../../ffi/kernel.ts";
import { listingBytes, trapListing } from "../../ffi/machine_code.ts";
import { spawn } from "../../ffi/process/process.ts";
import { syscallNumber } from "../../ffi/syscalls.ts";
import {
  ANY_ERRNO,
  ERRNO_SHIFT,
  Flag,
  HEAD_SIZE,
  header,
  HEADER_SIZE,
  MAGIC,
  NO_SLOT,
  Opcode,
  OperandKind,
  report,
  ReportKind,
  RETRY_LIMIT,
  SLOT_COUNT,
  VERSION,
} from "../../plan/native/format.ts";

/** The fixed descriptors have consecutive numbers: none is more than this above the report descriptor. */
const FIXED_LIMIT = 32;

const TARGET_MASK = (1 << ERRNO_SHIFT) - 1;

const SIGPIPE = 13, SIGXFSZ = 25, SIG_DFL = 0;

/** One instruction, decoded and checked. */
interface Decoded {
  readonly offset: number;
  readonly code: number;
  readonly operands: readonly { readonly kind: number; readonly word: number }[];
  readonly out: number;
  readonly handlers: readonly { readonly errno: number; readonly target: number }[];
  readonly flags: number;
  readonly next: number;
}

// elf(5): e_phoff, e_phnum, sizeof(Elf64_Phdr), and fields of a program header.
const PROGRAM_HEADERS = 32, HEADER_COUNT = 56, HEADER_LENGTH = 56, PT_LOAD = 1, P_OFFSET = 8, P_FILESZ = 32;

/** Offset of the program header of the second loadable segment, which is the program. */
function programSegment(image: DataView): number {
  const start = Number(image.getBigUint64(PROGRAM_HEADERS, true));
  const loads: number[] = [];
  for (let index = 0; index < image.getUint16(HEADER_COUNT, true); index++) {
    const at = start + index * HEADER_LENGTH;
    if (image.getUint32(at, true) === PT_LOAD) loads.push(at);
  }
  if (loads.length !== 2) throw new RuncError("internal", "the image does not have two segments");
  return loads[1]!;
}

/** A loaded image: its memory, and the code that runs its table. */
export class Executor {
  readonly #kernel: Kernel;
  /** The whole file, for the children of forks. */
  readonly #image: Uint8Array<ArrayBuffer>;
  readonly #programAt: number;
  /** The program as the kernel sees it: header, table, data, zeroed memory. */
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #address: bigint;
  readonly #base: number;
  readonly #tableEnd: number;
  readonly #procFd: number;
  /** The plan's fixed descriptors. They are close-on-exec, but a forked child needs them. */
  readonly #given: readonly number[];
  /** Deno's own copies of the standard streams. When the plan replaces a stream, its copies are replaced too. */
  readonly #copies: readonly { readonly stream: number; readonly fd: number }[];
  /** Offset in the file of the program's ELF program header. */
  readonly #segment: number;
  /** Positions in the memory that hold addresses, and their values in the image. */
  readonly #relocations: { readonly at: number; readonly address: bigint }[] = [];
  readonly #cloneNumber: number;
  readonly #execs: readonly number[];
  readonly #dup3: number;
  readonly #exitGroup: number;
  /** Code that ends the process. It is mapped early, because a seccomp filter may refuse mmap and mprotect later. */
  readonly #trap: Deno.PointerObject;

  /** @throws {RuncError} `internal` for an image of another version, or with wrong lengths. */
  constructor(kernel: Kernel, image: Uint8Array<ArrayBuffer>, procFd: number) {
    this.#kernel = kernel;
    this.#image = image;
    this.#procFd = procFd;
    const elf = new DataView(image.buffer, image.byteOffset);
    this.#segment = programSegment(elf);
    this.#programAt = Number(elf.getBigUint64(this.#segment + P_OFFSET, true));
    const file = new DataView(image.buffer, image.byteOffset + this.#programAt);
    const field = (name: keyof typeof header) => file.getUint32(header[name], true);
    if (field("magic") !== MAGIC || field("version") !== VERSION) {
      throw new RuncError("internal", "the image is of another version of the program");
    }
    const mapped = field("data") + field("dataLength");
    const end = this.#programAt + mapped + 4 * field("relocationCount");
    if (field("table") !== HEADER_SIZE || field("table") + field("tableLength") > mapped || end > image.length) {
      throw new RuncError("internal", "the image has wrong lengths");
    }
    this.#memory = alloc(mapped + field("zeroLength"));
    this.#memory.set(image.subarray(this.#programAt, this.#programAt + mapped));
    this.#view = new DataView(this.#memory.buffer);
    this.#address = addressOf(this.#memory);
    this.#base = field("base");
    this.#tableEnd = field("table") + field("tableLength");
    const numbers = Array.from({ length: field("reportFd") + FIXED_LIMIT }, (_, fd) => fd).slice(3);
    this.#given = numbers.filter((fd) => isInherited(kernel, fd));
    this.#copies = [0, 1, 2].flatMap((stream) =>
      numbers.filter((fd) => !this.#given.includes(fd) && isSameFile(kernel, stream, fd)).map((fd) => ({ stream, fd }))
    );
    this.#dup3 = syscallNumber("dup3", kernel.arch);
    this.#exitGroup = syscallNumber("exit_group", kernel.arch);
    this.#trap = kernel.mapCode(listingBytes(trapListing[kernel.arch]));
    this.#cloneNumber = syscallNumber("clone", kernel.arch);
    this.#execs = [syscallNumber("execve", kernel.arch), syscallNumber("execveat", kernel.arch)];
    this.#relocate(file, { at: field("relocations"), count: field("relocationCount"), data: field("data") });
  }

  /** Relocates addresses in the data: from the address where the image would be mapped to the address of this copy. */
  #relocate(file: DataView, { at, count, data }: { at: number; count: number; data: number }): void {
    for (let index = 0; index < count; index++) {
      const where = data + file.getUint32(at + 4 * index, true);
      const address = this.#view.getBigUint64(where, true);
      this.#relocations.push({ at: where, address });
      this.#view.setBigUint64(where, this.#address + address - BigInt(this.#base), true);
    }
  }

  /** Runs init from its first instruction. Returns only if the table ends without execve or exit. */
  run(): void {
    let at = this.#view.getUint32(header.initEntry, true);
    while (at < this.#tableEnd) at = this.#step(this.#decode(at));
  }

  #decode(offset: number): Decoded {
    const view = this.#view;
    const code = view.getUint16(offset, true);
    const kinds = view.getUint16(offset + 2, true);
    const operandCount = view.getUint8(offset + 4);
    const handlerCount = view.getUint8(offset + 6);
    const next = offset + HEAD_SIZE + 4 * (operandCount + handlerCount);
    if (operandCount > 6 || next > this.#tableEnd) throw new RuncError("internal", `broken instruction at ${offset}`);
    const operands = Array.from({ length: operandCount }, (_, index) => ({
      kind: (kinds >> (2 * index)) & 3,
      word: view.getUint32(offset + HEAD_SIZE + 4 * index, true),
    }));
    const handlers = Array.from({ length: handlerCount }, (_, index) => {
      const word = view.getUint32(offset + HEAD_SIZE + 4 * (operandCount + index), true);
      return { errno: word >>> ERRNO_SHIFT, target: 4 * (word & TARGET_MASK) };
    });
    return { offset, code, operands, out: view.getUint8(offset + 5), handlers, flags: view.getUint8(offset + 7), next };
  }

  #slot(number: number): bigint {
    if (number >= SLOT_COUNT) throw new RuncError("internal", `slot ${number}`);
    return this.#view.getBigInt64(header.slots + 8 * number, true);
  }

  #store(instruction: Decoded, value: bigint): void {
    if (instruction.out === NO_SLOT) return;
    this.#slot(instruction.out);
    this.#view.setBigInt64(header.slots + 8 * instruction.out, value, true);
  }

  #value({ kind, word }: Decoded["operands"][number]): bigint {
    if (kind === OperandKind.slot) return this.#slot(word);
    if (kind === OperandKind.address) return this.#address + BigInt(word - this.#base);
    return BigInt(word | 0);
  }

  /** Runs one instruction and returns the offset of the next one. */
  #step(instruction: Decoded): number {
    const values = instruction.operands.map((operand) => this.#value(operand));
    if (instruction.code === this.#cloneNumber) return this.#fork(instruction);
    if (instruction.code < Opcode.jump) return this.#call(instruction, values);
    const [a = 0n, b = 0n, c = 0n] = values;
    switch (instruction.code) {
      case Opcode.jump:
        return Number(a);
      case Opcode.jumpEqual:
        return a === b ? Number(c) : instruction.next;
      case Opcode.jumpNotEqual:
        return a !== b ? Number(c) : instruction.next;
      case Opcode.load:
        this.#store(instruction, this.#read(a, Number(b)));
        break;
      case Opcode.store:
        this.#write(a, Number(b), c);
        break;
      case Opcode.and:
        this.#store(instruction, a & b);
        break;
      case Opcode.add:
        this.#store(instruction, BigInt.asIntN(64, a + b));
        break;
      case Opcode.sub:
        this.#store(instruction, BigInt.asIntN(64, a - b));
        break;
      case Opcode.shr:
        this.#store(instruction, BigInt.asIntN(64, BigInt.asUintN(64, a) >> (b & 63n)));
        break;
      case Opcode.fail:
        return this.#fail(instruction, a);
      case Opcode.warn:
        this.#report(ReportKind.warning, instruction, a);
        break;
      default:
        return this.#fail(instruction, BigInt(Errno.ENOSYS));
    }
    return instruction.next;
  }

  #call(instruction: Decoded, values: readonly bigint[]): number {
    // The container's program would inherit ignored signals from Deno and the snapshot. signal(7), "Execution of
    // programs"
    if (this.#execs.includes(instruction.code)) {
      for (const signal of [SIGPIPE, SIGXFSZ]) this.#kernel.call("signal", signal, SIG_DFL);
    }
    for (let tries = 0;; tries++) {
      const result = this.#kernel.call("syscall", instruction.code, ...values);
      // A seccomp filter can make exit_group return.
      if (instruction.code === this.#exitGroup) this.#stop();
      if (result === -Errno.EINTR) continue;
      if (result === -Errno.EAGAIN && (instruction.flags & Flag.retryAgain) !== 0 && tries < RETRY_LIMIT) continue;
      return this.#settle(instruction, BigInt(result));
    }
  }

  #settle(instruction: Decoded, result: bigint): number {
    const failed = result < 0n && result >= -4095n;
    if (failed) {
      const handler = instruction.handlers.find(({ errno }) => errno === ANY_ERRNO || errno === -Number(result));
      if (handler === undefined) return this.#fail(instruction, -result);
      this.#store(instruction, result);
      return handler.target === 0 ? instruction.next : handler.target;
    }
    this.#store(instruction, result);
    if (instruction.code === this.#dup3) this.#follow(Number(result));
    return instruction.next;
  }

  /**
   * Puts the stream's new file in the place of Deno's copies of the stream. Otherwise the copies would keep the
   * runtime's output open, and its reader would wait for the end.
   */
  #follow(stream: number): void {
    const O_CLOEXEC = openFlag(this.#kernel.arch).O_CLOEXEC;
    for (const copy of this.#copies.filter((each) => each.stream === stream)) {
      this.#kernel.must(`dup3(${stream}, ${copy.fd})`, "dup3", stream, copy.fd, O_CLOEXEC);
    }
  }

  /** The offset in our memory of an address that the table has computed. */
  #inside(address: bigint, size: number): number {
    const at = Number(address - this.#address);
    if (at < 0 || at + size > this.#memory.length) {
      throw new RuncError("internal", "an instruction reaches outside of the image");
    }
    return at;
  }

  #read(address: bigint, size: number): bigint {
    const at = this.#inside(address, size);
    let value = 0n;
    for (let index = size - 1; index >= 0; index--) value = (value << 8n) | BigInt(this.#memory[at + index]!);
    return value;
  }

  #write(address: bigint, size: number, value: bigint): void {
    const at = this.#inside(address, size);
    for (let index = 0; index < size; index++) this.#memory[at + index] = Number((value >> BigInt(8 * index)) & 0xffn);
  }

  #report(kind: number, instruction: Decoded, value: bigint): void {
    const view = this.#view;
    view.setUint32(header.report + report.kind, kind, true);
    view.setUint32(header.report + report.instruction, instruction.offset, true);
    view.setBigInt64(header.report + report.value, value, true);
    const message = this.#memory.slice(header.report, header.report + report.size);
    // The parent expects the table's address in the native interpreter.
    const cursor = view.getBigUint64(header.slots, true) - this.#address;
    new DataView(message.buffer).setBigUint64(report.cursor, BigInt.asUintN(64, BigInt(this.#base) + cursor), true);
    const fd = view.getUint32(header.reportFd, true);
    this.#kernel.retry("send", fd, message, report.size, MsgFlag.MSG_NOSIGNAL);
  }

  #fail(instruction: Decoded, value: bigint): never {
    this.#report(ReportKind.error, instruction, value);
    this.#kernel.call("syscall", this.#exitGroup, 1);
    return this.#stop();
  }

  /**
   * For a seccomp filter that makes exit_group return: an illegal instruction raises a signal that nothing can block or
   * ignore, unlike libc's `_exit` and `abort`.
   */
  #stop(): never {
    this.#kernel.callAt(this.#trap);
    throw new RuncError("internal", "a trap returned");
  }

  /**
   * A fork. The child cannot run JavaScript, so it is the native interpreter with a copy of this memory: it starts at
   * the instruction after the clone, with 0 in its slot. Descriptors and root are the same as after a fork. The working
   * directory is /proc; the plan's child changes it.
   */
  #fork(instruction: Decoded): number {
    using image = sealedMemfd(this.#kernel, {
      name: "runc-fork",
      content: this.#snapshot(instruction),
      executable: true,
    });
    const pid = this.#spawn(image);
    const [, , pidfd] = instruction.operands;
    if (pid > 0 && pidfd?.kind === OperandKind.address) {
      this.#write(
        this.#value(pidfd),
        4,
        BigInt(this.#kernel.call("syscall", syscallNumber("pidfd_open", this.#kernel.arch), pid, 0)),
      );
    }
    return this.#settle(instruction, BigInt(pid));
  }

  /**
   * Creates an image whose child continues after `instruction`: this memory, with the addresses of the native
   * interpreter.
   */
  #snapshot(instruction: Decoded): Uint8Array<ArrayBuffer> {
    const copy = alloc(this.#programAt + this.#memory.length);
    copy.set(this.#image.subarray(0, this.#programAt));
    copy.set(this.#memory, this.#programAt);
    const view = new DataView(copy.buffer, this.#programAt);
    for (const { at, address } of this.#relocations) view.setBigUint64(at, address, true);
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const at = header.slots + 8 * slot;
      const inside = view.getBigUint64(at, true) - this.#address;
      // A slot may hold an address in this copy, such as the path of the program found.
      if (inside >= 0n && inside < BigInt(this.#memory.length)) {
        view.setBigUint64(at, BigInt(this.#base) + inside, true);
      }
    }
    view.setUint32(header.entry, instruction.next, true);
    if (instruction.out !== NO_SLOT) view.setBigInt64(header.slots + 8 * instruction.out, 0n, true);
    // The zeroed memory has content now, so the segment's length in the file becomes its length in memory. elf(5),
    // p_filesz
    new DataView(copy.buffer).setBigUint64(this.#segment + P_FILESZ, BigInt(this.#memory.length), true);
    return copy;
  }

  /**
   * A fork inherits all descriptors, but execve only those passed on. This passes on the fixed ones and all that slots
   * name.
   */
  #openFds(): readonly { readonly to: number; readonly from: number }[] {
    const F_GETFD = 1;
    const numbers = Array.from({ length: SLOT_COUNT }, (_, slot) => this.#slot(slot)).filter((value) =>
      value > 2n && value < 0x10000n
    );
    return [...new Set([...this.#given, ...numbers.map(Number)])].filter((fd) =>
      this.#kernel.call("fcntl", fd, F_GETFD) >= 0
    )
      .map((fd) => ({ to: fd, from: fd }));
  }

  /** The container's /proc may be missing and is not trusted, so the host's is open as a descriptor. */
  #spawn(image: Fd): number {
    const O = openFlag(this.#kernel.arch);
    using back = open(this.#kernel, ".", O.O_PATH | O.O_DIRECTORY);
    this.#kernel.must("fchdir(/proc)", "fchdir", this.#procFd);
    try {
      return spawn(this.#kernel, {
        path: `self/fd/${image.number}`,
        argv: ["runc", "init"],
        env: [],
        fds: this.#openFds(),
      });
    } finally {
      this.#kernel.must("fchdir(back)", "fchdir", back.number);
    }
  }
}

/**
 * Runs init of the image open as `imageFd`, and closes `imageFd`. `procFd`: the host's procfs. Does not return if the
 * plan ends in execve.
 *
 * @throws {RuncError} if there is no valid image: only the stage starts `init`.
 */
export function runInit(kernel: Kernel, fds: { imageFd: number; procFd: number }): void {
  const size = kernel.must(`lseek(${fds.imageFd}, 0, SEEK_END)`, "lseek", fds.imageFd, 0, 2);
  const image = alloc(size);
  const read = kernel.must(`pread(${fds.imageFd})`, "pread", fds.imageFd, image, size, 0);
  if (read !== size) throw new RuncError("internal", "the image is shorter than its file");
  kernel.call("close", fds.imageFd);
  new Executor(kernel, image, fds.procFd).run();
}
