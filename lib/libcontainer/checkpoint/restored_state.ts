/**
 * The state of a restored container, where it differs from that of a new one.
 *
 * @module
 */

import { withFileErrors } from "../../ffi/file_error.ts";
import type { RuncState } from "../state/runc_state.ts";
import { hasNamespaceType } from "./external.ts";

/** What the difference depends on. */
export interface RestoredFacts {
  /** The targets of the streams that CRIU got. */
  readonly descriptors: readonly string[];
  /** Whether CRIU has made a time namespace, so that the clocks go on where they stood. */
  readonly isInTimeNamespace: boolean;
  /** When the saved container was created; absent: not known. */
  readonly created?: string;
}

/**
 * The state of a restored container. `exec` has to enter its time namespace. The next checkpoint has to know which
 * standard streams are the caller's. Pure.
 */
export function restoredState(
  state: RuncState,
  { descriptors, isInTimeNamespace, created = state.created }: RestoredFacts,
): RuncState {
  const { config } = state;
  const isListed = hasNamespaceType(state, "NEWTIME");
  const made = isInTimeNamespace && !isListed ? [{ type: "NEWTIME" as const }] : [];
  return {
    ...state,
    created,
    config: { ...config, namespaces: [...(config.namespaces ?? []), ...made] },
    external_descriptors: descriptors,
  };
}

/** Reads the facts about process `pid`. `stdio`: the streams that CRIU got; absent: /dev/null. @throws {RuncError} */
export function readRestoredFacts(pid: number, stdio: readonly number[] | undefined): RestoredFacts {
  const descriptors = stdio?.map((fd) => withFileErrors(() => Deno.readLinkSync(`/proc/self/fd/${fd}`)));
  return {
    descriptors: descriptors ?? ["/dev/null", "/dev/null", "/dev/null"],
    isInTimeNamespace: isInTimeNamespace(pid),
  };
}

/** Whether a process is in another time namespace than this one. Not on a kernel without them. */
function isInTimeNamespace(pid: number): boolean {
  try {
    return Deno.readLinkSync(`/proc/${pid}/ns/time`) !== Deno.readLinkSync("/proc/self/ns/time");
  } catch {
    return false;
  }
}
