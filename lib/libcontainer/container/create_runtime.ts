/**
 * A {@link Runtime} with defaults, for programs that use the library. Reads no environment and no arguments.
 *
 * @module
 */

import { resolve } from "@std/path";
import { Kernel } from "../../ffi/kernel.ts";
import type { Runtime } from "../runtime.ts";

/** Where runc keeps the state of root's containers. */
const DEFAULT_ROOT = "/run/runc";
/** Where the command line keeps root's compiled seccomp filters. */
const FILTER_CACHE = "/run/runc-seccomp";

/**
 * The surroundings of containers: what `options` leaves out gets a default.
 *
 * - `kernel`: a new one, which opens libc (1 ms). One a program is enough.
 * - `root`: `/run/runc`, which is also the command line's, so that either sees the other's containers.
 * - `executor`: `native`; `reexec`, which only `deno` needs, is this project's main.ts, run by the Deno that runs now.
 * - `filterCache`: `/run/runc-seccomp`, the command line's, as root; none otherwise.
 * - `systemdCgroup`: no; `rootlessCgroups`: unless we are root.
 * - `environment`: empty. Hooks that bring no environment get this one.
 * - `softFileLimit`: what Deno has raised it to, where the config does not limit it.
 * - `log`: drops everything.
 *
 * @throws {RuncError} `host-lacks` where libc cannot be opened.
 */
export function createRuntime(options: Partial<Runtime> = {}): Runtime {
  return {
    executor: "native",
    systemdCgroup: false,
    rootlessCgroups: Deno.uid() !== 0,
    environment: {},
    log: () => {},
    filterCache: Deno.uid() === 0 ? FILTER_CACHE : undefined,
    ...options,
    kernel: options.kernel ?? new Kernel(),
    root: resolve(options.root ?? DEFAULT_ROOT),
    reexec: options.reexec ?? { path: Deno.execPath(), args: ["run", "--allow-all", "--cached-only", mainModule()] },
  };
}

function mainModule(): string {
  const main = new URL("../../../main.ts", import.meta.url);
  return main.protocol === "file:" ? decodeURIComponent(main.pathname) : main.href;
}
