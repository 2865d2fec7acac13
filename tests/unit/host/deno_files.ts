/**
 * Deno's functions on files, for the fake host: their results and their errors.
 *
 * @module
 */

import { FileType } from "../../../lib/ffi/constants.ts";
import { Errno, errnoText } from "../../../lib/ffi/errno.ts";
import { file, type Inode, Refusal } from "./file_system.ts";
import type { FakeHost } from "./host.ts";
import { PlainFile } from "./open_files.ts";

const classes: Readonly<Record<number, new (message: string) => Error>> = {
  [Errno.ENOENT]: Deno.errors.NotFound,
  [Errno.EPERM]: Deno.errors.PermissionDenied,
  [Errno.EACCES]: Deno.errors.PermissionDenied,
  [Errno.EEXIST]: Deno.errors.AlreadyExists,
  [Errno.ENOTDIR]: Deno.errors.NotADirectory,
  [Errno.EISDIR]: Deno.errors.IsADirectory,
  [Errno.EBUSY]: Deno.errors.Busy,
};

/** The error that Deno makes of an errno: `No such file or directory (os error 2): readfile '/x'`. */
function denoError(errno: number, call: string, path: string): Error {
  const text = errnoText(errno);
  const Class = classes[errno] ?? Error;
  return new Class(`${text[0]!.toUpperCase()}${text.slice(1)} (os error ${errno}): ${call} '${path}'`);
}

function info(node: Inode): Partial<Deno.FileInfo> {
  return {
    isDirectory: node.isDirectory,
    isFile: node.type === FileType.S_IFREG,
    isSymlink: node.target !== undefined,
    dev: node.dev,
    ino: node.ino,
    mode: node.mode,
    uid: node.uid,
    gid: node.gid,
    size: node.content().length,
  };
}

function write(
  host: FakeHost,
  path: string,
  content: string | Uint8Array<ArrayBuffer>,
  options: Deno.WriteFileOptions,
): void {
  host.check(`open ${path}`);
  const { parent, name, node } = host.fs.place(path);
  if (node === undefined && options.create === false) throw new Refusal(Errno.ENOENT);
  const target = node ?? parent.add(name, file());
  if (target.isDirectory) throw new Refusal(Errno.EISDIR);
  if (node === undefined && options.mode !== undefined) target.mode = FileType.S_IFREG | options.mode;
  if (target.write !== undefined) target.write(typeof content === "string" ? content : decode(content));
  else target.bytes = typeof content === "string" ? new TextEncoder().encode(content) : content.slice();
}

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function realPath({ fs }: FakeHost, path: string): string {
  const node = fs.get(path);
  const names: string[] = [];
  for (let here = node; here !== fs.root; here = here.parent!) {
    names.unshift(here.parent!.names().find(([, each]) => each === here)![0]);
  }
  return `/${names.join("/")}`;
}

function mkdir(host: FakeHost, path: string, { recursive = false, mode = 0o777 }: Deno.MkdirOptions): void {
  host.check(`mkdir ${path}`);
  if (!recursive) return void host.fs.mkdir(path, mode);
  const parts = path.split("/").filter((part) => part !== "");
  parts.forEach((_, index) => {
    const each = `/${parts.slice(0, index + 1).join("/")}`;
    if (host.fs.find(each) === undefined) host.fs.mkdir(each, mode);
  });
}

function rename({ fs }: FakeHost, from: string, to: string): void {
  const [source, target] = [fs.place(from, { follow: false }), fs.place(to, { follow: false })];
  if (source.node === undefined) throw new Refusal(Errno.ENOENT);
  source.parent.entries!.delete(source.name);
  target.parent.add(target.name, source.node);
}

function removeFile(host: FakeHost, path: string, options: Deno.RemoveOptions): void {
  host.check(`remove ${path}`);
  host.fs.remove(path, options);
}

/** The functions by name. */
export function denoFiles(host: FakeHost): Record<string, unknown> {
  const { fs } = host;
  /** A function that fails as Deno's does. */
  const as =
    <Args extends readonly unknown[], Result>(call: string, action: (...args: Args) => Result) =>
    (...args: Args): Result => {
      try {
        host.begin(call);
        return action(...args);
      } catch (error) {
        if (error instanceof Refusal) throw denoError(error.errno, call, String(args[0]));
        throw error;
      }
    };
  const readable = (path: string): Inode => {
    host.check(`open ${path}`);
    const node = fs.get(path);
    if (node.isDirectory) throw new Refusal(Errno.EISDIR);
    return node;
  };
  return {
    readTextFileSync: as("readfile", (path: string) => readable(path).text),
    readFileSync: as("readfile", (path: string) => readable(path).content().slice()),
    writeTextFileSync: as(
      "writefile",
      (path: string, text: string, options: Deno.WriteFileOptions = {}) => write(host, path, text, options),
    ),
    writeFileSync: as(
      "writefile",
      (path: string, content: Uint8Array<ArrayBuffer>, options: Deno.WriteFileOptions = {}) =>
        write(host, path, content, options),
    ),
    openSync: as("open", (path: string) => {
      const opened = new PlainFile(readable(path), path);
      return { writeSync: as("write", (bytes: Uint8Array) => opened.write(bytes)), [Symbol.dispose]: () => {} };
    }),
    statSync: as("stat", (path: string) => {
      host.check(`stat ${path}`);
      return info(fs.get(path));
    }),
    lstatSync: as("lstat", (path: string) => info(fs.get(path, { follow: false }))),
    readDirSync: as("readdir", (path: string) => {
      const node = fs.get(path);
      if (!node.isDirectory) throw new Refusal(Errno.ENOTDIR);
      return node.names().map(([name, each]) => ({ name, ...info(each) }));
    }),
    readLinkSync: as("readlink", (path: string) => {
      const { target, label } = fs.get(path, { follow: false });
      if (target === undefined) throw new Refusal(Errno.EINVAL);
      return typeof target === "string" ? target : label;
    }),
    realPathSync: as("realpath", (path: string) => realPath(host, path)),
    mkdirSync: as("mkdir", (path: string, options: Deno.MkdirOptions = {}) => mkdir(host, path, options)),
    removeSync: as("remove", (path: string, options: Deno.RemoveOptions = {}) => removeFile(host, path, options)),
    renameSync: as("rename", (from: string, to: string) => rename(host, from, to)),
    cwd: () => "/",
    uid: () => host.uid,
    gid: () => host.uid,
    execPath: () => "/usr/bin/deno",
  };
}
