/**
 * Whether this user may use CRIU. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import { runTool } from "../launch/host_tool.ts";
import type { Runtime } from "../runtime.ts";
import { isRoot } from "./facts.ts";

/** include/uapi/linux/capability.h */
const CAP_SYS_ADMIN = 21n;

/** Whether this process has a capability. proc_pid_status(5) */
function hasCapability(number: bigint): boolean {
  const [, digits = "0"] = /^CapEff:\s*(\w+)$/m.exec(Deno.readTextFileSync("/proc/self/status")) ?? [];
  return (BigInt(`0x${digits}`) >> number & 1n) === 1n;
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
  if (mounts && !hasCapability(CAP_SYS_ADMIN)) {
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
