/** States of containers for the tests of CRIU's requests. */

import stateOfRunc from "../../../fixtures/runc_1_1_5_state.json" with { type: "json" };
import { parseRuncState, type RuncConfig, type RuncState } from "../../../../lib/libcontainer/state/runc_state.ts";

/** The state of a container of Debian's runc 1.1.5, changed. */
export function state(change: Partial<RuncConfig> = {}, rest: Partial<RuncState> = {}): RuncState {
  const read = parseRuncState(JSON.stringify(stateOfRunc));
  return { ...read, ...rest, config: { ...read.config, ...change } };
}
