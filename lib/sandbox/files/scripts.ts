/**
 * What programs of a sandbox do with its files, and what they answer. Pure.
 *
 * The scripts run in the sandbox, as its user: what they read, follow and write is what any of its programs could. What
 * they answer is as little trusted as these.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { FileType } from "../../ffi/constants.ts";
import { errnos } from "../../ffi/errno.ts";
import { pathText } from "../config/units.ts";

/** A file in a directory. */
export interface SandboxDirEntry {
  /** Without its directory. */
  readonly name: string;
  /** Whether it is a regular file, itself and not through a symlink. */
  readonly isFile: boolean;
  /** Whether it is a directory, itself and not through a symlink. */
  readonly isDirectory: boolean;
  /** Whether it is a symlink. */
  readonly isSymlink: boolean;
}

/** A file below a directory. */
export interface SandboxWalkEntry extends SandboxDirEntry {
  /** Begins with the path that was asked for. */
  readonly path: string;
}

/** A file's attributes. */
export interface SandboxFileInfo {
  /** Whether it is a regular file. */
  readonly isFile: boolean;
  /** Whether it is a directory. */
  readonly isDirectory: boolean;
  /** Whether it is a symlink: only for `lstat`. */
  readonly isSymlink: boolean;
  /** Whether it is a block device. */
  readonly isBlockDevice: boolean;
  /** Whether it is a character device. */
  readonly isCharDevice: boolean;
  /** Whether it is a FIFO. */
  readonly isFifo: boolean;
  /** Whether it is a socket. */
  readonly isSocket: boolean;
  /** In bytes. */
  readonly size: number;
  /** Type and permissions. */
  readonly mode: number;
  /** Its owner, as the sandbox sees it. */
  readonly uid: number;
  /** Its group, as the sandbox sees it. */
  readonly gid: number;
  /** The inode's number. */
  readonly ino: number;
  /** The number of its hard links. */
  readonly nlink: number;
  /** When it was last read, in whole seconds. */
  readonly atime: Date;
  /** When its content last changed, in whole seconds. */
  readonly mtime: Date;
  /** When its attributes last changed, in whole seconds. */
  readonly ctime: Date;
}

const needExisting = `if [ ! -e "$1" ]; then echo "sh: $1: No such file or directory" >&2; exit 1; fi`;
const refuseExisting = `if [ -e "$1" ] || [ -L "$1" ]; then echo "sh: $1: File exists" >&2; exit 1; fi`;

/** `$1` is the path. They use what GNU coreutils and busybox have in common. */
export const scripts = {
  /** At most `$2` bytes. */
  read: 'exec head -c "$2" -- "$1"',
  write: 'exec tee -- "$1" >/dev/null',
  append: 'exec tee -a -- "$1" >/dev/null',
  chmod: 'exec chmod "$2" -- "$1"',
  // A pattern that matches nothing stays as it is, and then there is no such file.
  list: `ls -- "$1/." >/dev/null && cd -- "$1" || exit 1
    for name in .* *; do
      if [ "$name" = . ] || [ "$name" = .. ]; then continue; fi
      if [ -L "./$name" ]; then kind=l; elif [ -d "./$name" ]; then kind=d; elif [ -f "./$name" ]; then kind=f
      elif [ -e "./$name" ]; then kind=o; else continue; fi
      printf '%s%s\\0' "$kind" "$name"
    done`,
  mkdir: 'exec mkdir -m "$2" -- "$1"',
  mkdirs: 'exec mkdir -p -m "$2" -- "$1"',
  remove: 'if [ -d "$1" ] && [ ! -L "$1" ]; then exec rmdir -- "$1"; else exec rm -- "$1"; fi',
  removeAll: 'exec rm -r -- "$1"',
  writeNew: `${refuseExisting}; set -C; cat > "$1"`,
  writeOld: `${needExisting}; exec tee -- "$1" >/dev/null`,
  appendOld: `${needExisting}; exec tee -a -- "$1" >/dev/null`,
  // `-T`: the second name is never a directory to put the first one into.
  rename: `if [ -d "$2" ] && [ ! -L "$2" ] && { [ ! -d "$1" ] || [ -L "$1" ]; }; then
      echo "mv: $2: Is a directory" >&2; exit 1; fi
    exec mv -f -T -- "$1" "$2"`,
  copyFile: `for path; do if [ -d "$path" ]; then echo "cp: $path: Is a directory" >&2; exit 1; fi; done
    exec cp -- "$1" "$2"`,
  link: 'exec ln -T -- "$1" "$2"',
  // The first one is the place.
  symlink: 'exec ln -s -T -- "$2" "$1"',
  readLink: `if [ ! -L "$1" ]; then ${needExisting}; echo "readlink: $1: Invalid argument" >&2; exit 1; fi
    exec readlink -n -- "$1"`,
  realPath: `${needExisting}; exec readlink -n -f -- "$1"`,
  truncate: `${needExisting}; exec truncate -c -s "$2" -- "$1"`,
  utime: `${needExisting}; touch -c -a -d "@$2" -- "$1" && exec touch -c -m -d "@$3" -- "$1"`,
  chown: 'exec chown "$2" -- "$1"',
  makeTempFile: `${refuseExisting}; umask 077; set -C; : > "$1"`,
  // At most `$2` levels below it.
  walk: `${needExisting}
    walk() {
      if [ ! -r "$1" ] || [ ! -x "$1" ]; then echo "ls: $1: Permission denied" >&2; exit 1; fi
      for entry in "$1"/.[!.]* "$1"/..?* "$1"/*; do
        if [ -L "$entry" ]; then kind=l; elif [ -d "$entry" ]; then kind=d; elif [ -f "$entry" ]; then kind=f
        elif [ -e "$entry" ]; then kind=o; else continue; fi
        printf '%s%s\\0' "$kind" "$entry"
        if [ $kind = d ] && [ "$2" -gt 1 ]; then walk "$entry" $(($2 - 1)); fi
      done
    }
    if [ -d "$1" ]; then printf 'd%s\\0' "$1"; else printf 'f%s\\0' "$1"; fi
    if [ -d "$1" ] && [ "$2" -gt 0 ]; then walk "$1" "$2"; fi`,
  pack: 'exec tar -cf - -C "$1" .',
  unpack: 'mkdir -p -- "$1" && exec tar -xof - -C "$1"',
  cat: 'exec cat -- "$1"',
  stat: "exec stat -L -c '%f %s %u %g %i %h %X %Y %Z' -- \"$1\"",
  lstat: "exec stat -c '%f %s %u %g %i %h %X %Y %Z' -- \"$1\"",
} as const;

