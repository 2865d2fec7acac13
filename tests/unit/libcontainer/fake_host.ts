/**
 * A host in memory, as far as the parent's acts change it.
 *
 * @module
 */

import { RuncError } from "../../../lib/errors.ts";
import { errnoName, errnoText } from "../../../lib/ffi/errno.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import type { Kernel } from "../../../lib/ffi/kernel.ts";

/**
 * The pids of a launch. `left`: a process that a program of the container has started, and that outlives init. `first`:
 * the init of the container that an exec enters. `criu`: a restored init is its sibling.
 */
export const pids = { stage: 100, helper: 101, init: 102, stranger: 103, left: 104, first: 105, criu: 106 } as const;

/** A process of the container. */
export interface FakeProcess {
  /** It is a child of the parent, which may reap it. */
  readonly isOurs: boolean;
  /** It has ended and is not reaped. */
  isZombie: boolean;
  readonly cgroups: Set<string>;
  readonly limits: Set<string>;
}

/** The error of a failed call. */
export function failed(call: string, errno: number): RuncError {
  const name = errnoName(errno);
  return new RuncError("syscall-failed", `${call}: ${errnoText(errno)}`, { call, errno, errnoName: name });
}

/** What a parent can change. Everything that is not undone shows in {@link snapshot}. */
export class FakeHost {
  /** Directories and files. */
  readonly paths = new Map<string, string>([["/run/runc", "directory"]]);
  readonly cgroups = new Set<string>();
  readonly rdtGroups = new Set<string>();
  readonly processes = new Map<number, FakeProcess>();
  /** Where each network device is: `host`, or a process's network namespace. */
  readonly devices = new Map<string, "host" | number>([["eth0", "host"], ["eth1", "host"]]);
  /** What the container's cgroups and group in resctrl have. */
  limits = "old";
  schemata = "old";
  isFrozen = false;
  /** A command has the container's lock. */
  isLocked = false;
  /** The parent's open descriptors. */
  readonly descriptors = new Set<string>();
  /** Descriptors of messages that are open. */
  received = 0;
  /** What was signalled, and how. */
  readonly signalled: string[] = [];
  /** Hooks that ran, by path. */
  readonly hooks: string[] = [];

  /** What is there, without the history. */
  snapshot() {
    const { limits, schemata, isFrozen, isLocked, received } = this;
    return {
      paths: [...this.paths].sort(),
      cgroups: [...this.cgroups].sort(),
      rdtGroups: [...this.rdtGroups],
      processes: [...this.processes.keys()],
      devices: [...this.devices],
      descriptors: [...this.descriptors],
      limits,
      schemata,
      isFrozen,
      isLocked,
      received,
    };
  }

  start(pid: number, isOurs: boolean, cgroups: Iterable<string> = []): void {
    this.processes.set(pid, { isOurs, isZombie: false, cgroups: new Set(cgroups), limits: new Set() });
  }

  /** Ends a process. `ownsPids`: with init end all processes of its pid namespace. */
  end(pid: number, { ownsPids }: { readonly ownsPids: boolean }): void {
    if (!this.processes.delete(pid)) return;
    if (pid === pids.init && ownsPids) this.processes.delete(pids.left);
    // The kernel gives the devices of a network namespace back.
    for (const [name, place] of this.devices) if (place === pid) this.devices.set(name, "host");
  }

  make(path: string, what: string): void {
    if (this.paths.has(path)) throw failed(`mkdir("${path}")`, Errno.EEXIST);
    this.paths.set(path, what);
  }

  /** Removes a directory with what is in it; ignores a missing one. */
  remove(path: string): void {
    for (const each of [...this.paths.keys()]) {
      if (each === path || each.startsWith(`${path}/`)) this.paths.delete(each);
    }
  }

  /** A cgroup with processes cannot be removed. */
  removeCgroup(path: string): void {
    for (const { cgroups, isZombie } of this.processes.values()) {
      if (!isZombie && cgroups.has(path)) throw failed(`rmdir("${path}")`, Errno.EBUSY);
    }
    this.cgroups.delete(path);
    // Limits go with their cgroup.
    if (this.cgroups.size === 0) this.limits = "old";
  }
}

/** libc, as far as drivers of waits call it. A descriptor is always readable; each look at the clock takes 0.1 ms. */
export function fakeKernel(calls: string[] = []): Kernel {
  let nanoseconds = 0n;
  const call = (name: string, ...args: readonly unknown[]): number => {
    calls.push(name);
    const [first, second] = args;
    if (name === "clock_gettime") {
      new DataView((second as Uint8Array<ArrayBuffer>).buffer).setBigInt64(8, nanoseconds += 100_000n, true);
      return 0;
    }
    if (name !== "poll") return -Errno.ENOSYS;
    if (first === null) return 0;
    const table = new DataView((first as Uint8Array<ArrayBuffer>).buffer);
    for (let at = 0; at < table.byteLength; at += 8) table.setInt16(at + 6, 1, true);
    return table.byteLength / 8;
  };
  return { call, callAsync: (name: string, ...args: unknown[]) => Promise.resolve(call(name, ...args)) } as never;
}
