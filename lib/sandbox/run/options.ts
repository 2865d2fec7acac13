/**
 * The options of a sandbox and of its processes.
 *
 * @module
 */

import type { Log } from "../../libcontainer/runtime.ts";
import type { IsolationOptions } from "../config/options.ts";
import type { Duration, Size } from "../config/units.ts";

/** Where a sandbox's files come from. */
export type SandboxRoot =
  /** The host's programs and libraries, read-only. */
  | "host"
  /** A root file system: absolute, on the host. */
  | { readonly directory: string }
  | ImageRoot;

/** The root file system of an image on disk. Its config gives the user, the environment and the working directory. */
export interface ImageRoot {
  /** An OCI image layout, or an archive of `docker save` or `podman save`: absolute, on the host. */
  readonly image: string;
  /** Which image, if there are several: `name:tag`, or the tag alone. */
  readonly name?: string;
  /**
   * Where unpacked layers are kept: absolute. It must belong to the caller alone. By default `/var/lib/runc-sandbox`;
   * without root `~/.cache/runc-sandbox`, or `/var/tmp/runc-sandbox-UID`.
   */
  readonly cache?: string;
}

/** Options of {@link Sandbox.create}. Each default is the strictest choice; a sandbox is weakened by name only. */
export interface SandboxOptions extends IsolationOptions {
  /** `host` by default. */
  readonly root?: SandboxRoot;
  /** The sandbox is closed after this time: no limit by default, which `session` means, too. */
  readonly timeout?: Duration | "session";
  /** How much `output()` keeps of each stream: 16 MiB by default. */
  readonly maxOutput?: Size;
  /** A limit that the host cannot set is an error. Otherwise it is logged, and in {@link Sandbox.unlimited}. */
  readonly requireLimits?: boolean;
  /** Aborting it ends the creation, and later closes the sandbox. */
  readonly signal?: AbortSignal;
  /**
   * Where the state of sandboxes is kept: absolute. It is made if it is not there, and must belong to the caller alone.
   * By default `/run/runc-sandbox`; without root `/run/user/UID/runc-sandbox`, or `/tmp/runc-sandbox-UID`.
   */
  readonly directory?: string;
  /** Receives log records; by default they are dropped. */
  readonly log?: Log;
}

/** What becomes of a process's output: `inherit` copies it to this program's own. */
export type SandboxOutputKind = "piped" | "inherit" | "null";

/** Options of {@link Sandbox.spawn}. */
export interface SandboxSpawnOptions {
  /** Its arguments, without the program's name. */
  readonly args?: readonly string[];
  /** `null`, empty, by default. */
  readonly stdin?: "piped" | "null";
  /** `inherit` by default. */
  readonly stdout?: SandboxOutputKind;
  /** `inherit` by default. */
  readonly stderr?: SandboxOutputKind;
  /** Put over the sandbox's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Only `env`, and nothing of the sandbox's environment. */
  readonly clearEnv?: boolean;
  /** Absolute, in the sandbox; the sandbox's own by default. */
  readonly cwd?: string | URL;
  /** Aborting it ends the process with SIGKILL. */
  readonly signal?: AbortSignal;
  /** The process is ended with SIGKILL after this time. */
  readonly timeout?: Duration;
}
