/**
 * The library's surroundings from the command line's.
 *
 * @module
 */

import { processEnvironment } from "../ffi/process/process.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import type { Context } from "./context.ts";

/** The limit that the launcher saw before Deno raised it. `unlimited` leaves it raised. */
function softFileLimit(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** The launcher's own variables: the caller's limit of open files, and the caller's DENO_DIR where it set another. */
const SOFT_LIMIT = "RUNC_NOFILE_SOFT", CALLERS_DENO_DIR = "RUNC_DENO_DIR";

/** What hooks inherit: the environment of the launcher's caller. */
function hookEnvironment(): Record<string, string> {
  const { [SOFT_LIMIT]: _, [CALLERS_DENO_DIR]: denoDir, ...environment } = Deno.env.toObject();
  if (denoDir === "") delete environment.DENO_DIR;
  else if (denoDir !== undefined) environment.DENO_DIR = denoDir;
  return environment;
}

/** Everything that the library may touch. */
export function makeRuntime(context: Context): Runtime {
  const { global, log } = context;
  let environment: Record<string, string> | undefined;
  let again: Runtime["reexec"] | undefined;
  let rootlessCgroups: boolean | undefined;
  return {
    kernel: context.kernel,
    root: context.root,
    executor: global.init === "deno" ? "deno" : "native",
    get reexec() {
      return again ??= context.reexec();
    },
    systemdCgroup: global["systemd-cgroup"],
    get filterCache() {
      return context.filterCache();
    },
    get rootlessCgroups() {
      return rootlessCgroups ??= context.forgivesCgroups();
    },
    get environment() {
      return environment ??= hookEnvironment();
    },
    interrupts: context.interruption,
    get rawEnvironment() {
      return processEnvironment(context.kernel).filter((entry) => typeof entry !== "string");
    },
    softFileLimit: softFileLimit(context.environment(SOFT_LIMIT)) ?? context.softFileLimit,
    log: log.listen,
    trace: context.trace,
  };
}
