/**
 * The processes of the fake host, and what they do by themselves: scripts.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { Refusal } from "./file_system.ts";
import type { OpenFile } from "./open_files.ts";

/** What a process does: it yields what it waits for. A number is its exit code; without one it goes on until it is killed. */
export type Script = Generator<() => boolean, number | void>;

/** How a process has ended, in the words of waitid(2). */
export type Ending = { readonly code: number } | { readonly signal: number };

/** A descriptor of a process. */
export interface Descriptor {
  readonly file: OpenFile;
  cloexec: boolean;
}

/** The kinds of namespaces, as files of /proc/PID/ns. */
export const namespaceFiles = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] as const;

/** A process. */
export class Process {
  readonly descriptors = new Map<number, Descriptor>();
  readonly namespaces = new Map<string, number>(namespaceFiles.map((name, index) => [name, 4026531835 + index]));
  /** Its cgroup by hierarchy, as in /proc/PID/cgroup. */
  readonly cgroups = new Map<string, string>();
  readonly limits = new Map<number, { soft: bigint; hard: bigint }>();
  /** Files of its directory in /proc that a test has set. */
  readonly files = new Map<string, string>([["setgroups", "allow\n"]]);
  readonly signals: number[] = [];
  name: string;
  argv: readonly string[] = [];
  environment: readonly string[] = [];
  cwd = "/";
  script?: Script;
  #waits?: () => boolean;
  ending?: Ending;
  /** A signal that it does not die of yet, because it is frozen. */
  pending?: number;

  constructor(readonly pid: number, readonly parent: Process | undefined, name: string, public startTime: number) {
    this.name = name;
    for (const [file, number] of parent?.namespaces ?? []) this.namespaces.set(file, number);
    for (const [hierarchy, path] of parent?.cgroups ?? []) this.cgroups.set(hierarchy, path);
    for (const [file, text] of parent?.files ?? []) this.files.set(file, text);
  }

  get hasEnded(): boolean {
    return this.ending !== undefined;
  }

  /** Runs its script as far as it goes. Whether it did anything. */
  run(): boolean {
    if (this.script === undefined || this.hasEnded || (this.#waits !== undefined && !this.#waits())) return false;
    const { done, value } = this.script.next();
    if (!done) this.#waits = value;
    else {
      this.script = undefined;
      if (typeof value === "number") this.end({ code: value });
    }
    return true;
  }

  /** Ends it. Its descriptors are closed. */
  end(how: Ending): void {
    if (this.hasEnded) return;
    this.ending = how;
    this.script = undefined;
    for (const { file } of this.descriptors.values()) file.release();
    this.descriptors.clear();
    this.cgroups.clear();
  }

  /** Closes a descriptor, if it is open. */
  close(number: number): void {
    const descriptor = this.descriptors.get(number);
    if (descriptor === undefined) throw new Refusal(Errno.EBADF);
    this.descriptors.delete(number);
    descriptor.file.release();
  }

  /** Gives it a descriptor: the lowest free number from `least` up. */
  open(file: OpenFile, { cloexec = true, least = 0 }: { cloexec?: boolean; least?: number } = {}): number {
    let number = least;
    while (this.descriptors.has(number)) number++;
    this.descriptors.set(number, { file: file.retain(), cloexec });
    return number;
  }

  /** Its descriptor. @throws {Refusal} EBADF */
  file(number: number): OpenFile {
    const descriptor = this.descriptors.get(number);
    if (descriptor === undefined) throw new Refusal(Errno.EBADF);
    return descriptor.file;
  }
}