/** A path as an argument: no program takes it for an option. @throws {TypeError} */
export function pathArgument(path: string | URL): string {
  const text = pathText(path);
  if (text === "" || text.includes("\0")) throw new TypeError(`${JSON.stringify(text)} is not a path`);
  return text.startsWith("/") ? text : `./${text}`;
}

/** A mode as chmod(1) has it. @throws {TypeError} */
export function modeArgument(mode: number): string {
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) throw new TypeError(`${mode} is not a file mode`);
  return mode.toString(8).padStart(4, "0");
}

/** The answer of `list`. */
export function parseEntries(text: string): readonly SandboxDirEntry[] {
  return text.split("\0").filter((entry) => entry.length > 1).map((entry) => ({
    name: entry.slice(1),
    isFile: entry[0] === "f",
    isDirectory: entry[0] === "d",
    isSymlink: entry[0] === "l",
  }));
}

/** The answer of `walk` for `root`: the paths begin with it, and not with the argument that was made from it. */
export function parseWalk(text: string, root: string | URL): readonly SandboxWalkEntry[] {
  const argument = pathArgument(root);
  const shown = typeof root === "string" ? root : argument;
  return parseEntries(text).filter(({ name }) => name.startsWith(argument)).map(({ name: found, ...kind }) => ({
    path: shown + found.slice(argument.length),
    name: found.slice(found.lastIndexOf("/") + 1),
    ...kind,
  }));
}

/** A time as an argument of touch(1). @throws {TypeError} */
export function timeArgument(time: number | Date): string {
  const seconds = Math.floor(typeof time === "number" ? time : time.getTime() / 1000);
  if (!Number.isSafeInteger(seconds) || seconds < 0) throw new TypeError(`${time} is not a time`);
  return `${seconds}`;
}

/** The answer of `stat`. @throws {RuncError} `command-failed` if it is none. */
export function parseFileInfo(text: string): SandboxFileInfo {
  const [, hex = "", rest = ""] = /^([0-9a-f]{1,8})((?: \d{1,20}){8})\n$/.exec(text) ?? [];
  if (hex === "") throw new RuncError("command-failed", "the sandbox's stat(1) has not answered with numbers");
  const mode = parseInt(hex, 16);
  const [size = 0, uid = 0, gid = 0, ino = 0, nlink = 0, atime = 0, mtime = 0, ctime = 0] = rest.trim().split(" ")
    .map(Number);
  const type = mode & FileType.S_IFMT;
  const time = (seconds: number) => new Date(seconds * 1000);
  return {
    isFile: type === FileType.S_IFREG,
    isDirectory: type === FileType.S_IFDIR,
    isSymlink: type === FileType.S_IFLNK,
    isBlockDevice: type === FileType.S_IFBLK,
    isCharDevice: type === FileType.S_IFCHR,
    isFifo: type === FileType.S_IFIFO,
    isSocket: type === FileType.S_IFSOCK,
    size,
    mode,
    uid,
    gid,
    ino,
    nlink,
    atime: time(atime),
    mtime: time(mtime),
    ctime: time(ctime),
  };
}

/** The error of a script: with the errno that its program names. */
export function fileError(what: string, path: string, stderr: string): RuncError {
  const said = stderr.trim().slice(-1000);
  // glibc and musl begin with a capital letter.
  const named = Object.entries(errnos).find(([, [, text]]) => said.toLowerCase().endsWith(`: ${text.toLowerCase()}`));
  const [errnoName, [errno, text] = [undefined, undefined]] = named ?? [];
  const why = text ?? (said || "the sandbox's program has failed");
  return new RuncError("command-failed", `cannot ${what} ${JSON.stringify(path)}: ${why}`, { errno, errnoName });
}
