/**
 * The files of the fake host, in memory.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { FileType } from "../../../lib/ffi/constants.ts";
import type { Pipe } from "./open_files.ts";

/** A system call's no. */
export class Refusal extends Error {
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

let lastInode = 1;

/** A file. A directory has `entries`, or lists what there is now. */
export class Inode {
  readonly ino: number;
  uid = 0;
  gid = 0;
  rdev = 0;
  dev = 1;
  bytes: Uint8Array = new Uint8Array();
  readonly entries?: Map<string, Inode>;
  parent?: Inode;
  /** A directory's entries that depend on the moment. */
  list?: () => Iterable<readonly [string, Inode]>;
  /** A file whose content depends on the moment. */
  read?: () => string;
  /** A file that does something when it is written. */
  write?: (text: string) => void;
  /** A symlink's target; a function for those of /proc that lead to a file without a name. */
  target?: string | (() => Inode);
  /** The bytes in a fifo. */
  pipe?: Pipe;
  /** Called with what mkdir has made in this directory. */
  onMake?: (made: Inode, name: string) => void;
  /** Whether rmdir may remove this directory, whatever files are in it. */
  mayRemove?: () => boolean;
  /** F_SEAL_* bits. */
  seals = 0;
  /** The name of a memfd, or the text of a magic link. */
  label = "";
  /** What statfs(2) tells. */
  magic?: number;

  constructor(public mode: number, ino?: number) {
    this.ino = ino ?? ++lastInode;
    if (this.type === FileType.S_IFDIR) this.entries = new Map();
  }

  get type(): number {
    return this.mode & FileType.S_IFMT;
  }

  get isDirectory(): boolean {
    return this.type === FileType.S_IFDIR;
  }

  /** The content as it is now. */
  content(): Uint8Array {
    return this.read === undefined ? this.bytes : new TextEncoder().encode(this.read());
  }

  get text(): string {
    return new TextDecoder().decode(this.content());
  }

  child(name: string): Inode | undefined {
    return this.entries?.get(name) ?? [...this.list?.() ?? []].find(([each]) => each === name)?.[1];
  }

  names(): readonly (readonly [string, Inode])[] {
    return [...this.entries ?? [], ...this.list?.() ?? []];
  }

  add(name: string, node: Inode): Inode {
    this.entries!.set(name, node);
    node.parent ??= this;
    return node;
  }
}

/** A new directory. */
export function directory(mode = 0o755): Inode {
  return new Inode(FileType.S_IFDIR | mode);
}

/** A new file: with a content, or with one that depends on the moment. */
export function file(content: string | (() => string) = "", write?: (text: string) => void): Inode {
  const node = new Inode(FileType.S_IFREG | 0o644);
  if (typeof content === "string") node.bytes = new TextEncoder().encode(content);
  else node.read = content;
  node.write = write;
  return node;
}

/** A new symlink. */
export function symlink(target: string | (() => Inode), label = ""): Inode {
  const node = new Inode(FileType.S_IFLNK | 0o777);
  node.target = target;
  node.label = label;
  return node;
}

/** Where a path leads. */
interface Place {
  readonly parent: Inode;
  readonly name: string;
  readonly node?: Inode;
}

/** A tree of files, and the resolution of paths. */
export class FileSystem {
  readonly root: Inode = directory();

  constructor() {
    this.root.parent = this.root;
  }

  /** Where `path` leads. @throws {Refusal} ENOENT for a missing directory on the way, ENOTDIR, ELOOP. */
  place(path: string, { from = this.root, follow = true }: { from?: Inode; follow?: boolean } = {}): Place {
    return this.#walk(path.startsWith("/") ? this.root : from, path, follow, 0);
  }

  #walk(start: Inode, path: string, follow: boolean, links: number): Place {
    if (path === "") throw new Refusal(Errno.ENOENT);
    if (links > 40) throw new Refusal(Errno.ELOOP);
    let here = start;
    let place: Place = { parent: start.parent ?? start, name: ".", node: start };
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    for (const [index, name] of parts.entries()) {
      if (!here.isDirectory) throw new Refusal(Errno.ENOTDIR);
      const isLast = index === parts.length - 1;
      if (name === "..") {
        here = here.parent ?? here;
        place = { parent: here.parent ?? here, name: ".", node: here };
        continue;
      }
      let node = here.child(name);
      if (node?.isDirectory) node.parent ??= here;
      place = { parent: here, name, node };
      if (node?.target !== undefined && (!isLast || follow)) {
        if (typeof node.target === "function") place = { parent: here, name, node: node = node.target() };
        else {
          place = this.#walk(node.target.startsWith("/") ? this.root : here, node.target, true, links + 1);
          node = place.node;
        }
      }
      if (node === undefined) {
        if (!isLast) throw new Refusal(Errno.ENOENT);
        return place;
      }
      here = node;
    }
    return place;
  }

  /** The file at `path`. @throws {Refusal} */
  get(path: string, how: { from?: Inode; follow?: boolean } = {}): Inode {
    const { node } = this.place(path, how);
    if (node === undefined) throw new Refusal(Errno.ENOENT);
    return node;
  }

  /** The file at `path`, if there is one. */
  find(path: string, how: { from?: Inode; follow?: boolean } = {}): Inode | undefined {
    try {
      return this.place(path, how).node;
    } catch (error) {
      if (error instanceof Refusal) return undefined;
      throw error;
    }
  }

  /** Adds a file, with the directories above it. */
  put(path: string, node: Inode | string): Inode {
    const parts = path.split("/").filter((part) => part !== "");
    const name = parts.pop()!;
    let here = this.root;
    for (const part of parts) {
      const next: Inode = here.child(part) ?? here.add(part, directory());
      here = typeof next.target === "string" ? this.get(next.target, { from: here }) : next;
    }
    return here.add(name, typeof node === "string" ? file(node) : node);
  }

  /** Makes a directory, with those above it. */
  mkdirs(path: string): Inode {
    return this.find(path) ?? this.put(path, directory());
  }

  /** mkdir(2). @throws {Refusal} */
  mkdir(path: string, mode: number, from?: Inode): Inode {
    const { parent, name, node } = this.place(path, { from, follow: false });
    if (node !== undefined) throw new Refusal(Errno.EEXIST);
    const made = parent.add(name, directory(mode));
    parent.onMake?.(made, name);
    return made;
  }

  /** unlink(2) and rmdir(2). @throws {Refusal} */
  remove(path: string, { recursive = false } = {}): void {
    const { parent, name, node } = this.place(path, { follow: false });
    if (node === undefined) throw new Refusal(Errno.ENOENT);
    if (node.mayRemove !== undefined) {
      if (!node.mayRemove()) throw new Refusal(Errno.EBUSY);
    } else if (node.isDirectory && node.names().length > 0 && !recursive) throw new Refusal(Errno.ENOTEMPTY);
    parent.entries!.delete(name);
  }

  /** All paths below `path`, sorted. */
  paths(path: string): readonly string[] {
    const node = this.find(path);
    return (node?.names() ?? []).flatMap(([name, each]) => [
      `${path}/${name}`,
      ...(each.isDirectory ? this.paths(`${path}/${name}`) : []),
    ]).sort();
  }
}
