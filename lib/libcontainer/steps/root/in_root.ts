/**
 * Paths inside the rootfs. They are never resolved as strings, always beneath an open descriptor of the root. Runs in:
 * init, before pivot_root.
 *
 * @module
 */

import { resolve } from "../../../std/path.ts";
import { AT_FDCWD, FileType, formatFlags, MsgFlag, openFlag, Resolve } from "../../../ffi/constants.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { Errno, type ErrnoName } from "../../../ffi/errno.ts";
import { at, call, fixedFd, slot, store, struct, when } from "../../../plan/build.ts";
import type { CallOp, Op, Operand, Slot, Struct } from "../../../plan/op.ts";
import { awaitGo, MESSAGE_SIZE, MessageKind } from "../protocol.ts";
import { rightsControl, rightsHeader } from "../rights_message.ts";

/** `struct open_how`, 24 bytes (OPEN_HOW_SIZE_VER0): flags, mode, resolve. @see openat2(2) */
export function openHow(how: { flags: number; mode?: number; resolve: number }, show: string): Struct {
  return struct(show, 24, [
    { at: 0, size: 8, value: how.flags },
    { at: 8, size: 8, value: how.mode ?? 0 },
    { at: 16, size: 8, value: how.resolve },
  ]);
}

/** One struct for each way to open: the encoder stores a struct once for each object. This is a pure memo. */
const cache = new Map<string, Struct>();

function cachedHow(key: string, how: { flags: number; mode?: number; resolve: number }, show: () => string): Struct {
  let known = cache.get(key);
  if (known === undefined) cache.set(key, known = openHow(how, show()));
  return known;
}

/** The root of the container's file system while it is being set up. */
export const root: Slot = slot("root");

/** `path` as an absolute path below the root, without `.`, `..` and repeated slashes: `/a/../b//c` is `/b/c`. */
export function cleanPath(path: string): string {
  return resolve("/", path);
}

/** Options of {@link openInRoot} besides the path. */
export interface InRootOptions {
  readonly arch: Arch;
  /** Directories only. */
  readonly directory?: boolean;
  /** Reject symlinks in every component: procfs and sysfs must be mounted where the path says. */
  readonly noSymlinks?: boolean;
  /** Do not follow the last component if it is a symlink. */
  readonly noFollow?: boolean;
  /**
   * The number of the mount to create a target for. If the path leads to a dangling symlink, the parent then creates
   * the target. Absent: a dangling symlink is an error, which takes fewer instructions.
   */
  readonly askFor?: number;
}

/**
 * Opens a path inside the rootfs with O_PATH; symlinks are resolved like in the container. @see openat2(2),
 * RESOLVE_IN_ROOT
 */
export function openInRoot(
  path: string,
  out: Slot,
  options: InRootOptions,
  rest: Partial<Pick<CallOp, "onError" | "endStepOn" | "meaning" | "hint" | "tolerate">> = {},
): CallOp {
  const O = openFlag(options.arch);
  const flags = O.O_PATH | O.O_CLOEXEC | (options.directory ? O.O_DIRECTORY : 0) |
    (options.noSymlinks || options.noFollow ? O.O_NOFOLLOW : 0);
  const resolve = Resolve.RESOLVE_IN_ROOT | (options.noSymlinks ? Resolve.RESOLVE_NO_SYMLINKS : 0);
  const show = () =>
    `{flags: O_PATH|O_CLOEXEC${options.directory ? "|O_DIRECTORY" : ""}${
      options.noFollow ? "|O_NOFOLLOW" : ""
    }, resolve: RESOLVE_IN_ROOT${options.noSymlinks ? "|RESOLVE_NO_SYMLINKS" : ""}}`;
  const how = cachedHow(`${options.arch} ${flags} ${resolve}`, { flags, resolve }, show);
  return call("openat2", [root, path, how, 24], { out, retryAgain: true, ...rest });
}

/** The descriptor that {@link makeParents} leaves open. */
export const parent: Slot = slot("parent");

/**
 * If the parent can be asked, a component that exists but cannot be opened is taken for a dangling symlink. The next
 * calls then fail for lack of a descriptor, which is ignored, until the whole path is tried again.
 */
function tolerance({ askFor }: InRootOptions): { opened: readonly ErrnoName[]; used: readonly ErrnoName[] } {
  return askFor === undefined ? { opened: [], used: [] } : { opened: ["ENOENT"], used: ["EBADF"] };
}

/** The message of {@link askOps}. Only its value differs between mounts. */
const request = struct("{target, mount, is file}", MESSAGE_SIZE, [{ at: 0, size: 4, value: MessageKind.target }]);
const control = rightsControl(1);
const requestHeader = rightsHeader("target", request, MESSAGE_SIZE, control);

/** Asks the parent to create a mount target, and opens it. @see ../launch/make_target.ts */
function askOps(mount: number, isFile: Operand, open: CallOp): readonly Op[] {
  return [
    store(at(request, 8), 4, mount),
    store(at(request, 12), 4, 0),
    when(isFile, "!=", 0, [store(at(request, 12), 4, 1)]),
    store(at(control, 16), 4, root),
    call("sendmsg", [fixedFd("sync"), requestHeader, MsgFlag.MSG_NOSIGNAL]),
    ...awaitGo(),
    open,
  ];
}

/**
 * The ops that create the missing ones of `directories` (path components), and leave the last one open in {@link
 * parent}.
 *
 * `meaning`: the text of an error.
 */
