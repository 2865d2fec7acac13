/**
 * libc's functions on files and descriptors, for the fake host.
 *
 * @module
 */

import { FileType, Flock, openFlag, STAT_SIZE, statOffsets } from "../../../lib/ffi/constants.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import type { Call, Called } from "./called.ts";
import { file, type Inode, Inode as Node, Refusal } from "./file_system.ts";
import { type OpenFile, Pipe, PipeEnd, PlainFile, Terminal } from "./open_files.ts";

const O = openFlag(Deno.build.arch);
const O_TMPFILE = 0o20000000;
const AT_FDCWD = -100;

/** The directory that a descriptor stands for, where a relative path begins. */
export function directoryOf(called: Called, index: number): Inode | undefined {
  const fd = called.int(index);
  if (fd === AT_FDCWD) return undefined;
  const node = called.host.self.file(fd).inode;
  if (node === undefined || !node.isDirectory) throw new Refusal(Errno.ENOTDIR);
  return node;
}

function open(called: Called, path: string, { flags, mode, from }: { flags: number; mode: number; from?: Inode }) {
  const { host } = called;
  host.check(`open ${path}`);
  if ((flags & O_TMPFILE) === O_TMPFILE) {
    host.fs.get(path);
    return host.self.open(new PlainFile(new Node(FileType.S_IFREG | mode), path));
  }
  const isPath = (flags & O.O_PATH) !== 0;
  const place = host.fs.place(path, { from, follow: (flags & O.O_NOFOLLOW) === 0 });
  let { node } = place;
  if (node === undefined) {
    if ((flags & O.O_CREAT) === 0) throw new Refusal(Errno.ENOENT);
    node = place.parent.add(place.name, owned(host.owner, new Node(FileType.S_IFREG | mode)));
  } else if ((flags & O.O_EXCL) !== 0 && (flags & O.O_CREAT) !== 0) throw new Refusal(Errno.EEXIST);
  if (node.target !== undefined && !isPath) throw new Refusal(Errno.ELOOP);
  if ((flags & O.O_DIRECTORY) !== 0 && !node.isDirectory) throw new Refusal(Errno.ENOTDIR);
  const wantsWrite = (flags & (O.O_WRONLY | O.O_RDWR)) !== 0;
  if (wantsWrite && (node.seals & 8) !== 0) throw new Refusal(Errno.EPERM);
  const opened = opening(node, { path, isPath, wantsWrite, isWaiting: (flags & O.O_NONBLOCK) === 0 });
  if (opened === undefined) return undefined;
  opened.isNonblocking = (flags & O.O_NONBLOCK) !== 0;
  return host.self.open(opened, { cloexec: (flags & O.O_CLOEXEC) !== 0 });
}

interface How {
  readonly path: string;
  readonly isPath: boolean;
  readonly wantsWrite: boolean;
  readonly isWaiting: boolean;
}

function opening(node: Inode, { path, isPath, wantsWrite, isWaiting }: How): OpenFile | undefined {
  if (node.type === FileType.S_IFSOCK && !isPath) throw new Refusal(Errno.ENXIO);
  if (node.type === FileType.S_IFIFO && !isPath) {
    node.pipe ??= new Pipe();
    if (wantsWrite && node.pipe.readers === 0) {
      if (isWaiting) return undefined;
      throw new Refusal(Errno.ENXIO);
    }
    return new PipeEnd(node.pipe, wantsWrite ? "write" : "read", path, node);
  }
  if (node.type === FileType.S_IFCHR && node.label === "terminal" && !isPath) return new Terminal(path, node);
  return new PlainFile(node, path, isPath, !wantsWrite);
}

/** A new file belongs to the thread's file owner. */
export function owned({ uid, gid }: { uid: number; gid: number }, node: Inode): Inode {
  node.uid = uid;
  node.gid = gid;
  return node;
}

function stat(called: Called, node: Inode, index: number): number {
  const view = called.view(index, STAT_SIZE);
  const at = statOffsets[Deno.build.arch];
  view.setBigUint64(at.dev, BigInt(node.dev), true);
  view.setBigUint64(at.ino, BigInt(node.ino), true);
  view.setUint32(at.mode, node.mode, true);
  view.setUint32(at.uid, node.uid, true);
  view.setUint32(at.gid, node.gid, true);
  view.setBigUint64(at.rdev, BigInt(node.rdev), true);
  view.setBigUint64(at.size, BigInt(node.content().length), true);
  return 0;
}

