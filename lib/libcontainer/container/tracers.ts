/**
 * Which processes could trace a debugger, and so reach its root: ptrace(2), /proc/PID/root, /proc/PID/fd. Runs in:
 * parent.
 *
 * A debugger has CAP_SYS_PTRACE in the container's user namespace. A process without it may not trace a process that has
 * it, whatever its user. So a debugger is safe as long as no process that sees it has the capability, or can get it.
 *
 * @see ptrace(2), "Ptrace access mode checking"; cap_ptrace_access_check() in security/commoncap.c
 * @module
 */

import { capabilityNames } from "../../ffi/constants.ts";
import { RuncError } from "../../errors.ts";
import { processOf } from "../state/process_state.ts";
import { initOf, type RuncState } from "../state/runc_state.ts";

/** The capability that a debugger always has. */
export const TRACE = "CAP_SYS_PTRACE";

/** What decides whether a thread can trace a debugger. */
export interface ThreadFacts {
  /** /proc/PID/status of the thread. */
  readonly status: string;
  /** Links of /proc/PID/ns. */
  readonly user: string;
  readonly mount: string;
}

const sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/** Whether one of a thread's sets has the capability: then it has it, or an execve(2) may give it. */
function has(status: string, name: string): boolean {
  const bit = 1n << BigInt(capabilityNames.indexOf(name));
  return sets.some((set) => {
    const [, hex] = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status) ?? [];
    return hex === undefined || (BigInt(`0x${hex}`) & bit) !== 0n;
  });
}

/**
 * Whether a thread could trace a debugger of the container with this init. In another user namespace the capability
 * does not count: in one below, it has no power over the debugger, and one above is the host's. A thread that cannot get
 * CAP_SYS_ADMIN has not left init's mount namespace by itself: with another one, it is another debugger's.
 */
export function couldTrace(thread: ThreadFacts, init: Pick<ThreadFacts, "user" | "mount">): boolean {
  if (thread.user !== init.user || !has(thread.status, TRACE)) return false;
  return thread.mount === init.mount || has(thread.status, "CAP_SYS_ADMIN");
}

/** Refuses a container whose config gives its processes the capability. Pure. @throws {RuncError} `unsupported` */
export function refuseTracingConfig(state: RuncState): void {
  const { bounding, permitted, effective, inheritable, ambient } = processOf(state).capabilities ?? {};
  const given = [bounding, permitted, effective, inheritable, ambient];
  if (given.some((set) => set !== undefined) && given.every((set) => !set?.includes(TRACE))) return;
  throw new RuncError(
    "unsupported",
    `the container's processes may have ${TRACE}, and could reach the host's files through the debugger`,
    {
      field: "/process/capabilities/bounding",
      hint: `create the container without ${TRACE}, or use runc exec with programs of the image`,
    },
  );
}

/** Refuses a debugger that a process which sees it could trace. @throws {RuncError} `container-state` */
export function refuseTracers(state: RuncState, cgroup: readonly number[]): void {
  const { pid } = initOf(state);
  const own = namespacesOf(pid);
  if (own === undefined) return;
  const inCgroup = new Set(cgroup);
  for (const { name } of Deno.readDirSync("/proc")) {
    const other = Number(name);
    if (!Number.isInteger(other)) continue;
    const namespaces = namespacesOf(other);
    // It has ended, or is none of the container's: this user may look at those.
    if (namespaces === undefined || (namespaces.pid !== own.pid && !inCgroup.has(other))) continue;
    const { user, mount } = namespaces;
    if (!statusesOf(other).some((status) => couldTrace({ status, user, mount }, own))) continue;
    throw new RuncError(
      "container-state",
      `process ${other} has ${TRACE} in the container, and could reach the host's files through the debugger`,
      { hint: `end it first: it was started with a capability that the container does not have` },
    );
  }
}

function namespacesOf(
  pid: number,
): { readonly pid: string; readonly user: string; readonly mount: string } | undefined {
  const link = (file: string) => Deno.readLinkSync(`/proc/${pid}/ns/${file}`);
  try {
    // Of a zombie, there are none.
    return { pid: link("pid"), user: link("user"), mount: link("mnt") };
  } catch {
    return undefined;
  }
}

/** Capabilities belong to threads. capabilities(7) */
function statusesOf(pid: number): readonly string[] {
  // 3 tries: threads end while they are read, but hardly each time.
  for (let tries = 0; tries < 3; tries++) {
    try {
      const threads = [...Deno.readDirSync(`/proc/${pid}/task`)];
      return threads.map(({ name }) => Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`));
    } catch {
      if (namespacesOf(pid) === undefined) return [];
    }
  }
  // Nothing is known of it, so it counts as one that has all capabilities.
  return [""];
}
