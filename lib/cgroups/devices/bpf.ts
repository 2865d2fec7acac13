/**
 * The parts of bpf(2) that a cgroup's device filter needs: load, attach, replace.
 *
 * Runs in: parent.
 *
 * @see bpf(2), include/uapi/linux/bpf.h (union bpf_attr; offsets and numbers from Linux 6.1)
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Errno, errnoName, errnoText } from "../../ffi/errno.ts";
import { addressOf, alloc, cString, type Kernel } from "../../ffi/kernel.ts";
import { syscallNumber } from "../../ffi/syscalls.ts";
import { type BpfInstruction, encodeProgram } from "./v2.ts";

/**
 * bpf(2): returns its result, or −errno. `referenced`: buffers whose addresses are in `attr`. They stay alive until the
 * call returns.
 */
export type BpfCall = (
  command: number,
  attr: Uint8Array<ArrayBuffer>,
  ...referenced: readonly Uint8Array<ArrayBuffer>[]
) => number;

/** enum bpf_cmd */
export const BpfCommand = {
  BPF_PROG_LOAD: 5,
  BPF_PROG_ATTACH: 8,
  BPF_PROG_DETACH: 9,
  BPF_PROG_GET_FD_BY_ID: 13,
  BPF_PROG_QUERY: 16,
} as const;

const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;
const BPF_F_ALLOW_MULTI = 2;
const BPF_F_REPLACE = 4;
/** The maximum number of programs of one kind per cgroup (BPF_CGROUP_MAX_PROGS, include/linux/bpf-cgroup.h). */
const MAX_PROGRAMS = 64;

/** Calls bpf(2) by its number: glibc has no wrapper for it. */
export function bpfCall(kernel: Kernel): BpfCall {
  return (command, attr, ...referenced) =>
    kernel.call("syscall", syscallNumber("bpf", kernel.arch), command, attr, attr.length, ...referenced);
}

/** The arguments of {@link attachDeviceProgram}. */
export interface DeviceAttachment {
  readonly bpf: BpfCall;
  /** Closes a descriptor that `bpf` returned. */
  readonly close: (fd: number) => void;
  /** The cgroup's directory, open. */
  readonly directoryFd: number;
  readonly program: readonly BpfInstruction[];
}

/**
 * Makes the program the cgroup's only device filter. Ancestor cgroups keep their filters; all of them must allow an
 * access.
 *
 * If the cgroup has exactly one program, one call replaces it. Otherwise the new program is attached before the old
 * ones are detached, so the cgroup is never without a filter. RLIMIT_MEMLOCK does not matter: since Linux 5.11 BPF
 * memory is charged to the memory cgroup.
 *
 * @throws {RuncError} `cgroup-failed` with the errno: EPERM without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN),
 * EINVAL without CONFIG_CGROUP_BPF.
 */
export function attachDeviceProgram(attachment: DeviceAttachment): void {
  const { bpf, close, directoryFd, program } = attachment;
  const opened: number[] = [];
  try {
    const oldFds = attachedPrograms(bpf, directoryFd).flatMap((id) => {
      const fd = openProgram(bpf, id);
      if (fd !== undefined) opened.push(fd);
      return fd === undefined ? [] : [fd];
    });
    const newFd = loadProgram(bpf, program);
    opened.push(newFd);
    const [replacedFd] = oldFds;
    if (oldFds.length === 1) return attach(bpf, directoryFd, newFd, replacedFd);
    attach(bpf, directoryFd, newFd);
    for (const oldFd of oldFds) detach(bpf, directoryFd, oldFd);
  } finally {
    // An attached program stays attached after its descriptor is closed.
    opened.forEach(close);
  }
}

/** The ids of the device programs attached to the cgroup itself. */
export function attachedPrograms(bpf: BpfCall, directoryFd: number): readonly number[] {
  const ids = alloc(4 * MAX_PROGRAMS);
  // query: u32 target_fd, attach_type, query_flags, attach_flags; u64 prog_ids; u32 prog_cnt.
  const attr = attrOf(32, { 0: directoryFd, 4: BPF_CGROUP_DEVICE, 24: MAX_PROGRAMS }, { 16: ids });
  must(bpf(BpfCommand.BPF_PROG_QUERY, attr, ids), "BPF_PROG_QUERY, BPF_CGROUP_DEVICE");
  const count = new DataView(attr.buffer).getUint32(24, true);
  const view = new DataView(ids.buffer);
  return Array.from({ length: count }, (_, index) => view.getUint32(4 * index, true));
}

/**
 * A descriptor of the program, or `undefined` if a security module denies access. Skipping that program is safe: a
 * program that stays attached can only restrict further.
 */
function openProgram(bpf: BpfCall, id: number): number | undefined {
  const fd = bpf(BpfCommand.BPF_PROG_GET_FD_BY_ID, attrOf(16, { 0: id }));
  if (fd === -Errno.EPERM || fd === -Errno.EACCES) return undefined;
  return must(fd, `BPF_PROG_GET_FD_BY_ID, ${id}`);
}

function loadProgram(bpf: BpfCall, program: readonly BpfInstruction[]): number {
  const code = encodeProgram(program);
  const license = cString("Apache");
  // u32 prog_type, insn_cnt; u64 insns, license.
  const attr = attrOf(48, { 0: BPF_PROG_TYPE_CGROUP_DEVICE, 4: program.length }, { 8: code, 16: license });
  return must(bpf(BpfCommand.BPF_PROG_LOAD, attr, code, license), "BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE");
}

function attach(bpf: BpfCall, directoryFd: number, programFd: number, replacedFd?: number): void {
  const flags = BPF_F_ALLOW_MULTI | (replacedFd === undefined ? 0 : BPF_F_REPLACE);
  // u32 target_fd, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd.
  const attr = attrOf(24, { 0: directoryFd, 4: programFd, 8: BPF_CGROUP_DEVICE, 12: flags, 16: replacedFd ?? 0 });
  must(bpf(BpfCommand.BPF_PROG_ATTACH, attr), "BPF_PROG_ATTACH, BPF_CGROUP_DEVICE");
}

function detach(bpf: BpfCall, directoryFd: number, programFd: number): void {
  const attr = attrOf(24, { 0: directoryFd, 4: programFd, 8: BPF_CGROUP_DEVICE });
  must(bpf(BpfCommand.BPF_PROG_DETACH, attr), "BPF_PROG_DETACH, BPF_CGROUP_DEVICE");
}

/** A zeroed `union bpf_attr` of `size` bytes with u32 fields and addresses at these offsets. */
function attrOf(
  size: number,
  numbers: Readonly<Record<number, number>>,
  buffers: Readonly<Record<number, Uint8Array<ArrayBuffer>>> = {},
): Uint8Array<ArrayBuffer> {
  const attr = alloc(size);
  const view = new DataView(attr.buffer);
  for (const [offset, value] of Object.entries(numbers)) view.setUint32(Number(offset), value, true);
  for (const [offset, buffer] of Object.entries(buffers)) view.setBigUint64(Number(offset), addressOf(buffer), true);
  return attr;
}

function must(result: number, what: string): number {
  if (result >= 0) return result;
  throw new RuncError("cgroup-failed", `bpf(${what}): ${errnoText(-result)}`, {
    call: `bpf(${what})`,
    errno: -result,
    errnoName: errnoName(-result),
  });
}
