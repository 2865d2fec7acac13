/**
 * Converts `linux.resources.rdma` to the file of the rdma controller.
 *
 * @see Documentation/admin-guide/cgroup-v1/rdma.rst
 * @module
 */

import type { RdmaResources } from "../../specs/config.ts";
import type { LimitWrite } from "./limit.ts";

/** The writes, one per device, the same on v1 and v2. */
export function rdmaLimits(devices: Readonly<Record<string, RdmaResources>>): readonly LimitWrite[] {
  return Object.entries(devices).map(([device, { hcaHandles, hcaObjects }]) => {
    const words = [
      device,
      ...(hcaHandles === undefined ? [] : [`hca_handle=${hcaHandles}`]),
      ...(hcaObjects === undefined ? [] : [`hca_object=${hcaObjects}`]),
    ];
    return { controller: "rdma", file: "rdma.max", value: words.join(" ") };
  });
}
