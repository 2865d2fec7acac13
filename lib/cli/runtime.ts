/**
 * Creates the library's runtime from the command's context.
 *
 * @module
 */

import { processEnvironment } from "../ffi/process/process.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import type { Context } from "./context.ts";

/** The limit before Deno raised it, as the launcher passes it. `unlimited`: nothing to restore. */
function softFileLimit(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/**
 * Variables that the launcher sets: the caller's limit of open files, and the caller's DENO_DIR if the launcher changed
 * it.
 */
const SOFT_LIMIT = "RUNC_NOFILE_SOFT", CALLERS_DENO_DIR = "RUNC_DENO_DIR";

/** The environment that hooks inherit: that of the launcher's caller. */
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