/** What a pipe or socket without a name is. */
function anonymous(opened: OpenFile): Inode {
  return new Node((opened instanceof PipeEnd ? FileType.S_IFIFO : FileType.S_IFSOCK) | 0o600);
}

function fcntl(called: Called): number {
  const { host } = called;
  const [fd, command, value] = [0, 1, 2].map((index) => called.int(index)) as [number, number, number];
  const opened = host.self.file(fd);
  const descriptor = host.self.descriptors.get(fd)!;
  switch (command) {
    case 1:
      return descriptor.cloexec ? 1 : 0;
    case 2:
      descriptor.cloexec = (value & 1) !== 0;
      return 0;
    case 3:
      return opened.isNonblocking ? O.O_NONBLOCK : 0;
    case 4:
      opened.isNonblocking = (value & O.O_NONBLOCK) !== 0;
      return 0;
    case 1030:
      return host.self.open(opened, { least: value });
    case 1033:
      opened.inode!.seals |= value;
      return 0;
    default:
      throw new Error(`the fake host has no fcntl command ${command}`);
  }
}

function read(called: Called): number | undefined {
  const opened = called.file(0);
  const bytes = opened.read(called.number(2));
  if (bytes === undefined) {
    if (opened.isNonblocking) throw new Refusal(Errno.EAGAIN);
    return undefined;
  }
  called.bytes(1, bytes.length).set(bytes);
  return bytes.length;
}

function write(called: Called): number | undefined {
  const opened = called.file(0);
  const done = opened.write(called.bytes(1, called.number(2)));
  if (done === undefined && opened.isNonblocking) throw new Refusal(Errno.EAGAIN);
  return done;
}

export const fileCalls: Readonly<Record<string, Call>> = {
  open: (called) =>
    open(called, called.text(0), {
      flags: called.number(1),
      mode: called.number(2),
      from: called.host.directory,
    }),
  openat: (called) =>
    open(called, called.text(1), {
      flags: called.number(2),
      mode: called.number(3),
      from: directoryOf(called, 0),
    }),
  close: (called) => {
    called.host.self.close(called.int(0));
    return 0;
  },
  read,
  write,
  pread: (called) => {
    const bytes = called.file(0).inode!.content().subarray(called.number(3), called.number(3) + called.number(2));
    called.bytes(1, bytes.length).set(bytes);
    return bytes.length;
  },
  lseek: (called) => {
    const opened = called.file(0);
    const SEEK_END = 2;
    const base = called.number(2) === SEEK_END ? opened.inode!.content().length : 0;
    return opened.position = base + called.number(1);
  },
  dup3: (called) => {
    const { self } = called.host;
    const [from, to] = [called.int(0), called.int(1)];
    const opened = self.file(from).retain();
    if (self.descriptors.has(to)) self.close(to);
    self.descriptors.set(to, { file: opened, cloexec: (called.number(2) & O.O_CLOEXEC) !== 0 });
    return to;
  },
  fchdir: (called) => {
    called.host.directory = directoryOf(called, 0);
    return 0;
  },
  fcntl,
  fstat: (called) => {
    const opened = called.file(0);
    return stat(called, opened.inode ?? anonymous(opened), 1);
  },
  pipe2: (called) => {
    const pipe = new Pipe();
    const view = called.view(0, 8);
    const isNonblocking = (called.number(1) & O.O_NONBLOCK) !== 0;
    (["read", "write"] as const).forEach((side, index) => {
      const end = new PipeEnd(pipe, side, `pipe, ${side} end`);
      end.isNonblocking = isNonblocking;
      view.setInt32(4 * index, called.host.self.open(end), true);
    });
    return 0;
  },
  memfd_create: (called) => {
    const node = file();
    node.label = called.text(0);
    node.mode |= 0o111;
    return called.host.self.open(new PlainFile(node, `memfd:${node.label}`));
  },
  umask: (called) => {
    const before = called.host.umask;
    called.host.umask = called.number(0);
    return before;
  },
  flock: (called) => {
    const { ino } = called.file(0).inode!;
    const holder = called.host.locks.get(ino);
    const opened = called.file(0);
    if (holder !== undefined && holder !== opened && (holder as OpenFile).refs > 0) {
      if (called.number(1) & Flock.LOCK_NB) throw new Refusal(Errno.EAGAIN);
      return undefined;
    }
    called.host.locks.set(ino, opened);
    return 0;
  },
};
