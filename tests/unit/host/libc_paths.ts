/**
 * libc's functions on names of files, for the fake host: making, removing, owners and permissions.
 *
 * @module
 */

import { FileType } from "../../../lib/ffi/constants.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import type { Call, Called } from "./called.ts";
import { type Inode, Inode as Node, Refusal, symlink } from "./file_system.ts";
import { directoryOf, owned } from "./libc_files.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;

function readLink(called: Called, node: Inode, index: number): number {
  if (node.target === undefined) throw new Refusal(Errno.EINVAL);
  const text = new TextEncoder().encode(typeof node.target === "string" ? node.target : node.label);
  const length = Math.min(text.length, called.number(index + 1));
  called.bytes(index, length).set(text.subarray(0, length));
  return length;
}

function make(called: Called, node: Inode, path: string, from?: Inode): number {
  const place = called.host.fs.place(path, { from, follow: false });
  if (place.node !== undefined) throw new Refusal(Errno.EEXIST);
  place.parent.add(place.name, owned(called.host.owner, node));
  return 0;
}

/** getdents64(2): all entries at once. */
function entries(called: Called): number {
  const opened = called.file(0);
  const node = opened.inode!;
  if (opened.position > 0) return 0;
  opened.position = 1;
  const rows = [".", "..", ...node.names().map(([name]) => name)].map((name) => new TextEncoder().encode(name));
  const sizes = rows.map(({ length }) => (19 + length + 1 + 7) & ~7);
  const buffer = called.bytes(1, called.number(2)).fill(0);
  let at = 0;
  rows.forEach((row, index) => {
    const size = sizes[index]!;
    buffer[at + 16] = size & 0xff;
    buffer[at + 17] = size >> 8;
    buffer.set(row, at + 19);
    at += size;
  });
  return at;
}

function changeOwner(called: Called, node: Inode, index: number): number {
  node.uid = called.int(index);
  node.gid = called.int(index + 1);
  // chown(2) clears setuid and setgid.
  node.mode &= ~0o6000;
  return 0;
}

function changeMode(node: Inode, mode: number): number {
  node.mode = node.type | mode;
  return 0;
}

function permitted(called: Called, path: string, mode: number): number {
  const W_OK = 2, X_OK = 1;
  const node = called.host.fs.get(path);
  called.host.check(`access ${path}`);
  if ((mode & X_OK) !== 0 && (node.mode & 0o111) === 0) throw new Refusal(Errno.EACCES);
  if ((mode & W_OK) !== 0 && called.host.uid !== 0 && node.uid !== called.host.uid) throw new Refusal(Errno.EACCES);
  return 0;
}

function remove(called: Called): number {
  const path = called.text(0);
  called.host.check(`rmdir ${path}`);
  called.host.fs.remove(path);
  return 0;
}

export const pathCalls: Readonly<Record<string, Call>> = {
  mkdir: (called) => {
    const path = called.text(0);
    called.host.check(`mkdir ${path}`);
    called.host.fs.mkdir(path, called.number(1));
    return 0;
  },
  mkdirat: (called) => {
    const made = called.host.fs.mkdir(called.text(1), called.number(2), directoryOf(called, 0));
    owned(called.host.owner, made);
    return 0;
  },
  rmdir: remove,
  mkfifo: (called) => make(called, new Node(FileType.S_IFIFO | called.number(1)), called.text(0)),
  mknodat: (called) => {
    const node = new Node(called.number(2));
    node.rdev = called.number(3);
    return make(called, node, called.text(1), directoryOf(called, 0));
  },
  symlinkat: (called) => make(called, symlink(called.text(0)), called.text(2), directoryOf(called, 1)),
  readlink: (called) => readLink(called, called.host.fs.get(called.text(0), { follow: false }), 1),
  readlinkat: (called) => {
    const node = called.file(0).inode!;
    // With an empty path: the link itself. ENOENT where the descriptor is none. readlink(2)
    if (called.text(1) === "" && node.target === undefined) throw new Refusal(Errno.ENOENT);
    return readLink(called, node, 2);
  },
  chmod: (called) => {
    const [, number] = /^\/proc\/self\/fd\/(\d+)$/.exec(called.text(0)) ?? [];
    const opened = number === undefined ? undefined : called.host.self.descriptors.get(Number(number))!.file.inode!;
    return changeMode(opened ?? called.host.fs.get(called.text(0)), called.number(1));
  },
  chown: (called) => changeOwner(called, called.host.fs.get(called.text(0)), 1),
  fchown: (called) => {
    const { inode } = called.file(0);
    return inode === undefined ? 0 : changeOwner(called, inode, 1);
  },
  fchownat: (called) => {
    const follow = (called.number(4) & AT_SYMLINK_NOFOLLOW) === 0;
    const from = directoryOf(called, 0);
    return changeOwner(called, called.host.fs.get(called.text(1), { from, follow }), 2);
  },
  fchmodat: (called) =>
    changeMode(called.host.fs.get(called.text(1), { from: directoryOf(called, 0) }), called.number(2)),
  faccessat: (called) => {
    const follow = (called.number(3) & AT_SYMLINK_NOFOLLOW) === 0;
    const path = called.text(1);
    if (!follow) called.host.fs.get(path, { follow });
    return follow ? permitted(called, path, called.number(2)) : 0;
  },
  access: (called) => permitted(called, called.text(0), called.number(1)),
  getdents64: entries,
  statfs: (called) => {
    called.view(1, 120).setUint32(0, called.host.fs.get(called.text(0)).magic ?? 0xef53, true);
    return 0;
  },
  statx: () => {
    throw new Refusal(Errno.ENOSYS);
  },
};
