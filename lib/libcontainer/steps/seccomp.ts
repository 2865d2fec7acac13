/**
 * The steps that load a seccomp filter. Runs in: init, at a point that depends on the process's noNewPrivileges; the
 * filter survives execve.
 *
 * @see seccomp(2)
 * @module
 */

import { Prctl, SECCOMP_MODE_FILTER, SeccompOperation } from "../../ffi/constants.ts";
import { bytes, call, slot, step, struct } from "../../plan/build.ts";
import type { CallOp, Op, Step } from "../../plan/op.ts";
import type { Process } from "../../specs/config.ts";
import { needsListener, type SeccompFilter } from "../seccomp/filter.ts";
import { awaitGo, tellValue } from "./protocol.ts";

const failure: Pick<CallOp, "meaning" | "hint"> = {
  meaning: { "*": "error loading seccomp filter into kernel: error loading seccomp filter" },
  hint: {
    EACCES: "without process.noNewPrivileges it needs CAP_SYS_ADMIN in the container's user namespace",
    EBUSY: "a filter with a listener is in force already, and there can be only one",
    EINVAL: "the kernel is built without CONFIG_SECCOMP_FILTER, or does not know one of linux.seccomp.flags",
  },
};

/** A program with the maximum number of instructions; the length has 16 bits. struct sock_fprog */
function programData({ program }: SeccompFilter) {
  const count = program.length / 8;
  return struct(`{len: ${count}, filter: [${count} instructions]}`, 16, [
    { at: 0, size: 2, value: count },
    { at: 8, size: 8, value: bytes(program, `[${count} instructions]`) },
  ]);
}

/**
 * Loads the filter. From here on init makes only calls that runc makes there too: docs/design.md, "After the seccomp
 * filter", lists them.
 */
export function seccompSteps(filter: SeccompFilter): readonly Step[] {
  const { flags } = filter;
  const program = programData(filter);
  const listener = slot("listener");
  const load: Op = flags === 0
    ? call("prctl", [Prctl.PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0], failure)
    : call("seccomp", [SeccompOperation.SECCOMP_SET_MODE_FILTER, flags, program], {
      ...failure,
      ...(needsListener(filter) ? { out: listener } : {}),
    });
  const handOver = needsListener(filter)
    // The parent copies it with pidfd_getfd(2). Sending it would need sendmsg(2), which the profile may not allow.
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

/** The places in a plan with steps for a filter. */
export interface FilterPlaces {
  /** While the process still has privileges: without no_new_privs, loading requires CAP_SYS_ADMIN. */
  readonly early: readonly Step[];
  /** With no_new_privs, as late as possible: the profile need not allow the calls before it. */
  readonly late: readonly Step[];
  /** Just before execve. */
  readonly close: readonly Step[];
}

/**
 * Where the filter is loaded. `close`: marks all open descriptors close-on-exec. This runs before the filter, which may
 * refuse close_range(2). Descriptors opened later are close-on-exec anyway.
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
