/**
 * Limits as data: which file of which controller gets which text, in which order. The conversions (`memory.ts`, `cpu.ts`, ...) are
 * pure and give these; a driver writes them.
 *
 * @module
 */

import type { ErrnoName } from "../../ffi/errno.ts";
import type { Integer64 } from "../../specs/config.ts";

/** One write to a file of the container's cgroup. */
export interface LimitWrite {
  /** Names the directory on v1, and the limit in messages. */
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
  /** These errors do not matter. */
  readonly tolerate?: readonly ErrnoName[];
  /** What is written where there is no such file. */
  readonly otherwise?: { readonly file: string; readonly value: string };
  /** Refused by the kernel (EINVAL) next to the old values of the files after it: written once more when those have been. */
  readonly againAfter?: boolean;
  /** The kernel clamps without an error: the file must read the same number afterwards. */
  readonly readBack?: boolean;
}

/** Whether a number of config.json is there and not 0, which is how Go's types say that nothing was given. */
export function isGiven(value: Integer64 | undefined): value is Integer64 {
  return value !== undefined && BigInt(value) !== 0n;
}
