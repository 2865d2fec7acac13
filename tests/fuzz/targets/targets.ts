/**
 * Everything that is fuzzed in this process.
 *
 * @module
 */

import type { Target } from "../target.ts";
import { wordTargets } from "./command_lines.ts";
import { configTargets } from "./configs.ts";
import { hostTargets } from "./host_files.ts";
import { imageTargets } from "./images.ts";
import { messageTargets } from "./messages.ts";
import { stateTargets } from "./states.ts";

/** All targets. Their names differ. */
export const targets: readonly Target[] = [
  ...configTargets,
  ...stateTargets,
  ...hostTargets,
  ...messageTargets,
  ...imageTargets,
  ...wordTargets,
];

/** The target with this name. */
export const targetNamed = (name: string): Target | undefined => targets.find((target) => target.name === name);
