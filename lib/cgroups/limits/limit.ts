/**
 * Limits as data: a list of writes, each with controller, file and text. The conversions (`memory.ts`, `cpu.ts`, ...)
 * are pure and return such lists. A driver writes them.
 *
 * @module
 */

import type { ErrnoName } from "../../ffi/errno.ts";
import type { Integer64 } from "../../specs/config.ts";

/** One write to a file of the container's cgroup. */
export interface LimitWrite {
  /** Selects the directory on v1, and names the limit in messages. */
  readonly controller:
    | "cpuset"
    | "memory"
    | "cpu"
    | "pids"
    | "blkio"
    | "io"
    | "hugetlb"
    | "net_cls"
    | "net_prio"
    | "rdma";
  readonly file: string;
  readonly value: string;
  /** Errors that are ignored. */
  readonly tolerate?: readonly ErrnoName[];
  /** Written instead if the file does not exist. */
  readonly otherwise?: { readonly file: string; readonly value: string };
  /**
   * The kernel may refuse this write (EINVAL) until later files have their new values. It is then repeated after them.
   */
  readonly againAfter?: boolean;
  /** The kernel may clamp the value silently, so the file is read back and must have the same number. */
  readonly readBack?: boolean;
}

/** The part of linux.resources that a controller's limits come from. */
export const limitFields: Readonly<Record<LimitWrite["controller"], string>> = {
  cpuset: "/linux/resources/cpu",
  cpu: "/linux/resources/cpu",
  memory: "/linux/resources/memory",
  pids: "/linux/resources/pids",
  blkio: "/linux/resources/blockIO",
  io: "/linux/resources/blockIO",
  hugetlb: "/linux/resources/hugepageLimits",
  net_cls: "/linux/resources/network",
  net_prio: "/linux/resources/network",
  rdma: "/linux/resources/rdma",
};

/**
 * The names that fields of `T` have in runc's state.json, below `config.cgroups`. A field without a name is not stored,
 * so `update` does not set it again.
 */
export interface StateNames<T> {
  /** Absent there if 0 or empty. */
  readonly values: { readonly [Field in keyof T]?: string };
  /** Pointers in runc's Go types: written even if 0, because 0 is a valid limit. */
  readonly pointers: { readonly [Field in keyof T]?: string };
}

/** Whether a number in config.json is present and not 0. In runc's Go types 0 means absent. */
export function isGiven(value: Integer64 | undefined): value is Integer64 {
  return value !== undefined && BigInt(value) !== 0n;
}
