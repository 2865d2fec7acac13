/**
 * Paths inside the rootfs: never resolved by string, always beneath an open descriptor of the root. Runs in: init, before pivot_root.
 *
 * @module
 */

import { AT_FDCWD, openFlag, Resolve } from "../ffi/constants.ts";
import type { Arch } from "../ffi/syscalls.ts";
import { call, slot, struct } from "../plan/build.ts";
import type { CallOp, Op, Operand, Slot, Struct } from "../plan/op.ts";

/** `struct open_how`, 24 bytes (OPEN_HOW_SIZE_VER0): flags, mode, resolve. @see openat2(2) */
export function openHow(how: { flags: number; mode?: number; resolve: number }, show: string): Struct {
  return struct(show, 24, [
    { at: 0, size: 8, value: how.flags },
    { at: 8, size: 8, value: how.mode ?? 0 },
    { at: 16, size: 8, value: how.resolve },
  ]);
}

/** One struct for each way to open, for structs are stored once an identity: a pure memo. */
const cache = new Map<string, Struct>();

function cachedHow(key: string, how: { flags: number; mode?: number; resolve: number }, show: string): Struct {
  let known = cache.get(key);
  if (known === undefined) cache.set(key, known = openHow(how, show));
  return known;
}

/** The root of the container's file system while it is being built. */
export const root: Slot = slot("root");

/** Lexically clean and absolute: `/a/../b//c` is `/b/c`. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return "/" + parts.join("/");
}

/** What {@link openInRoot} may be told beside the path. */
export interface InRootOptions {
  readonly arch: Arch;
  /** Directories only. */
  readonly directory?: boolean;
  /** Refuse symlinks in every component: procfs and sysfs must be where the path says. */
  readonly noSymlinks?: boolean;
}

/** Opens a path inside the rootfs with O_PATH; symlinks are resolved as the container would. @see openat2(2), RESOLVE_IN_ROOT */
export function openInRoot(
  path: string,
  out: Slot,
  options: InRootOptions,
  rest: Partial<Pick<CallOp, "onError" | "endStepOn" | "meaning" | "hint" | "tolerate">> = {},
): CallOp {
  const O = openFlag(options.arch);
  const flags = O.O_PATH | O.O_CLOEXEC | (options.directory ? O.O_DIRECTORY : 0) |
    (options.noSymlinks ? O.O_NOFOLLOW : 0);
  const resolve = Resolve.RESOLVE_IN_ROOT | (options.noSymlinks ? Resolve.RESOLVE_NO_SYMLINKS : 0);
  const show = `{flags: O_PATH|O_CLOEXEC${options.directory ? "|O_DIRECTORY" : ""}, resolve: RESOLVE_IN_ROOT${
    options.noSymlinks ? "|RESOLVE_NO_SYMLINKS" : ""
  }}`;
  const how = cachedHow(`${options.arch} ${flags} ${resolve}`, { flags, resolve }, show);
  return call("openat2", [root, path, how, 24], { out, retryAgain: true, ...rest });
}

const parent = slot("parent");

/** The ops that make each missing directory of `directories` (path components), leaving the last one open in `parent`. */
function makeParents(directories: readonly string[], options: InRootOptions): readonly Op[] {
  const ops: Op[] = [openInRoot("/", parent, { ...options, directory: true })];
  directories.forEach((name, index) => {
    const path = "/" + directories.slice(0, index + 1).join("/");
    ops.push(
      call("mkdirat", [parent, name, 0o755], { tolerate: ["EEXIST"] }),
      call("close", [parent]),
      openInRoot(path, parent, { ...options, directory: true }),
    );
  });
  return ops;
}

/** Opens the directory `path` inside the rootfs, made with all its parents (0755) where it is missing. `path`: clean. */
export function ensureDirectory(
  path: string,
  out: Slot,
  options: InRootOptions,
  rest: Partial<CallOp> = {},
): readonly Op[] {
  const components = path.split("/").slice(1);
  const open = openInRoot(path, out, { ...options, directory: true }, rest);
  // The last one made is the one that was asked for.
  const make: Op[] = [...makeParents(components, options), { op: "add", left: parent, right: 0, out }];
  return [{ ...open, onError: [{ errnos: ["ENOENT"], ops: make }, ...(rest.onError ?? [])] }];
}

/**
 * Opens the mount target `path`, made where it is missing: an empty file (0644) where the value of `isFile` is not 0, else a directory.
 * `path`: clean.
 */
export function ensureTarget(path: string, out: Slot, isFile: Operand, options: InRootOptions): readonly Op[] {
  const O = openFlag(options.arch);
  const components = path.split("/").slice(1);
  const name = components.at(-1)!;
  const open = openInRoot(path, out, options);
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
          meaning: { EEXIST: `mountpoint ${JSON.stringify(path)} is a symlink that leads to nothing` },
        }),
        call("close", [out]),
      ],
      otherwise: [call("mkdirat", [parent, name, 0o755], { tolerate: ["EEXIST"] })],
    },
    call("close", [parent]),
    open,
  ];
  return [{ ...open, onError: [{ errnos: ["ENOENT"], ops: make }] }];
}

/** Opens an absolute path of the host, O_PATH. */
export function openHost(path: string, out: Slot, arch: Arch, rest: Partial<CallOp> = {}): CallOp {
  const O = openFlag(arch);
  return call("openat", [AT_FDCWD, path, O.O_PATH | O.O_CLOEXEC, 0], { out, ...rest });
}
