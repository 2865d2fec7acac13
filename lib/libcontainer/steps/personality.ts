/**
 * linux.personality: the architecture that the container's processes see. Runs in: init; it survives execve.
 *
 * @see personality(2)
 * @module
 */

import { call, step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";

/** include/uapi/linux/personality.h, by the runtime specification's names. */
export const personalityDomains: Readonly<Record<string, number>> = { LINUX: 0x0000, LINUX32: 0x0008 };

/** personality(2) with the kernel's number of a domain. */
export function personalitySteps(domain: number | undefined): readonly Step[] {
  if (domain === undefined) return [];
  const name = Object.keys(personalityDomains).find((word) => personalityDomains[word] === domain) ?? String(domain);
  return [step(`take the personality ${name}`, "/linux/personality", [
    call("personality", [domain], { meaning: { "*": "set_personality" } }),
  ])];
}
