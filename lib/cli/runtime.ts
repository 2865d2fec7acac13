/**
 * Creates the library's runtime from the command's context.
 *
 * @module
 */

import { processEnvironment } from "../ffi/process.ts";
import { Container } from "../libcontainer/container.ts";
import { type Runtime, type SystemdDriver, systemdDriver } from "../libcontainer/runtime.ts";
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

/** Like {@link makeRuntime}, for commands that create a container. */
export async function makeCreatingRuntime(context: Context): Promise<Runtime> {
  return makeRuntime(context, context.global["systemd-cgroup"] ? await systemdDriver() : undefined);
}

/** Opens a container for a command that changes its cgroups. Returns the runtime too. */
export async function loadToChange(context: Context, id: string): Promise<{ runtime: Runtime; container: Container }> {
  const runtime = makeRuntime(context);
  const container = Container.load(runtime, id);
  if (!container.usesSystemd) return { runtime, container };
  const withSystemd = makeRuntime(context, await systemdDriver());
  return { runtime: withSystemd, container: Container.load(withSystemd, id) };
}

/** Everything that the library may access. `systemd`: the driver, if it is needed. */
export function makeRuntime(context: Context, systemd?: SystemdDriver): Runtime {
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
    systemd,
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
