/**
 * /proc of the fake host.
 *
 * @module
 */

import { FileType } from "../../../lib/ffi/constants.ts";
import { directory, file, Inode, Refusal, symlink } from "./file_system.ts";
import type { FakeHost } from "./host.ts";
import type { Process } from "./processes.ts";
import { PlainFile } from "./open_files.ts";
import { Errno } from "../../../lib/ffi/errno.ts";

/** Puts /proc into the file system. */
export function makeProc(host: FakeHost): void {
  const proc = host.fs.put("/proc", directory());
  const known = new Map<Process, Inode>();
  const of = (process: Process) => {
    const found = known.get(process) ?? processDirectory(host, process);
    known.set(process, found);
    return found;
  };
  proc.list = function* () {
    for (const process of host.processes.values()) yield [String(process.pid), of(process)] as const;
  };
  proc.add("self", symlink(() => of(host.self)));
  proc.add("thread-self", symlink(() => of(host.self)));
  proc.add("kcore", file());
  host.fs.put("/proc/sys/kernel/cap_last_cap", "40\n");
}

function processDirectory(host: FakeHost, process: Process): Inode {
  const made = directory(0o555);
  made.add("stat", file(() => statText(process)));
  made.add("cgroup", file(() => cgroupText(process)));
  for (const name of ["uid_map", "gid_map", "setgroups", "mountinfo"]) {
    made.add(
      name,
      file(() => process.files.get(name) ?? "", (text) => {
        host.check(`write /proc/${process.pid}/${name}`);
        process.files.set(name, text);
      }),
    );
  }
  made.add("exe", file("the program"));
  made.add("ns", namespaces(process));
  const fds = made.add("fd", directory(0o500));
  fds.list = () =>
    [...process.descriptors].map(([number, { file }]) => [
      String(number),
      symlink(() => {
        if (file.inode === undefined) throw new Refusal(Errno.ENXIO);
        return file.inode;
      }, file.label),
    ]);
  return made;
}

/** The files that setns(2) takes: each has the number of the namespace. */
function namespaces(process: Process): Inode {
  const made = directory(0o511);
  made.list = () =>
    [...process.namespaces].map(([name, number]) => {
      const target = namespaceFile(number, name);
      return [name, symlink(() => target, target.label)];
    });
  return made;
}

function namespaceFile(number: number, name: string): Inode {
  const node = new Inode(FileType.S_IFREG | 0o444, number);
  node.dev = 4;
  node.label = `${name}:[${number}]`;
  return node;
}

/** The network namespace that an open file stands for. */
export function namespaceOf(file: unknown): number {
  if (file instanceof PlainFile && file.node.dev === 4) return file.node.ino;
  throw new Refusal(Errno.EINVAL);
}

function statText({ pid, name, parent, startTime, hasEnded }: Process): string {
  const state = hasEnded ? "Z" : "S";
  const rest = Array.from({ length: 17 }, () => "0").join(" ");
  return `${pid} (${name}) ${state} ${parent?.pid ?? 0} ${rest} ${startTime} 0\n`;
}

function cgroupText({ cgroups }: Process): string {
  return [...cgroups].map(([hierarchy, path], index) => `${hierarchy === "" ? 0 : index + 1}:${hierarchy}:${path}\n`)
    .join("");
}
