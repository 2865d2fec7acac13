/**
 * process.execCPUAffinity: which processors a process that `exec` starts may run on, before and after it is in its cgroup.
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

/** Words of 64 bits in libc's `cpu_set_t`: those of a set without larger numbers. */
const WORDS = 16;

/** How many words `members`, which are in order, take. */
function wordCount(members: readonly number[]): number {
  return Math.max(WORDS, ((members.at(-1) ?? 0) >> 6) + 1);
}

/** A set as `cpu_set_t` has it and as state.json keeps it: words of 64 bits, number 0 in the lowest bit of the first. `members`: in order. */
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

/** The same set in memory, little-endian: 128 bytes, or more where a number needs it. */
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
        hint: { EINVAL: "none of these processors is online and in the cpuset" },
      }),
    ],
  );
}

/** What the process may run on until it is in its cgroup. Runs in: stage, first of all. */
export function initialAffinitySteps({ initial = "" }: CpuAffinity = {}): readonly Step[] {
  return initial === "" ? [] : [setAffinity("initial", initial)];
}

/** Where nothing at all is configured: every processor, for ours are not the container's. Runs in: stage, in the cgroup. */
export function resetAffinitySteps(
  { initial = "", final = "" }: CpuAffinity = {},
  facts: Pick<HostFacts, "processorSetBytes">,
): readonly Step[] {
  return initial === "" && final === "" ? [affinityStep(facts)] : [];
}

/** What it may run on from then on. Runs in: init, first of all. */
export function finalAffinitySteps({ final = "" }: CpuAffinity = {}): readonly Step[] {
  return final === "" ? [] : [setAffinity("final", final)];
}

/** The first 64 processors of a list as one number, `0x3`: enough for a log. */
export function affinityText(list: string): string {
  return `0x${maskWords(parseCpuList(list))[0]!.toString(16)}`;
}
