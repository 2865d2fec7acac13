/**
 * What the library works with: everything that it can touch stands here, and is passed down.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";

/** Carries a record to whoever listens; the library itself prints nothing. */
export type Log = (level: "debug" | "info" | "warning" | "error", message: string) => void;

/** The surroundings of a container. */
export interface Runtime {
  /** libc. */
  readonly kernel: Kernel;
  /** State directory, absolute: one directory a container. */
  readonly root: string;
  /** Who carries out the plan inside the namespaces: the native interpreter, or this program again as `init`. */
  readonly executor: "native" | "deno";
  /** How this program is started again for `executor: "deno"`: absolute path of the binary, and its arguments up to `init`. */
  readonly reexec: { readonly path: string; readonly args: readonly string[] };
  /** cgroups are managed by systemd (`--systemd-cgroup`); refused with the reason, in this version. */
  readonly systemdCgroup: boolean;
  /** Being refused a cgroup is no error (`--rootless`). */
  readonly rootlessCgroups: boolean;
  /** The environment that hooks without `env` inherit. */
  readonly environment: Readonly<Record<string, string>>;
  /** The caller's soft limit of open files, which Deno raises for itself: given back to the container. */
  readonly softFileLimit?: number;
  /** Where warnings go. */
  readonly log: Log;
}
