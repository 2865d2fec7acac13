/**
 * Creates a {@link Runtime} with defaults, for programs that use the library. Reads no environment and no arguments.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { Kernel } from "../../ffi/kernel.ts";
import type { Runtime } from "../runtime.ts";

/** runc's state directory for root. */
const DEFAULT_ROOT = "/run/runc";
/** The command line's cache of compiled seccomp filters for root. */
const FILTER_CACHE = "/run/runc-seccomp";

/**
 * Creates a runtime. Defaults for missing `options`:
 *
 * - `kernel`: a new one, which opens libc (1 ms). One for each program is enough.
 * - `root`: `/run/runc`, like the command line, so that both see each other's containers.
 * - `executor`: `native`. `reexec`, which only `deno` needs, is this project's main.ts, run by the current Deno.
 * - `filterCache`: `/run/runc-seccomp` as root, like the command line; otherwise none.
 * - `systemdCgroup`: false. `rootlessCgroups`: true unless root.
 * - `environment`: empty. Hooks without `env` get this one.
 * - `softFileLimit`: the value that Deno has raised it to, unless the config limits it.
 * - `log`: drops everything.
 *
 * @throws {RuncError} `host-lacks` if libc cannot be opened.
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
