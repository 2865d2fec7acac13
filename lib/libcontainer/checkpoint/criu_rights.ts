/**
 * Whether this user may use CRIU. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import { runTool } from "../launch/host_tool.ts";
import type { Runtime } from "../runtime.ts";
import { capabilitiesIn } from "../state/process_status.ts";
import { isRoot } from "./facts.ts";

/** Whether this process has a capability. */
function hasCapability(name: string): boolean {
  return capabilitiesIn(Deno.readTextFileSync("/proc/self/status"), "CapEff")?.includes(name) ?? false;
}

/** What CRIU says without the right to work: since 3.18, and before. */
const NO_RIGHT = /CAP_CHECKPOINT_RESTORE|need to be root/;

/**
 * Without root, CRIU needs a capability, and says so itself. The program at `path` may be a script that starts another
 * one, so its capabilities tell nothing. capabilities(7)
 *
 * `mounts`: this process itself has to mount something on the host.
 *
 * @throws {RuncError} `host-lacks`.
 */
export function* requireRights(
  runtime: Runtime,
  path: string,
  { mounts = false }: { readonly mounts?: boolean },
): Waits<void> {
  if (isRoot()) return;
  if (mounts && !hasCapability("CAP_SYS_ADMIN")) {
    throw new RuncError("host-lacks", "without root, a restore needs the capability CAP_SYS_ADMIN", {
      hint: "CRIU gets the rootfs as a mount of its own: run restore as root",
    });
  }
  const { errors } = yield* runTool(runtime, path, ["criu", "check", "--unprivileged"]);
  if (!NO_RIGHT.test(errors)) return;
  throw new RuncError("host-lacks", "without root, CRIU needs the capability CAP_CHECKPOINT_RESTORE", {
    hint: `setcap cap_checkpoint_restore+eip ${/setcap \S+ (\S+)/.exec(errors)?.[1] ?? path}`,
  });
}