export function makeParents(
  directories: readonly string[],
  options: InRootOptions,
  meaning?: CallOp["meaning"],
): readonly Op[] {
  const ops: Op[] = [openInRoot("/", parent, { ...options, directory: true, noFollow: false })];
  const { opened, used } = tolerance(options);
  directories.forEach((name, index) => {
    const path = "/" + directories.slice(0, index + 1).join("/");
    ops.push(
      call("mkdirat", [parent, name, 0o755], { tolerate: ["EEXIST", ...used], meaning }),
      call("close", [parent], { tolerate: used }),
      openInRoot(path, parent, { ...options, directory: true, noFollow: false }, { tolerate: opened, meaning }),
    );
  });
  return ops;
}

/** Opens the directory `path` inside the rootfs, and creates it with its parents (0755) if missing. `path`: clean. */
export function ensureDirectory(
  path: string,
  out: Slot,
  options: InRootOptions,
  rest: Partial<CallOp> = {},
): readonly Op[] {
  const components = path.split("/").slice(1);
  const open = openInRoot(path, out, { ...options, directory: true }, rest);
  // The last directory is the requested one.
  const make: Op[] = [...makeParents(components, options), { op: "add", left: parent, right: 0, out }];
  const { askFor } = options;
  if (askFor !== undefined) make.push(when(out, "==", -Errno.ENOENT, askOps(askFor, 0, open)));
  return [{ ...open, onError: [{ errnos: ["ENOENT"], ops: make }, ...(rest.onError ?? [])] }];
}

/**
 * Opens the mount target `path`, and creates it if missing: an empty file (0644) if the value of `isFile` is not 0,
 * else a directory. `path`: clean.
 */
export function ensureTarget(path: string, out: Slot, isFile: Operand, options: InRootOptions): readonly Op[] {
  const O = openFlag(options.arch);
  const components = path.split("/").slice(1);
  const name = components.at(-1)!;
  const open = openInRoot(path, out, options);
  const { askFor } = options;
  const { used } = tolerance(options);
  const exists = askFor === undefined
    ? { meaning: { EEXIST: `mountpoint ${JSON.stringify(path)} is a dangling symlink` } }
    : { tolerate: ["EEXIST", ...used] as const };
  const make: Op[] = [
    ...makeParents(components.slice(0, -1), options),
    {
      op: "if",
      left: isFile,
      is: "!=",
      right: 0,
      then: [
        call("openat", [parent, name, O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW | O.O_CLOEXEC, 0o644], {
          out,
          ...exists,
        }),
        call("close", [out], { tolerate: used }),
      ],
      otherwise: [call("mkdirat", [parent, name, 0o755], { tolerate: ["EEXIST", ...used] })],
    },
    call("close", [parent], { tolerate: used }),
    askFor === undefined ? open : { ...open, onError: [{ errnos: ["ENOENT"], ops: askOps(askFor, isFile, open) }] },
  ];
  return [{ ...open, onError: [{ errnos: ["ENOENT"], ops: make }] }];
}

/**
 * Opens an absolute path when the rootfs is the root but the host's /proc is still open. It follows none of the links
 * in /proc that lead to descriptors. @see openat2(2), RESOLVE_NO_MAGICLINKS
 */
export function openInside(
  path: string,
  out: Slot,
  flags: number,
  arch: Arch,
  rest: Partial<Pick<CallOp, "meaning" | "hint">> = {},
): CallOp {
  const { O_CLOEXEC } = openFlag(arch);
  const shown = () => formatFlags(openFlag(arch), flags | O_CLOEXEC);
  const how = cachedHow(
    `${arch} ${flags} inside`,
    { flags: flags | O_CLOEXEC, resolve: Resolve.RESOLVE_NO_MAGICLINKS },
    () => `{flags: ${shown()}, resolve: RESOLVE_NO_MAGICLINKS}`,
  );
  return call("openat2", [AT_FDCWD, path, how, 24], { out, ...rest });
}

/**
 * Opens the file `name` in the open directory `directory` as a mount target, and creates it with `mode` if missing. It
 * opens an existing file only with O_PATH, because opening a device has effects and opening a fifo blocks. A symlink is
 * an error.
 */
export function ensureFile(directory: Operand, name: string, out: Slot, mode: number, arch: Arch): readonly Op[] {
  const { O_PATH, O_CLOEXEC } = openFlag(arch);
  const how = cachedHow(
    `${arch} file`,
    { flags: O_PATH | O_CLOEXEC, resolve: Resolve.RESOLVE_BENEATH | Resolve.RESOLVE_NO_SYMLINKS },
    () => "{flags: O_PATH|O_CLOEXEC, resolve: RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS}",
  );
  return [
    call("mknodat", [directory, name, FileType.S_IFREG | mode, 0], { tolerate: ["EEXIST"] }),
    call("openat2", [directory, name, how, 24], { out, retryAgain: true }),
  ];
}

/**
 * Leaves 0 in `out` if `fd` is a directory, which it enters, and another number for any other file. A directory that
 * may not be searched counts as a directory too. fchdir(2)
 */
export function isFileOp(fd: Operand, out: Slot): CallOp {
  return call("fchdir", [fd], {
    out,
    tolerate: ["ENOTDIR"],
    onError: [{ errnos: ["EACCES"], ops: [{ op: "add", left: 0, right: 0, out }] }],
  });
}

/** Opens an absolute path of the host with O_PATH. */
export function openHost(path: string, out: Slot, arch: Arch, rest: Partial<CallOp> = {}): CallOp {
  const O = openFlag(arch);
  return call("openat", [AT_FDCWD, path, O.O_PATH | O.O_CLOEXEC, 0], { out, ...rest });
}
