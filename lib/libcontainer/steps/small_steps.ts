/**
 * Fields of the config that need one or two system calls. Runs in: stage or init, as noted.
 *
 * @module
 */

import { Ioctl, Keyctl, Prctl } from "../../ffi/constants.ts";
import { bytes, call, fixedFd, slot, step, struct } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { Config, Process } from "../../specs/config.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { sendFdOps } from "./console.ts";
import { writeProc } from "./host_writes.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { makesNamespace } from "../config/namespaces.ts";

/** process.oomScoreAdj. Runs in: stage, while the process's files in /proc still belong to the same user. proc(5) */
export function oomScoreSteps(process: Process, arch: Arch): readonly Step[] {
  if (process.oomScoreAdj === undefined) return [];
  return [
    step(
      `set oom_score_adj to ${process.oomScoreAdj}`,
      "/process/oomScoreAdj",
      writeProc("self/oom_score_adj", String(process.oomScoreAdj), arch, {
        hint: { EACCES: "a value below the caller's requires CAP_SYS_RESOURCE" },
      }),
    ),
  ];
}

const AFFINITY_KEPT = "resetting the CPU affinity failed -- the container process may inherit runc's CPU affinity";

/**
 * Removes the runtime's CPU affinity, so that the container can use its whole cpuset. Runs right after entering the
 * cgroups.
 *
 * @see HostFacts.processorSetBytes
 */
export function affinityStep({ processorSetBytes }: Pick<HostFacts, "processorSetBytes">): Step {
  // The kernel ignores bits beyond its CPUs. sched_setaffinity(2)
  const all = bytes(new Uint8Array(processorSetBytes).fill(0xff), "[all]");
  const result = slot("affinity");
  return step("run on every processor that the cpuset allows", "", [
    call("sched_setaffinity", [0, processorSetBytes, all], {
      out: result,
      // All errors are ignored, as in runc: a sandbox around this runtime may refuse the call.
      onError: [{
        errnos: ["*"],
        ops: [{ op: "warn", value: result, why: AFFINITY_KEPT }],
      }],
    }),
  ]);
}

/**
 * KEY_POS_ALL | KEY_USR_VIEW | KEY_USR_READ | KEY_USR_LINK, the permissions of a new session keyring, plus search for
 * the user. keyctl(3)
 */
const KEYRING_PERMISSIONS = 0x3f130000 | 0x00080000;
/** The same plus search for others, because in a user namespace the container's root does not own the keyring. */
const KEYRING_PERMISSIONS_USERNS = 0x3f130000 | 0x00000008;

/**
 * Creates a session keyring for the container. `init`: creates a new one and makes it searchable. Runs in: init. @see
 * session-keyring(7)
 */
export function keyringSteps(options: { id: string; init: boolean; userNamespace: boolean }): readonly Step[] {
  const ring = slot("keyring");
  const permissions = options.userNamespace ? KEYRING_PERMISSIONS_USERNS : KEYRING_PERMISSIONS;
  return [step("join a session keyring", "", [
    call("keyctl", [Keyctl.KEYCTL_JOIN_SESSION_KEYRING, { data: "text", text: `_ses.${options.id}` }, 0, 0, 0], {
      out: ring,
      // A kernel without keys has none to protect.
      onError: [{
        errnos: ["ENOSYS"],
        ops: [{ op: "warn", value: ring, why: "KeyctlJoinSessionKeyring: unable to create session key" }, {
          op: "endStep",
        }],
      }],
      meaning: { "*": "unable to join session keyring" },
      hint: { EDQUOT: "raise kernel.keys.maxkeys, or use --no-new-keyring" },
    }),
    ...(options.init
      ? [call("keyctl", [Keyctl.KEYCTL_SETPERM, ring, permissions, 0, 0], {
        meaning: { "*": "unable to mod keyring permissions" },
      })]
      : []),
  ])];
}

const AF_INET = 2, SOCK_DGRAM = 2, SOCK_CLOEXEC = 0o2000000;
/** IFF_UP | IFF_LOOPBACK | IFF_RUNNING, include/uapi/linux/if.h */
const LOOPBACK_FLAGS = 0x1 | 0x8 | 0x40;

/** Brings `lo` up in a new network namespace. Runs in: init. @see netdevice(7) */
export function loopbackSteps(config: Config): readonly Step[] {
  if (!makesNamespace(config, "network")) return [];
  const socket = slot("socket");
  // struct ifreq, 40 bytes: 16 of name, then the flags.
  const request = struct('{ifr_name: "lo", ifr_flags: IFF_UP|IFF_LOOPBACK|IFF_RUNNING}', 40, [
    { at: 0, size: 1, value: "l".charCodeAt(0) },
    { at: 1, size: 1, value: "o".charCodeAt(0) },
    { at: 16, size: 2, value: LOOPBACK_FLAGS },
  ]);
  return [step("bring the loopback device up", "/linux/namespaces", [
    call("socket", [AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0], { out: socket }),
    call("ioctl", [socket, Ioctl.SIOCSIFFLAGS, request]),
    call("close", [socket]),
  ])];
}

/** hostname and domainname. Runs in: init. */
export function nameSteps(config: Config): readonly Step[] {
  const length = (name: string) => new TextEncoder().encode(name).length;
  const { hostname, domainname } = config;
  return [
    ...(hostname
      ? [step(`set the hostname to ${hostname}`, "/hostname", [call("sethostname", [hostname, length(hostname)])])]
      : []),
    ...(domainname
      ? [step(`set the domain name to ${domainname}`, "/domainname", [
        call("setdomainname", [domainname, length(domainname)]),
      ])]
      : []),
  ];
}

/** process.noNewPrivileges. Runs in: init. @see PR_SET_NO_NEW_PRIVS(2const) */
export function noNewPrivilegesSteps(process: Process): readonly Step[] {
  if (!process.noNewPrivileges) return [];
  return [step("give up new privileges", "/process/noNewPrivileges", [
    call("prctl", [Prctl.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
  ])];
}

/** Sends a pidfd of this process over the fixed descriptor `pidfd-socket`. Runs in: init. */
export function pidfdSteps(payload: "standard" | "setns"): readonly Step[] {
  const pidfd = slot("pidfd");
  const self = slot("self");
  return [step("hand a pidfd of the process to the caller", "", [
    call("getpid", [], { out: self }),
    call("pidfd_open", [self, 0], { out: pidfd }),
    ...sendFdOps(fixedFd("pidfd-socket"), pidfd, payload),
    call("close", [pidfd]),
    call("close", [fixedFd("pidfd-socket")]),
  ])];
}
