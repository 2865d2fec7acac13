/**
 * Tries whether device filters of cgroup2 can be loaded. Runs in: parent.
 *
 * @see bpf(2), include/uapi/linux/bpf.h (union bpf_attr)
 * @module
 */

import { BpfCommand } from "../../../cgroups/devices/bpf.ts";
import { deviceProgram, encodeProgram } from "../../../cgroups/devices/v2.ts";
import { addressOf, alloc, cString, type Kernel } from "../../../ffi/kernel.ts";
import { syscallNumber } from "../../../ffi/syscalls.ts";

const BPF_PROG_TYPE_CGROUP_DEVICE = 15;

/** The errno of loading a filter, which is attached nowhere and disappears at once; 0 if that works. */
export function deviceFilterErrno(kernel: Kernel): number {
  const program = deviceProgram({ allowsByDefault: false, exceptions: [] });
  const [code, license] = [encodeProgram(program), cString("Apache")];
  // u32 prog_type, insn_cnt; u64 insns, license.
  const attr = alloc(48);
  const view = new DataView(attr.buffer);
  view.setUint32(0, BPF_PROG_TYPE_CGROUP_DEVICE, true);
  view.setUint32(4, program.length, true);
  view.setBigUint64(8, addressOf(code), true);
  view.setBigUint64(16, addressOf(license), true);
  const number = syscallNumber("bpf", kernel.arch);
  const fd = kernel.call("syscall", number, BpfCommand.BPF_PROG_LOAD, attr, attr.length, code, license);
  if (fd < 0) return -fd;
  kernel.call("close", fd);
  return 0;
}
