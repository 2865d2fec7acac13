/**
 * The library's environment: everything that it may access is a field here, and is passed down.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import type { Interrupts } from "../ffi/poll.ts";
import type { RecentFacts } from "./recent_facts.ts";
import type { RuntimeTrace } from "./runtime_trace.ts";

/** Receives log records; the library itself prints nothing. */
export type Log = (level: "debug" | "info" | "warning" | "error", message: string) => void;

/** The surroundings of a container. */
export interface Runtime {
  /** libc. */
  readonly kernel: Kernel;
  /** State directory, absolute, with one directory for each container. */
  readonly root: string;
  /** What runs the plan inside the namespaces: the native interpreter, or this program executed again as `init`. */
  readonly executor: "native" | "deno";
  /**
   * How to start this program again for `executor: "deno"`: absolute path of the binary, and its arguments up to
   * `init`.
   */
  readonly reexec: { readonly path: string; readonly args: readonly string[] };
  /** The cgroups of new containers are managed by systemd (`--systemd-cgroup`). */
  readonly systemdCgroup: boolean;
  /**
   * Absolute path of the cache of compiled seccomp filters, shared by containers with the same profile. It is trusted
   * only if no other user can write to it. Without it, each profile is compiled anew.
   */
  readonly filterCache?: string;
  /** A denied permission for a cgroup is no error (`--rootless`). */
  readonly rootlessCgroups: boolean;
  /** The environment that hooks without `env` inherit. */
  readonly environment: Readonly<Record<string, string>>;
  /** The entries that are not UTF-8, as bytes of `NAME=value` and a NUL. */
  readonly rawEnvironment?: readonly Uint8Array<ArrayBuffer>[];
  /** The caller's soft limit of open files, which Deno raises for itself; it is restored for the container. */
  readonly softFileLimit?: number;
  /**
   * Interrupts operations that wait for a container's process or for a hook. What they have created is then removed.
   */
  readonly interrupts?: Interrupts;
  /** For a program that makes many containers: facts of the host that may be a second old. Absent: each is read anew. */
  readonly recent?: RecentFacts;
  /** Receives log records. */
  readonly log: Log;
  /** Records everything that is done, and how long it takes. */
  readonly trace?: RuntimeTrace;
}
