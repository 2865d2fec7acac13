/**
 * The options that decide what a sandbox may see, do and use, with their defaults. Pure.
 *
 * @module
 */

import type { Seccomp } from "../../specs/config.ts";
import type { Size } from "./units.ts";

/** A file or directory of the host that a sandbox sees. */
export interface SandboxMount {
  /** Absolute, on the host. */
  readonly source: string;
  /** Absolute, in the sandbox. */
  readonly target: string;
  /** True unless this is false. */
  readonly readonly?: boolean;
}

/** A user of a sandbox: numbers as seen in it. */
export interface SandboxUser {
  /** User id. */
  readonly uid: number;
  /** Group id. */
  readonly gid: number;
  /** Supplementary groups; none by default. */
  readonly additionalGids?: readonly number[];
}

/** What a sandbox is isolated from, and its limits. Each default is the strictest choice. */
export interface IsolationOptions {
  /** Memory of all processes and of the fresh directories together: 1 GiB by default. There is no swap. */
  readonly memory?: Size;
  /** Processors, such as 0.5; all by default. */
  readonly cpus?: number;
  /** Processes and threads: 512 by default. */
  readonly pids?: number;
  /** Size of each of the fresh directories (/tmp, /run, the home directory): 256 MiB by default. */
  readonly disk?: Size;
  /** `none`, the default: loopback only. `host`: the host's network, with all that listens on its loopback. */
  readonly network?: "none" | "host";
  /** `root` is root without capabilities. By default a user who is not root, if the host has ids for one. */
  readonly user?: SandboxUser | "root";
  /** Names such as `CAP_NET_BIND_SERVICE`, with or without `CAP_`; none by default. */
  readonly capabilities?: readonly string[];
  /** The default profile unless this is another one; false is none. */
  readonly seccomp?: Seccomp | false;
  /** Whether the root file system is read-only: true by default. The fresh directories are always writable. */
  readonly readonly?: boolean;
  /** Further files and directories of the host. */
  readonly mounts?: readonly SandboxMount[];
  /** Environment. It is put over the sandbox's own HOME, LANG and PATH. */
  readonly env?: Readonly<Record<string, string>>;
  /** Working directory: absolute, in the sandbox. */
  readonly cwd?: string;
  /** Host name in the sandbox: `sandbox` by default. */
  readonly hostname?: string;
}

/** Defaults of {@link IsolationOptions}. */
export const defaults = {
  memory: "1GiB",
  pids: 512,
  disk: "256MiB",
  hostname: "sandbox",
} as const;
