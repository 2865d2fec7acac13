/**
 * What few containers need is not loaded for the others: start-up time grows with every line that is.
 *
 * @module
 */

import type { RdtGroup } from "../cgroups/intel_rdt.ts";
import type { Config } from "../specs/config.ts";
import { hasNetworkDevices } from "./namespaces.ts";
import type { Runtime } from "./runtime.ts";

/** The parts that a config asks for; absent where it does not. */
export interface Parts {
  /** Moves linux.netDevices into the network namespace of a process. */
  readonly moveNetworkDevices?: (
    runtime: Runtime,
    devices: NonNullable<NonNullable<Config["linux"]>["netDevices"]>,
    pid: number,
  ) => void;
  /** linux.intelRdt. */
  readonly RdtGroup?: typeof RdtGroup;
}

/** Loads what `config` needs. */
export async function loadParts(config: Config): Promise<Parts> {
  const { moveNetworkDevices } = hasNetworkDevices(config) ? await import("./network_devices.ts") : {};
  const { RdtGroup } = config.linux?.intelRdt ? await import("../cgroups/intel_rdt.ts") : {};
  return { moveNetworkDevices, RdtGroup };
}
