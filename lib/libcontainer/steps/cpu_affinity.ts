/**
 * process.execCPUAffinity: the CPUs for a process started by `exec`, before and after it joins its cgroup.
 *
 * @see sched_setaffinity(2)
 * @module
 */

import { bytes, call, step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { CpuAffinity, Integer64 } from "../../specs/config.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { affinityStep } from "./small_steps.ts";
import { parseCpuList } from "../config/validate/cpu_list.ts";

/** 64-bit words in libc's `cpu_set_t`: the size of a set without larger numbers. */
const WORDS = 16;

/** How many words `members` need. They are in order. */
function wordCount(members: readonly number[]): number {
  return Math.max(WORDS, ((members.at(-1) ?? 0) >> 6) + 1);
}

/**
 * A set in the format of `cpu_set_t` and state.json: 64-bit words, CPU 0 in the lowest bit of the first. `members`: in
 * order.
 */
export function maskWords(members: readonly number[]): readonly Integer64[] {
  const words = Array.from({ length: wordCount(members) }, () => 0n);
  for (const member of members) words[member >> 6]! |= 1n << BigInt(member & 63);
  return words.map((word) => word <= Number.MAX_SAFE_INTEGER ? Number(word) : word);
}

/** The members of such a set, in order. */
export function maskMembers(words: readonly Integer64[]): readonly number[] {
  return words.flatMap((word, index) =>
    Array.from({ length: 64 }, (_, bit) => bit)
      .filter((bit) => (BigInt(word) >> BigInt(bit) & 1n) === 1n)
      .map((bit) => 64 * index + bit)
  );
}

/** The same set in memory, little-endian: 128 bytes, or more if a number requires it. */
export function maskBytes(members: readonly number[]): Uint8Array {
  const mask = new Uint8Array(8 * wordCount(members));
  for (const member of members) mask[member >> 3]! |= 1 << (member & 7);
  return mask;
}

function setAffinity(moment: "initial" | "final", list: string): Step {
  const set = maskBytes(parseCpuList(list));
  return step(
    `run on processors ${list}${moment === "initial" ? " at first" : ""}`,
    `/process/execCPUAffinity/${moment}`,
    [
      call("sched_setaffinity", [0, set.length, bytes(set, `[${list}]`)], {
        meaning: { "*": `error setting ${moment} CPU affinity` },
        hint: { EINVAL: "name at least one CPU that is online and in the cpuset" },
      }),
    ],
  );
}

/** Sets the CPUs until the process joins its cgroup. Runs in: stage, as its first step. */
export function initialAffinitySteps({ initial = "" }: CpuAffinity = {}): readonly Step[] {
  return initial === "" ? [] : [setAffinity("initial", initial)];
}

/**
 * Without a configured affinity, allows every CPU, because the container must not inherit the runtime's. Runs in:
 * stage, in the cgroup.
 */
export function resetAffinitySteps(
  { initial = "", final = "" }: CpuAffinity = {},
  facts: Pick<HostFacts, "processorSetBytes">,
): readonly Step[] {
  return initial === "" && final === "" ? [affinityStep(facts)] : [];
}

/** Sets the CPUs from then on. Runs in: init, as its first step. */
export function finalAffinitySteps({ final = "" }: CpuAffinity = {}): readonly Step[] {
  return final === "" ? [] : [setAffinity("final", final)];
}

/** The first 64 CPUs of a list as one number, `0x3`, for the log. */
export function affinityText(list: string): string {
  return `0x${maskWords(parseCpuList(list))[0]!.toString(16)}`;
}
