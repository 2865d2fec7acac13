/**
 * Rules for `process`, of a config and of `exec --process`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#process
 * @module
 */

import { rlimitNames } from "../../../ffi/constants.ts";
import type { Process } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import { cpuListError } from "./cpu_list.ts";
import { quote, type ValidationFacts } from "./facts.ts";

/** The input of the rules for a process. `at`: the JSON pointer of the process, `/process` in a config. */
export type ProcessRule = (process: Process, facts: ProcessFacts, at: string) => Iterable<Problem>;

/** The facts that concern a process. */
export type ProcessFacts = Pick<ValidationFacts, "selinux" | "rootlessEuid" | "groups">;

/** chdir(2) comes before execve(2), and starts at the container's root. */
function* directoryIsAbsolute({ cwd }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  const wanted = "an absolute path as seen in the container";
  if (cwd === "") yield { at: `${at}/cwd`, wanted, message: "Cwd property must not be empty" };
  else if (!cwd.startsWith("/")) yield { at: `${at}/cwd`, found: cwd, wanted, message: "Cwd must be an absolute path" };
}

/** There is a command. */
function* commandIsThere({ args = [] }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  if (args.length === 0) yield { at: `${at}/args`, wanted: "the command's name", message: "args must not be empty" };
}

/** Without SELinux the kernel has nowhere to write a label. */
function* labelNeedsSelinux({ selinuxLabel = "" }: Process, facts: ProcessFacts, at: string): Iterable<Problem> {
  if (selinuxLabel !== "" && !facts.selinux) {
    yield {
      at: `${at}/selinuxLabel`,
      found: selinuxLabel,
      wanted: "no label",
      message: "selinux label is specified in config, but selinux is disabled or not supported",
    };
  }
}

/** CPU lists of execCPUAffinity. */
function* affinityLists({ execCPUAffinity }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  for (const [field, name] of [["initial", "Initial"], ["final", "Final"]] as const) {
    const list = execCPUAffinity?.[field] ?? "";
    const error = cpuListError(list);
    if (error === undefined) continue;
    const message = `bad CPUAffinity.${name}: ${error}`;
    yield { at: `${at}/execCPUAffinity/${field}`, found: list, wanted: "a list of CPUs such as 0-3,7", message };
  }
}

const NICE_POLICIES = ["SCHED_OTHER", "SCHED_BATCH"];
const PRIORITY_POLICIES = ["SCHED_FIFO", "SCHED_RR"];

/** The combinations that sched_setattr(2) accepts. */
function* schedulerFields({ scheduler }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  if (scheduler === undefined) return;
  const { policy, nice = 0, priority = 0, runtime = 0, deadline = 0, period = 0 } = scheduler;
  const here = `${at}/scheduler`;
  if (policy === "") {
    yield { at: `${here}/policy`, wanted: "a policy such as SCHED_OTHER", message: "scheduler policy is required" };
    return;
  }
  if (NICE_POLICIES.includes(policy) && (nice < -20 || nice > 19)) {
    const message = `invalid scheduler.nice: ${nice} when scheduler.policy is ${policy}`;
    yield { at: `${here}/nice`, found: nice, wanted: "-20 to 19", message };
  }
  if (priority !== 0 && !PRIORITY_POLICIES.includes(policy)) {
    const message = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
    yield { at: `${here}/priority`, found: priority, wanted: "0", message };
  }
  if (policy !== "SCHED_DEADLINE" && [runtime, deadline, period].some((time) => time !== 0)) {
    const message = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
    yield { at: here, found: scheduler, wanted: "no runtime, deadline or period", message };
  }
}

const IO_CLASSES = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

/** The values that ioprio_set(2) accepts. */
function* ioPriorityFields({ ioPriority }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  if (ioPriority === undefined) return;
  const { priority, class: ioClass } = ioPriority;
  if (priority < 0 || priority > 7) {
    const message = `invalid ioPriority.Priority: ${priority}`;
    yield { at: `${at}/ioPriority/priority`, found: priority, wanted: "0 to 7", message };
  }
  if (!IO_CLASSES.includes(ioClass)) {
    const message = `invalid ioPriority.Class: ${quote(ioClass)}`;
    yield { at: `${at}/ioPriority/class`, found: ioClass, wanted: IO_CLASSES.join(", "), message };
  }
}

