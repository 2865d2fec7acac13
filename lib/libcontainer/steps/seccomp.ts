/**
 * The steps that load a seccomp filter. Runs in: init, where the process's noNewPrivileges says; execve keeps it.
 *
 * @see seccomp(2)
 * @module
 */

import { Prctl, SECCOMP_MODE_FILTER, SeccompOperation } from "../../ffi/constants.ts";
import { bytes, call, slot, step, struct } from "../../plan/build.ts";
import type { CallOp, Op, Step } from "../../plan/op.ts";
import type { Process } from "../../specs/config.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import { hasListener } from "../seccomp/profile.ts";
import { awaitGo, tellValue } from "./protocol.ts";

const failure: Pick<CallOp, "meaning" | "hint"> = {
  meaning: { "*": "error loading seccomp filter into kernel: error loading seccomp filter" },
  hint: {
    EACCES: "without process.noNewPrivileges it needs CAP_SYS_ADMIN in the container's user namespace",
    EBUSY: "a filter with a listener is in force already, and there can be only one",
    EINVAL: "the kernel is built without CONFIG_SECCOMP_FILTER, or does not know one of linux.seccomp.flags",
  },
};

/** A program with as many instructions as one has at most, and so with a length of 16 bits. struct sock_fprog */
function programData({ program }: SeccompFilter) {
  const count = program.length / 8;
  return struct(`{len: ${count}, filter: [${count} instructions]}`, 16, [
    { at: 0, size: 2, value: count },
    { at: 8, size: 8, value: bytes(program, `[${count} instructions]`) },
  ]);
}

/**
 * Loads the filter. From here on init makes only calls that runc makes there too: docs/design.md, "After the seccomp filter", has the list.
 */
export function seccompSteps(filter: SeccompFilter): readonly Step[] {
  const { flags, profile } = filter;
  const program = programData(filter);
  const listener = slot("listener");
  const load: Op = flags === 0
    ? call("prctl", [Prctl.PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0], failure)
    : call("seccomp", [SeccompOperation.SECCOMP_SET_MODE_FILTER, flags, program], {
      ...failure,
      ...(hasListener(profile) ? { out: listener } : {}),
    });
  const handOver = hasListener(profile)
    // The parent takes its copy with pidfd_getfd(2): passing it on from here would take sendmsg(2), which the profile may not have.
    ? [...tellValue("seccomp", listener), ...awaitGo(), call("close", [listener])]
    : [];
  return [
    step(
      `load the seccomp filter${handOver.length > 0 ? " and hand its listener to the parent" : ""}`,
      "/linux/seccomp",
      [
        load,
        ...handOver,
      ],
    ),
  ];
}

/** The places in a plan where something happens because of a filter. */
export interface FilterPlaces {
  /** While there still are privileges: without no_new_privs loading takes CAP_SYS_ADMIN. */
  readonly early: readonly Step[];
  /** With no_new_privs, as late as can be: what comes before needs no place in the profile. */
  readonly late: readonly Step[];
  /** Right before execve. */
  readonly close: readonly Step[];
}

/**
 * Where the filter is loaded. `close`: marks all open descriptors to be closed by execve; done before the filter, which may refuse
 * close_range(2). What is opened later is close-on-exec by itself.
 */
export function placeFilter(
  filter: SeccompFilter | undefined,
  { noNewPrivileges }: Process,
  close: readonly Step[],
): FilterPlaces {
  if (filter === undefined) return { early: [], late: [], close };
  const load = [...close, ...seccompSteps(filter)];
  return noNewPrivileges ? { early: [], late: load, close: [] } : { early: load, late: [], close: [] };
}
