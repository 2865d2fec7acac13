/**
 * User, groups and capabilities of the container's process. Runs in: init, after pivot_root.
 *
 * @module
 */

import { capabilityNames, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE, Prctl } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { call, slot, step, struct, when } from "../../plan/build.ts";
import type { Op, Step } from "../../plan/op.ts";
import type { Capabilities, Process } from "../../specs/config.ts";
import { deviceNumber } from "./devices.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { loadStat, statBuffer } from "./stat.ts";

/** _LINUX_CAPABILITY_VERSION_3, include/uapi/linux/capability.h */
const CAPABILITY_VERSION = 0x20080522;

/** The capability sets as numbers, and the names unknown to this kernel. */
export interface CapabilityNumbers {
  readonly bounding: ReadonlySet<number>;
  readonly effective: ReadonlySet<number>;
  readonly inheritable: ReadonlySet<number>;
  readonly permitted: ReadonlySet<number>;
  readonly ambient: ReadonlySet<number>;
  readonly unknown: readonly string[];
}

/** Looks up the names. Unknown ones, and those above the kernel's last capability, are omitted and listed. */
export function capabilityNumbers(capabilities: Capabilities, lastCapability: number): CapabilityNumbers {
  const unknown = new Set<string>();
  const numbers = (names: readonly string[] | undefined) => {
    const set = new Set<number>();
    for (const name of names ?? []) {
      const number = capabilityNames.indexOf(name);
      if (number < 0 || number > lastCapability) unknown.add(name);
      else set.add(number);
    }
    return set;
  };
  return {
    bounding: numbers(capabilities.bounding),
    effective: numbers(capabilities.effective),
    inheritable: numbers(capabilities.inheritable),
    permitted: numbers(capabilities.permitted),
    ambient: numbers(capabilities.ambient),
    unknown: [...unknown].sort(),
  };
}

function word(set: ReadonlySet<number>, high: boolean): number {
  let bits = 0;
  for (const number of set) if ((number >= 32) === high) bits |= 1 << (number & 31);
  return bits >>> 0;
}

/** capset(2) with effective, permitted and inheritable. */
function capsetOp({ effective, permitted, inheritable }: CapabilityNumbers): Op {
  const header = struct("{version: _LINUX_CAPABILITY_VERSION_3, pid: 0}", 8, [
    { at: 0, size: 4, value: CAPABILITY_VERSION },
  ]);
  const show = (set: ReadonlySet<number>) => [...set].map((number) => capabilityNames[number]).join("|") || "0";
  const text = `{effective: ${show(effective)}, permitted: ${show(permitted)}, inheritable: ${show(inheritable)}}`;
  // Twice {effective, permitted, inheritable}: the low 32 capabilities, then the high ones.
  const data = struct(
    text,
    24,
    [effective, permitted, inheritable].flatMap((set, index) => [
      { at: 4 * index, size: 4 as const, value: word(set, false) },
      { at: 12 + 4 * index, size: 4 as const, value: word(set, true) },
    ]),
  );
  return call("capset", [header, data], {
    meaning: { "*": "unable to apply caps" },
    hint: { EPERM: "the runtime needs all of process.capabilities.permitted itself" },
  });
}

/**
 * Drops all other capabilities from the bounding set. Runs before setuid, while CAP_SETPCAP is effective.
 * capabilities(7)
 */
export function boundingSteps(process: Process, facts: HostFacts): readonly Step[] {
  if (process.capabilities === undefined) return [];
  const { bounding } = capabilityNumbers(process.capabilities, facts.lastCapability);
  const all = Array.from({ length: facts.lastCapability + 1 }, (_, number) => number);
  return all.filter((number) => !bounding.has(number)).map((number) =>
    step(`drop ${capabilityNames[number] ?? number} from the bounding set`, "/process/capabilities/bounding", [
      call("prctl", [Prctl.PR_CAPBSET_DROP, number, 0, 0, 0]),
    ])
  );
}

/** Sets the other four sets. Ambient comes last; one that cannot be raised is a warning. */
export function capabilitySteps(process: Process, facts: HostFacts): readonly Step[] {
  if (process.capabilities === undefined) return [];
  const numbers = capabilityNumbers(process.capabilities, facts.lastCapability);
  const raise = [...numbers.ambient].map((number) =>
    call("prctl", [Prctl.PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0], {
      out: slot("ambient"),
      onError: [{
        errnos: ["*"],
        ops: [{ op: "warn", value: slot("ambient"), why: `can't raise ambient capability ${capabilityNames[number]}` }],
      }],
    })
  );
  return [
    step("set the capabilities", "/process/capabilities", [capsetOp(numbers)]),
    step("set the ambient capabilities", "/process/capabilities/ambient", [
      call("prctl", [Prctl.PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]),
      ...raise,
    ]),
  ];
}

/** Gives stdio to the user, except /dev/null. Errors are ignored: stdio then works unchanged. */
export function ownStdioSteps(process: Process, fds: readonly number[], arch: Arch): readonly Step[] {
  const { uid } = process.user;
  const [owner, device] = [slot("uid"), slot("device")];
  const ops = (fd: number): readonly Op[] => [
    call("fstat", [fd, statBuffer]),
    loadStat("uid", owner, arch),
    loadStat("rdev", device, arch),
    when(owner, "!=", uid, [
      // 1:3 is /dev/null, which all users share.
      when(device, "!=", deviceNumber(1, 3), [
        call("fchown", [fd, uid, -1], { tolerate: ["EINVAL", "EPERM", "EROFS"] }),
      ]),
    ]),
  ];
  return fds.map((fd) => step(`give descriptor ${fd} to the user`, "/process/user/uid", ops(fd)));
}

/** setgroups, setgid, setuid. @see HostFacts.setgroupsAllowed */
export function userSteps(process: Process, options: { setgroupsAllowed: boolean }): readonly Step[] {
  const { uid, gid, additionalGids = [] } = process.user;
  const groups = struct(
    `[${additionalGids.join(", ")}]`,
    Math.max(4 * additionalGids.length, 4),
    additionalGids.map((
      value,
      index,
    ) => ({ at: 4 * index, size: 4 as const, value })),
  );
  const unmapped = (call: string, id: string) => ({
    EINVAL: `cannot ${call} to unmapped ${id} in user namespace`,
  });
  const mapHint = (kind: "uid" | "gid") => ({
    EINVAL: `add it to linux.${kind}Mappings; without root, /etc/sub${kind} must list it for you`,
  });
  const steps: Step[] = [];
  if (options.setgroupsAllowed) {
    steps.push(step("set the additional groups", "/process/user/additionalGids", [
      call("setgroups", [additionalGids.length, additionalGids.length === 0 ? 0 : groups], { hint: mapHint("gid") }),
    ]));
  }
  steps.push(
    step(`become gid ${gid}`, "/process/user/gid", [
      call("setgid", [gid], { meaning: unmapped("setgid", `gid ${gid}`), hint: mapHint("gid") }),
    ]),
    step(`become uid ${uid}`, "/process/user/uid", [
      call("setuid", [uid], { meaning: unmapped("setuid", `uid ${uid}`), hint: mapHint("uid") }),
    ]),
  );
  return steps;
}

/** PR_SET_KEEPCAPS keeps the permitted capabilities across setuid, so that capset can select from them. */
export const keepCapabilities = (on: boolean): Step =>
  step(on ? "keep capabilities across setuid" : "stop keeping capabilities", "/process/capabilities", [
    call("prctl", [Prctl.PR_SET_KEEPCAPS, on ? 1 : 0, 0, 0, 0]),
  ]);