/** Names of getrlimit(2). The kernel rejects a soft limit above the hard one with EINVAL. */
function* rlimitTypes({ rlimits = [] }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  for (const [index, { type, hard, soft }] of rlimits.entries()) {
    const here = `${at}/rlimits/${index}`;
    if (!rlimitNames.includes(type)) {
      yield { at: `${here}/type`, found: type, wanted: rlimitNames.join(", "), message: `wrong rlimit value: ${type}` };
    } else if (soft > hard) {
      const message = `${type}: soft limit ${soft} is above hard limit ${hard}`;
      yield { at: `${here}/soft`, found: soft, wanted: `at most ${hard}`, message };
    }
  }
}

/** What setgroups(2) accepts without root. If it is denied, every group is rejected, with runc's message. */
function* rootlessGroups({ user }: Process, facts: ProcessFacts, at: string): Iterable<Problem> {
  const { additionalGids = [] } = user;
  if (!facts.rootlessEuid || additionalGids.length === 0) return;
  const here = `${at}/user/additionalGids`;
  const { mappings, isDenied } = facts.groups;
  if (isDenied) {
    const message = "cannot set any additional groups in a rootless container";
    const hint = "setgroups(2) is denied where only your own group is mapped: " +
      "linux.gidMappings must have a range that /etc/subgid lists for you";
    yield { at: here, found: additionalGids, wanted: "no groups", message, hint };
    return;
  }
  for (const [index, gid] of additionalGids.entries()) {
    if (mappings.some(({ containerID, size }) => gid >= containerID && gid < containerID + size)) continue;
    const message = `cannot set additional group ${gid}: it is not mapped in the user namespace`;
    const hint = "add it to linux.gidMappings; /etc/subgid must list it for you";
    yield { at: `${here}/${index}`, found: gid, wanted: "a gid of linux.gidMappings", message, hint };
  }
}

/** Each entry is `NAME=VALUE`. */
function* environmentEntries({ env = [] }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  for (const [index, entry] of env.entries()) {
    const equals = entry.indexOf("=");
    const flaw = equals < 0 ? "missing '='" : equals === 0 ? "name cannot be empty" : undefined;
    if (flaw === undefined) continue;
    const message = `invalid environment variable: ${flaw}`;
    yield { at: `${at}/env/${index}`, found: entry, wanted: "NAME=VALUE", message };
  }
}

/** execve(2), chdir(2): a string ends at its first NUL. */
function* processNuls(
  { args = [], env = [], cwd }: Process,
  _facts: ProcessFacts,
  at: string,
): Iterable<Problem> {
  const values = [...args.map((value, index) => ({ field: `args/${index}`, value })), { field: "cwd", value: cwd }];
  for (const { field, value } of values) {
    if (!value.includes("\0")) continue;
    yield {
      at: `${at}/${field}`,
      found: value,
      wanted: "no NUL",
      message: `process ${field} contains nul byte (\\x00)`,
    };
  }
  for (const [index, entry] of env.entries()) {
    if (!entry.includes("\0")) continue;
    const message = `invalid environment variable ${quote(entry.split("=", 1)[0]!)}: contains nul byte (\\x00)`;
    yield { at: `${at}/env/${index}`, found: entry, wanted: "no NUL", message };
  }
}

/** proc(5), /proc/pid/oom_score_adj. */
function* oomScore({ oomScoreAdj = 0 }: Process, _facts: ProcessFacts, at: string): Iterable<Problem> {
  if (oomScoreAdj >= -1000 && oomScoreAdj <= 1000) return;
  const message = `invalid oomScoreAdj: ${oomScoreAdj}`;
  yield { at: `${at}/oomScoreAdj`, found: oomScoreAdj, wanted: "-1000 to 1000", message };
}

/** The steps of runc in which it finds what is wrong with a config, in their order. */
export type CheckTime = "read" | "convert" | "validate" | "start";

/** One rule for a process: its id, the field of config.json that it is about, and the step in which runc has it. */
export type ProcessRuleEntry = readonly [id: string, field: string, when: CheckTime, rule: ProcessRule];

/** The rules in order. */
export const processRules = [
  ["cwd-absolute", "process", "read", directoryIsAbsolute],
  ["args-present", "process", "read", commandIsThere],
  ["selinux-label", "process", "read", labelNeedsSelinux],
  ["cpu-affinity", "process.execCPUAffinity", "convert", affinityLists],
  ["scheduler", "process.scheduler", "validate", schedulerFields],
  ["io-priority", "process.ioPriority", "validate", ioPriorityFields],
  ["rootless-groups", "process.user.additionalGids", "start", rootlessGroups],
  ["rlimits", "process.rlimits", "start", rlimitTypes],
  ["env-entries", "process.env", "start", environmentEntries],
  ["process-nul", "process", "start", processNuls],
  ["oom-score", "process.oomScoreAdj", "start", oomScore],
] as const satisfies readonly ProcessRuleEntry[];
