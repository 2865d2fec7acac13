/**
 * Error texts of failed mounts. Pure.
 *
 * @module
 */

import { formatFlags, MountFlag } from "../../../ffi/constants.ts";
import type { CallOp } from "../../../plan/op.ts";
import type { Mount } from "../../../specs/config.ts";
import type { ParsedMount } from "../../config/mounts.ts";

/** Begins the texts of all errors of a mount. */
export function mountPrefix(mount: Mount): string {
  return `error mounting ${JSON.stringify(mount.source ?? "")} to rootfs at ${JSON.stringify(mount.destination)}`;
}

/** Error text of a failed mount: runc's text, which Docker and podman search. */
export function mountMeaning({ mount }: ParsedMount, flags: number, data: string): CallOp["meaning"] {
  const parts = [`src=${mount.source ?? ""}`, `dst=${mount.destination}`, `flags=${formatFlags(MountFlag, flags)}`];
  if (data !== "") parts.push(`data=${data}`);
  return { "*": `${mountPrefix(mount)}: mount ${parts.join(", ")}` };
}

/**
 * The namespace that a file system needs in a user namespace. user_namespaces(7), "Interaction of user namespaces and
 * other types"
 */
const refusalHints: Readonly<Record<string, CallOp["hint"]>> = {
  proc: { EPERM: ownerHint("procfs", "pid") },
  sysfs: { EPERM: `${ownerHint("sysfs", "network")}; without one, bind /sys` },
  mqueue: { EPERM: ownerHint("mqueue", "ipc") },
  cgroup: { EPERM: ownerHint("a cgroup file system", "cgroup") },
};

function ownerHint(what: string, namespace: string): string {
  return `in a user namespace ${what} takes a new ${namespace} namespace too, an entry of linux.namespaces`;
}

/** Possible reasons for an error of mount(2). */
export function mountHint(type: string, data: string): CallOp["hint"] {
  const ids = data.split(",").filter((option) => /^[ug]id=/.test(option)).join(" and ");
  return ids === "" ? refusalHints[type] : {
    ...refusalHints[type],
    EINVAL: `${ids} must be mapped, where the container has a user namespace`,
  };
}
