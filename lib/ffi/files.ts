/**
 * System calls on files and descriptors.
 *
 * @module
 */

import { monotonicMs } from "./clock.ts";
import { alloc, cString, type Kernel, syscallError } from "./kernel.ts";
import { RuncError } from "../errors.ts";
import { AccessFlag, AT_FDCWD, AtFlag, openFlag } from "./constants.ts";
import { Errno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { fileSizeLimit } from "./process/process.ts";

const F_GETFD = 1, F_SETFD = 2, F_SETFL = 4, F_GETFL = 3, F_ADD_SEALS = 1033;
const FD_CLOEXEC = 1;
/** unistd.h */
const F_OK = 0, W_OK = 2, X_OK = 1;
const MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2, MFD_EXEC = 0x10;
/** include/uapi/asm-generic/fcntl.h; needs O_DIRECTORY. */
const O_TMPFILE = 0o20000000;
const F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4, F_SEAL_WRITE = 8;

/**
 * open(2) with O_CLOEXEC.
 *
 * @throws {RuncError} with the path and the errno.
 */
export function open(kernel: Kernel, path: string, flags: number, mode = 0): Fd {
  const number = kernel.must(
    `open(${JSON.stringify(path)})`,
    "open",
    cString(path),
    flags | openFlag(kernel.arch).O_CLOEXEC,
    mode,
  );
  return new Fd(kernel, number, path);
}

/** An O_PATH descriptor of `path`, symlinks followed. @see open(2) */
export function openPath(kernel: Kernel, path: string): Fd {
  return open(kernel, path, openFlag(kernel.arch).O_PATH);
}

/** A pipe, both ends close-on-exec. `nonblocking`: also O_NONBLOCK. @see pipe(2) */
export function pipe(kernel: Kernel, label: string, { nonblocking = false } = {}): { read: Fd; write: Fd } {
  const pair = alloc(8);
  const { O_CLOEXEC, O_NONBLOCK } = openFlag(kernel.arch);
  kernel.must("pipe2(O_CLOEXEC)", "pipe2", pair, nonblocking ? O_CLOEXEC | O_NONBLOCK : O_CLOEXEC);
  const view = new DataView(pair.buffer);
  return {
    read: new Fd(kernel, view.getInt32(0, true), `${label} (read end)`),
    write: new Fd(kernel, view.getInt32(4, true), `${label} (write end)`),
  };
}

/** Whether a sandbox around us refused a call that needs no privilege. */
const isRefused = (result: number): boolean => result === -Errno.EPERM || result === -Errno.ENOSYS;

/** Directories for a file without a name, the substitute for a memfd. The first is in memory, too. */
const UNNAMED_PLACES = ["/dev/shm", "/run", "/tmp"];

/** A file without a name. It cannot be sealed. */
class UnnamedFile extends Fd {}

/** A file that has no name and cannot get one. Undefined if no usual place allows it. @see open(2), O_TMPFILE */
function unnamedFile(kernel: Kernel, label: string): UnnamedFile | undefined {
  const O = openFlag(kernel.arch);
  const flags = O_TMPFILE | O.O_DIRECTORY | O.O_RDWR | O.O_EXCL | O.O_CLOEXEC;
  for (const place of UNNAMED_PLACES) {
    const number = kernel.retry("open", cString(place), flags, 0o644);
    if (number >= 0) return new UnnamedFile(kernel, number, label);
  }
  return undefined;
}

/** An empty memfd; if a sandbox around us refuses it, a file without a name. @see memfd_create(2) */
export function memfd(kernel: Kernel, name: string): Fd {
  const number = kernel.retry("memfd_create", cString(name), MFD_CLOEXEC);
  if (number >= 0) return new Fd(kernel, number, name);
  const instead = isRefused(number) ? unnamedFile(kernel, name) : undefined;
  if (instead === undefined) throw syscallError(`memfd_create(${JSON.stringify(name)})`, -number);
  return instead;
}

/** `content` in a file without a name, open for reading only. */
function readOnlyFile(kernel: Kernel, label: string, content: Uint8Array<ArrayBuffer>): Fd | undefined {
  using file = unnamedFile(kernel, label);
  if (file === undefined) return undefined;
  writeAll(kernel, file.number, content);
  return open(kernel, `/proc/self/fd/${file.number}`, 0);
}

/** The text in a memfd from its start, at most `limit` bytes. */
export function readMemfd(kernel: Kernel, fd: Fd, limit: number): string {
  const bytes = alloc(limit);
  const length = kernel.must(`pread(${fd.label})`, "pread", fd.number, bytes, limit, 0);
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** An empty memfd for {@link fillAndSeal}; a file without a name as in {@link memfd}. @see memfd_create(2) */
export function sealableMemfd(kernel: Kernel, name: string): Fd {
  const number = kernel.retry("memfd_create", cString(name), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (number >= 0) return new Fd(kernel, number, name);
  const instead = isRefused(number) ? unnamedFile(kernel, name) : undefined;
  if (instead === undefined) throw syscallError(`memfd_create(${JSON.stringify(name)})`, -number);
  return instead;
}

/** Writes `content` into an empty memfd and seals it against changes. @see fcntl(2), F_ADD_SEALS */
export function fillAndSeal(kernel: Kernel, fd: Fd, content: Uint8Array<ArrayBuffer>): void {
  writeAll(kernel, fd.number, content);
  if (fd instanceof UnnamedFile) return;
  const seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  kernel.must("fcntl(F_ADD_SEALS)", "fcntl", fd.number, F_ADD_SEALS, seals);
}

/**
 * A memfd that holds `content` and is sealed against changes; without memfd_create(2) a file that is open only for
 * reading. `executable`: it may be executed. `rewind`: the offset is at the start. @see memfd_create(2)
 */
export function sealedMemfd(
  kernel: Kernel,
  options: { name: string; content: Uint8Array<ArrayBuffer>; executable: boolean; rewind?: boolean },
): Fd {
  const name = cString(options.name);
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const call = `memfd_create(${JSON.stringify(options.name)})`;
  let number = kernel.retry("memfd_create", name, options.executable ? flags | MFD_EXEC : flags);
  // EINVAL: Linux before 6.3 does not know MFD_EXEC and makes every memfd executable.
  if (number === -Errno.EINVAL) number = kernel.retry("memfd_create", name, flags);
  // An executable file needs a directory that is not mounted noexec: see `executable`.
  if (isRefused(number) && !options.executable) {
    const instead = readOnlyFile(kernel, options.name, options.content);
    if (instead !== undefined) return instead;
  }
  if (number < 0) throw syscallError(call, -number);
  const fd = new Fd(kernel, number, options.name);
  try {
    fillAndSeal(kernel, fd, options.content);
    if (options.rewind) kernel.must("lseek(0)", "lseek", fd.number, 0, 0);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS: asm-generic/mman-common.h, mman.h */
const PROT_READ_WRITE = 3, MAP_SHARED_ANONYMOUS = 0x21;

/**
 * `content` as the file behind shared memory. It has its length from the start, with zeroes up to a whole page. So
 * RLIMIT_FSIZE, which limits write(2), does not apply. @see proc_pid_map_files(5)
 *
 * @throws {RuncError} EPERM without CAP_CHECKPOINT_RESTORE and CAP_SYS_ADMIN.
 */
function sharedMemory(kernel: Kernel, { name, content }: { name: string; content: Uint8Array<ArrayBuffer> }): Fd {
  const length = Math.ceil(content.length / 4096) * 4096;
  const start = kernel.must(
    "mmap(MAP_SHARED|MAP_ANONYMOUS)",
    "mmap",
    0,
    length,
    PROT_READ_WRITE,
    MAP_SHARED_ANONYMOUS,
    -1,
    0,
  );
  try {
    new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(BigInt(start))!, length)).set(
      content,
    );
    const range = `${start.toString(16)}-${(start + length).toString(16)}`;
    const opened = kernel.retry("open", cString(`/proc/self/map_files/${range}`), openFlag(kernel.arch).O_CLOEXEC);
    if (opened >= 0) return new Fd(kernel, opened, name);
    throw syscallError(
      `open("/proc/self/map_files/${range}")`,
      -opened,
      `the caller's limit of a file's size (RLIMIT_FSIZE, ulimit -f) is below ${content.length} bytes, which takes CAP_SYS_ADMIN`,
    );
  } finally {
    kernel.call("munmap", start, length);
  }
}

/**
 * `content` as a file that can be executed but not written: a sealed memfd or, if vm.memfd_noexec=2 or a sandbox
 * forbids that, an unlinked file in `directory`. @see Documentation/userspace-api/mfd_noexec.rst
 *
 * If the caller's RLIMIT_FSIZE is below the content's length, write(2) would raise a signal. Then it is written through
 * a shared mapping.
 */
export function executable(
  kernel: Kernel,
  { name, content, directory }: { name: string; content: Uint8Array<ArrayBuffer>; directory: string },
): Fd {
  if (fileSizeLimit(kernel) < content.length) {
    return sharedMemory(kernel, { name, content });
  }
  try {
    return sealedMemfd(kernel, { name, content, executable: true });
  } catch (error) {
    const isForbidden = error instanceof RuncError && ["EACCES", "EPERM", "ENOSYS"].includes(error.errnoName ?? "");
    if (!isForbidden) throw error;
  }
  const path = `${directory}/.init-${kernel.pid}-${monotonicMs(kernel)}`;
  const O = openFlag(kernel.arch);
  {
    // Must be closed before it is executed: execve fails on a file that is open for writing.
    using file = open(kernel, path, O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW, 0o700);
    writeAll(kernel, file.number, content);
  }
  try {
    return open(kernel, path, O.O_NOFOLLOW);
  } finally {
    Deno.removeSync(path);
  }
}

/** Repeats write(2) until everything is written. */
export function writeAll(kernel: Kernel, fd: number, bytes: Uint8Array<ArrayBuffer>): void {
  let done = 0;
  while (done < bytes.length) {
    done += kernel.must(`write(${fd})`, "write", fd, bytes.subarray(done), bytes.length - done);
  }
}

/**
 * Whether `fd` is open and not close-on-exec, that is, inherited from our caller. All of Deno's own descriptors are
 * close-on-exec.
 */
export function isInherited(kernel: Kernel, fd: number): boolean {
  const flags = kernel.call("fcntl", fd, F_GETFD);
  return flags >= 0 && (flags & FD_CLOEXEC) === 0;
}

/** Whether `fd` is open. @see fcntl(2) */
export function isOpen(kernel: Kernel, fd: number): boolean {
  return kernel.call("fcntl", fd, F_GETFD) >= 0;
}

/** Sets or clears FD_CLOEXEC. @see fcntl(2) */
export function setCloseOnExec(kernel: Kernel, fd: number, on: boolean): void {
  kernel.must(`fcntl(${fd}, F_SETFD)`, "fcntl", fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

/** Sets or clears O_NONBLOCK. @see fcntl(2) */
export function setNonblocking(kernel: Kernel, fd: number, on: boolean): void {
  const O_NONBLOCK = openFlag(kernel.arch).O_NONBLOCK;
  const flags = kernel.must(`fcntl(${fd}, F_GETFL)`, "fcntl", fd, F_GETFL);
  kernel.must(`fcntl(${fd}, F_SETFL)`, "fcntl", fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/** fchown(2). */
export function fchown(kernel: Kernel, fd: Fd, uid: number, gid: number): void {
  kernel.must(`fchown(${fd.label}, ${uid}, ${gid})`, "fchown", fd.number, uid, gid);
}

/**
 * Whether `path` exists. A symlink counts even if its target is missing. Deno's own calls throw if the path is missing,
 * and the first exception of a process costs half a millisecond.
 *
 * @see faccessat(2)
 */
export function isThere(kernel: Kernel, path: string): boolean {
  const result = kernel.call("faccessat", AT_FDCWD, cString(path), F_OK, AtFlag.AT_SYMLINK_NOFOLLOW);
  // glibc calls faccessat2(2), and has a fallback for ENOSYS. A sandbox around us may answer EPERM instead. EINVAL of
  // readlink(2): `path` is not a symlink.
  if (result !== -Errno.EPERM) return result === 0;
  const link = kernel.call("readlink", cString(path), alloc(1), 1);
  return link >= 0 || link === -Errno.EINVAL;
}

/** Whether it is certain that `path` does not exist. False also if that cannot be found out. @see faccessat(2) */
export function isAbsent(kernel: Kernel, path: string): boolean {
  const result = kernel.call("faccessat", AT_FDCWD, cString(path), F_OK, AtFlag.AT_SYMLINK_NOFOLLOW);
  return result === -Errno.ENOENT;
}

/**
 * Whether this process may write to `path` now, by its effective ids. The answer can change later. @see faccessat(2)
 */
export function isWritable(kernel: Kernel, path: string): boolean {
  const result = kernel.call("faccessat", AT_FDCWD, cString(path), W_OK, AccessFlag.AT_EACCESS);
  // EPERM: as in {@link isThere}. access(2) checks the real ids; in this program they equal the effective ids.
  return result === 0 || (result === -Errno.EPERM && kernel.call("access", cString(path), W_OK) === 0);
}

/** Whether this process may execute the file. */
export function isExecutable(kernel: Kernel, path: string): boolean {
  return kernel.call("access", cString(path), X_OK) === 0;
}

/** Reads `length` bytes, or fewer if the file ends earlier. @throws {RuncError} */
export function readUpTo(kernel: Kernel, fd: Fd, length: number): Uint8Array<ArrayBuffer> {
  const bytes = alloc(length);
  let done = 0;
  while (done < length) {
    const count = kernel.must(`read(${fd.label})`, "read", fd.number, bytes.subarray(done), length - done);
    if (count === 0) break;
    done += count;
  }
  return bytes.slice(0, done);
}

/**
 * The id of the mount of `path`, as in mountinfo. Undefined if the path cannot be resolved, or the kernel does not
 * report the id.
 *
 * @see statx(2), STATX_MNT_ID (Linux 5.8)
 */
export function mountId(kernel: Kernel, path: string): number | undefined {
  const STATX_MNT_ID = 0x1000;
  // struct statx: stx_mask is at 0, stx_mnt_id at 144. include/uapi/linux/stat.h
  const buffer = alloc(256);
  if (kernel.call("statx", AT_FDCWD, cString(path), 0, STATX_MNT_ID, buffer) < 0) return undefined;
  const view = new DataView(buffer.buffer);
  return (view.getUint32(0, true) & STATX_MNT_ID) === 0 ? undefined : Number(view.getBigUint64(144, true));
}

/** The file system type of `path`, a number of {@link FsMagic}. @see statfs(2) */
export function fsMagic(kernel: Kernel, path: string): number {
  // struct statfs is 120 bytes on both architectures; f_type is its first word. include/uapi/asm-generic/statfs.h
  const buffer = alloc(120);
  kernel.must(`statfs(${JSON.stringify(path)})`, "statfs", cString(path), buffer);
  return new DataView(buffer.buffer).getUint32(0, true);
}

/** Removes a file. Another process may have removed it meanwhile. */
export function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
