/**
 * process.scheduler and process.ioPriority. Runs in: init, before it gives up its privileges.
 *
 * @see sched_setattr(2), ioprio_set(2)
 * @module
 */

import { RuncError } from "../../errors.ts";
import { call, step, struct } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { IoPriority, Scheduler } from "../../specs/config.ts";

/** include/uapi/linux/sched.h */
const policies: Readonly<Record<string, number>> = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
};

/** include/uapi/linux/sched.h */
const schedulerFlags: Readonly<Record<string, number>> = {
  SCHED_FLAG_RESET_ON_FORK: 0x01,
  SCHED_FLAG_RECLAIM: 0x02,
  SCHED_FLAG_DL_OVERRUN: 0x04,
  SCHED_FLAG_KEEP_POLICY: 0x08,
  SCHED_FLAG_KEEP_PARAMS: 0x10,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40,
};

/**
 * `struct sched_attr` with its clamp fields, include/uapi/linux/sched/types.h: without them the kernel rejects their
 * flags.
 */
const SCHED_ATTR_SIZE = 56;

/**
 * sched_setattr(2). `hasCpuset`: the container is restricted to certain CPUs. @throws {RuncError} for an unknown name.
 */
export function schedulerSteps(scheduler: Scheduler | undefined, options: { hasCpuset: boolean }): readonly Step[] {
  if (scheduler === undefined) return [];
  const { policy, nice = 0, priority = 0, flags = [], runtime = 0, deadline = 0, period = 0 } = scheduler;
  const policyNumber = lookUp(policies, policy, { what: "policy", field: "/process/scheduler/policy" });
  const bits = flags.map((flag, index) =>
    lookUp(schedulerFlags, flag, { what: "flag", field: `/process/scheduler/flags/${index}` })
  );
  const show = `{policy: ${policy}, flags: ${flags.join("|") || 0}, nice: ${nice}, priority: ${priority}, ` +
    `runtime: ${runtime}, deadline: ${deadline}, period: ${period}}`;
  const attributes = struct(show, SCHED_ATTR_SIZE, [
    { at: 0, size: 4, value: SCHED_ATTR_SIZE },
    { at: 4, size: 4, value: policyNumber },
    { at: 8, size: 8, value: bits.reduce((all, bit) => all | bit, 0) },
    { at: 16, size: 4, value: nice >>> 0 },
    { at: 20, size: 4, value: priority },
    { at: 24, size: 8, value: runtime },
    { at: 32, size: 8, value: deadline },
    { at: 40, size: 8, value: period },
  ]);
  const failed = "error setting scheduler";
  // SCHED_DEADLINE requires every CPU of the root domain in the affinity: sched_setattr(2), EPERM.
  const meaning = options.hasCpuset
    ? { EPERM: "process scheduler can't be used together with AllowedCPUs", "*": failed }
    : { "*": failed };
  return [step(`schedule by ${policy}`, "/process/scheduler", [
    call("sched_setattr", [0, attributes, 0], {
      meaning,
      hint: {
        EPERM: options.hasCpuset
          ? "give the container every processor, or another policy"
          : "real-time policies and a lower nice value need CAP_SYS_NICE; on cgroup v1 the former may need resources.cpu.realtimeRuntime, too",
        EBUSY: "the processors have no such bandwidth left, or /proc/sys/kernel/sched_rt_runtime_us does not allow it",
      },
    }),
  ])];
}

function lookUp(
  table: Readonly<Record<string, number>>,
  word: string,
  { what, field }: { readonly what: string; readonly field: string },
): number {
  const number = Object.hasOwn(table, word) ? table[word] : undefined;
  if (number !== undefined) return number;
  throw new RuncError("config-invalid", `invalid scheduler ${what}: ${word}`, { field });
}

/** include/uapi/linux/ioprio.h */
const ioClasses: Readonly<Record<string, number>> = {
  IOPRIO_CLASS_RT: 1,
  IOPRIO_CLASS_BE: 2,
  IOPRIO_CLASS_IDLE: 3,
};
const IOPRIO_CLASS_SHIFT = 13;
/** include/uapi/linux/ioprio.h. The process has one thread; its children inherit the priority. */
const IOPRIO_WHO_PROCESS = 1;

/** ioprio_set(2). The class has been validated. */
export function ioPrioritySteps(ioPriority: IoPriority | undefined): readonly Step[] {
  if (ioPriority === undefined) return [];
  const { class: ioClass, priority } = ioPriority;
  const value = ioClasses[ioClass]! << IOPRIO_CLASS_SHIFT | priority;
  return [step(`do input and output as ${ioClass} ${priority}`, "/process/ioPriority", [
    call("ioprio_set", [IOPRIO_WHO_PROCESS, 0, value], {
      meaning: { "*": "failed to set io priority" },
      hint: { EPERM: "IOPRIO_CLASS_RT requires CAP_SYS_NICE or CAP_SYS_ADMIN" },
    }),
  ])];
}
