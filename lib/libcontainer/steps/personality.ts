/**
 * linux.personality: which machine the container's processes are told that they run on. Runs in: init; execve keeps it.
 *
 * @see personality(2)
 * @module
 */

import { call, step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";

/** include/uapi/linux/personality.h, by the names of the runtime specification. */
export const personalityDomains: Readonly<Record<string, number>> = { LINUX: 0x0000, LINUX32: 0x0008 };

/** personality(2) with a domain of the kernel's numbers. */
export function personalitySteps(domain: number | undefined): readonly Step[] {
  if (domain === undefined) return [];
  const name = Object.keys(personalityDomains).find((word) => personalityDomains[word] === domain) ?? String(domain);
  return [step(`set the personality ${name}`, "/linux/personality", [
    call("personality", [domain], { meaning: { "*": "set_personality" } }),
  ])];
}
