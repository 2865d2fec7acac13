/**
 * Which processes could reach a debugger, and so its root: ptrace(2), /proc/PID/root, /proc/PID/fd, a core file. Runs in:
 * parent.
 *
 * A debugger has CAP_SYS_PTRACE in the container's user namespace. A process without it may not trace a process that has
 * it, whatever its user. So a debugger is safe as long as no process that sees it has the capability, or can get it.
 * Two others weaken that: CAP_SYS_RESOURCE raises the limit that keeps a debugger's memory out of core files, and with
 * CAP_SYS_ADMIN a process joins the namespaces of what the debugger starts in a user namespace below.
 *
 * @see ptrace(2), "Ptrace access mode checking"; cap_ptrace_access_check() in security/commoncap.c; prlimit(2); core(5)
 * @module
 */

import { openFlag } from "../../../ffi/constants.ts";
import { cString, type Kernel } from "../../../ffi/kernel.ts";
import { RuncError } from "../../../errors.ts";
import { processOf } from "../../state/process_state.ts";
import { capabilitiesIn } from "../../state/process_status.ts";
import { initOf, type RuncState } from "../../state/runc_state.ts";

/** The capability that a debugger always has. */
export const TRACE = "CAP_SYS_PTRACE";

/** With one of these, a process could reach a debugger. */
const reaching: readonly string[] = [TRACE, "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"];

/** What decides whether a thread can reach a debugger. */
export interface ThreadFacts {
  /** /proc/PID/status of the thread. */
  readonly status: string;
  /** Its user namespace, compared with the container's. `other`: one above, or one that is not known. */
  readonly user: "same" | "below" | "other";
}

const sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/** Whether one of a thread's sets has the capability: then it has it, or an execve(2) may give it. */
function has(status: string, name: string): boolean {
  return sets.some((set) => capabilitiesIn(status, set)?.includes(name) ?? true);
}

/**
 * Whether a thread could reach a debugger. In a user namespace below, no capability has power over the debugger. The
 * owner of a user namespace has all of them in it, so one above counts whatever the thread has.
 *
 * @see user_namespaces(7), "Capabilities"
 */
export function couldReach({ status, user }: ThreadFacts): boolean {
  return user === "other" || user === "same" && reaching.some((name) => has(status, name));
}

/** Refuses a container whose config gives its processes such a capability. Pure. @throws {RuncError} `unsupported` */
export function refuseTracingConfig(state: RuncState): void {
  const { capabilities } = processOf(state);
  // Without any set, the container has the capabilities of the runtime. Sets without a capability are not in the state.
  const given = Object.values(capabilities ?? {}).flatMap((set) => set ?? []);
  const found = capabilities === undefined ? TRACE : reaching.find((name) => given.includes(name));
  if (found === undefined) return;
  throw new RuncError(
    "unsupported",
    `the container's processes may have ${found}, and could reach the host's files through the debugger`,
    {
      field: "/process/capabilities/bounding",
      hint: `create the container without ${found}, or use runc exec with programs of the image`,
    },
  );
}

/** Refuses a debugger that a process which sees it could reach. @throws {RuncError} `container-state` */
export function refuseTracers(kernel: Kernel, state: RuncState, cgroup: readonly number[]): void {
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
    const user = namespaces.user === own.user ? "same" : isBelow(kernel, other, own.user) ? "below" : "other";
    if (!statusesOf(other).some((status) => couldReach({ status, user }))) continue;
    const why = user === "other" ? "is in another user namespace" : "has a capability that the container does not have";
    throw new RuncError(
      "container-state",
      `process ${other} ${why}, and could reach the host's files through the debugger`,
      { hint: `end it first; ${TRACE} is also that of another debugger` },
    );
  }
}

/** ioctl_nsfs(2) */
const NS_GET_PARENT = 0xb702;
/** user_namespaces(7), "Nested namespaces" */
const NESTING_LIMIT = 32;

/** Whether a process's user namespace is below another one, which a link of /proc/PID/ns names. */
function isBelow(kernel: Kernel, pid: number, user: string): boolean {
  let fd = kernel.retry("open", cString(`/proc/${pid}/ns/user`), openFlag(kernel.arch).O_CLOEXEC);
  for (let level = 0; fd >= 0 && level < NESTING_LIMIT; level++) {
    const parent = kernel.call("ioctl", fd, NS_GET_PARENT);
    kernel.call("close", fd);
    // EPERM: there is none, or it is above this process's.
    if (parent >= 0 && Deno.readLinkSync(`/proc/self/fd/${parent}`) === user) {
      kernel.call("close", parent);
      return true;
    }
    fd = parent;
  }
  if (fd >= 0) kernel.call("close", fd);
  return false;
}

function namespacesOf(pid: number): { readonly pid: string; readonly user: string } | undefined {
  const link = (file: string) => Deno.readLinkSync(`/proc/${pid}/ns/${file}`);
  try {
    // A zombie is in no mount namespace.
    link("mnt");
    return { pid: link("pid"), user: link("user") };
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
