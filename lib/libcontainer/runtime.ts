/**
 * What the library works with: everything that it can touch stands here, and is passed down.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import type { Interrupts } from "../ffi/poll.ts";
import type { RuntimeTrace } from "./runtime_trace.ts";

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
  /** The cgroups of new containers are managed by systemd (`--systemd-cgroup`). */
  readonly systemdCgroup: boolean;
  /**
   * Directory that compiled seccomp filters are kept in, for the next container with the same profile: absolute, and believed only where it
   * is ours alone to write. Without one each is compiled anew.
   */
  readonly filterCache?: string;
  /** Being refused a cgroup is no error (`--rootless`). */
  readonly rootlessCgroups: boolean;
  /** The environment that hooks without `env` inherit. */
  readonly environment: Readonly<Record<string, string>>;
  /** What of it is no UTF-8: the bytes of `NAME=value`, and a NUL. */
  readonly rawEnvironment?: readonly Uint8Array<ArrayBuffer>[];
  /** The caller's soft limit of open files, which Deno raises for itself: given back to the container. */
  readonly softFileLimit?: number;
  /** What ends an operation that waits for a container's process or for a hook: what it has made is then removed. */
  readonly interrupts?: Interrupts;
  /** Where warnings go. */
  readonly log: Log;
  /** Is told of everything that is done, and how long it takes. */
  readonly trace?: RuntimeTrace;
}
