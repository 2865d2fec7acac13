/**
 * bpf(2) of the fake host: device filters of cgroups.
 *
 * @module
 */

import { BpfCommand } from "../../../lib/cgroups/devices/bpf.ts";
import type { Call } from "./called.ts";
import { OpenFile } from "./open_files.ts";

/** Filters, by the inode number of the cgroup's directory. */
export const attached = new WeakMap<object, Map<number, OpenFile>>();

export const bpf: Call = (called) => {
  const { host } = called;
  const attr = called.view(1, called.number(2));
  const filters = attached.get(host) ?? new Map<number, OpenFile>();
  attached.set(host, filters);
  switch (called.number(0)) {
    case BpfCommand.BPF_PROG_QUERY: {
      const { ino } = host.self.file(attr.getUint32(0, true)).inode!;
      attr.setUint32(24, filters.has(ino) ? 1 : 0, true);
      return 0;
    }
    case BpfCommand.BPF_PROG_LOAD:
    case BpfCommand.BPF_PROG_GET_FD_BY_ID:
      return host.self.open(new OpenFile("device filter"));
    case BpfCommand.BPF_PROG_ATTACH:
      filters.set(host.self.file(attr.getUint32(0, true)).inode!.ino, host.self.file(attr.getUint32(4, true)));
      return 0;
    default:
      return 0;
  }
};
