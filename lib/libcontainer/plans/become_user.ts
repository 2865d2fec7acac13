/**
 * The common part of `create` and `exec`: init sets the process's attributes, becomes its user, and finds the program.
 * Runs in: init, after it has entered the namespaces and the root.
 *
 * A field of `process` that becomes steps is listed here, once for both commands.
 *
 * @module
 */

import type { Step } from "../../plan/op.ts";
import type { Process } from "../../specs/config.ts";
import type { HostFacts } from "../config/launch_request.ts";
import type { MemoryPolicyNumbers } from "../config/memory_policy.ts";
import { type Environment, lookupSteps } from "../steps/command.ts";
import { boundingSteps, capabilitySteps, keepCapabilities, ownStdioSteps, userSteps } from "../steps/credentials.ts";
import { landlockSteps } from "../steps/landlock.ts";
import { memoryPolicySteps } from "../steps/memory_policy.ts";
import { personalitySteps } from "../steps/personality.ts";
import { readySteps } from "../steps/ready.ts";
import { ioPrioritySteps, schedulerSteps } from "../steps/scheduling.ts";
import type { FilterPlaces } from "../steps/seccomp.ts";
import { checkDirectorySteps, enterDirectorySteps } from "../steps/working_directory.ts";

/** Attributes of the process from its container's config. */
export interface ContainerAttributes {
  /** The container is confined to some processors. */
  readonly hasCpuset?: boolean;
  /** The container's linux.personality, in the kernel's numbers. */
  readonly personality?: number;
  /** The container's linux.memoryPolicy. */
  readonly memoryPolicy?: MemoryPolicyNumbers;
}

/** Sets attributes that require rights which the process loses when it becomes its user. */
export function attributeSteps(process: Process, container: ContainerAttributes): readonly Step[] {
  return [
    ...schedulerSteps(process.scheduler, { hasCpuset: container.hasCpuset ?? false }),
    ...ioPrioritySteps(process.ioPriority),
    ...personalitySteps(container.personality),
    ...memoryPolicySteps(container.memoryPolicy),
  ];
}

/** Options of {@link becomeUserSteps}. `annotations`: the container's, which may request Landlock. */
export interface BecomeUserOptions {
  readonly env: Environment;
  readonly filter: FilterPlaces;
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * Changes from the container's root to the process's user, with its capabilities and in its directory. Then looks up
 * the program.
 */
export function becomeUserSteps(process: Process, facts: HostFacts, options: BecomeUserOptions): readonly Step[] {
  const { env, filter, annotations = {} } = options;
  return [
    ...readySteps({ needsHome: env.needsHome, arch: facts.arch }),
    // Without no_new_privs, loading a filter requires CAP_SYS_ADMIN, so this precedes the drop of capabilities.
    ...filter.early,
    ...enterDirectorySteps(process.cwd, "before setuid"),
    ...boundingSteps(process, facts),
    keepCapabilities(true),
    ...ownStdioSteps(process, [0, 1, 2], facts.arch),
    ...userSteps(process, { setgroupsAllowed: facts.setgroupsAllowed }),
    ...enterDirectorySteps(process.cwd, "after setuid"),
    ...checkDirectorySteps(),
    keepCapabilities(false),
    ...capabilitySteps(process, facts),
    ...landlockSteps(annotations, process, facts.arch),
    ...lookupSteps(process, env.entries, facts.arch, { careful: filter.early.length > 0 }),
  ];
}
