/**
 * `bind` with `remount`: other options for an existing mount. Runs in: init, before pivot_root.
 *
 * @module
 */

import { call, step } from "../../../plan/build.ts";
import type { Step } from "../../../plan/op.ts";
import { openInRoot } from "../root/in_root.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { RemountMount } from "../../config/mounts.ts";
import { bindAttributes, propagation } from "./attributes.ts";
import { target } from "./calls.ts";
import { mountMeaning } from "./messages.ts";
import { placeOptions, procOnly, refuseTarget } from "./place.ts";

/** `bind` with `remount` changes the options of an existing mount. mount(2), "Remounting an existing mount" */
export function remountStep(parsed: RemountMount, facts: HostFacts): Step {
  const { destination, from, options } = parsed;
  const meaning = mountMeaning(parsed, options.flags, "");
  return step(`change the options of the mount on ${destination}`, from, [
    openInRoot(destination, target, placeOptions(parsed, facts), { meaning }),
    ...(destination === "/proc" ? procOnly(parsed, target, facts.arch) : refuseTarget(parsed, facts)),
    ...bindAttributes(parsed, target),
    ...propagation(parsed, target),
    call("close", [target]),
  ]);
}
