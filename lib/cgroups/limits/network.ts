/**
 * Converts `linux.resources.network` to files of net_cls and net_prio, which exist on v1 only.
 *
 * @see Documentation/admin-guide/cgroup-v1/net_cls.rst, Documentation/admin-guide/cgroup-v1/net_prio.rst
 * @module
 */

import type { NetworkResources } from "../../specs/config.ts";
import { isGiven, type LimitWrite } from "./limit.ts";

/** The writes: one for the class, and one per interface. */
export function networkLimits({ classID, priorities = [] }: NetworkResources): readonly LimitWrite[] {
  return [
    ...(isGiven(classID) ? [{ controller: "net_cls", file: "net_cls.classid", value: String(classID) } as const] : []),
    ...priorities.map(({ name, priority }) =>
      ({ controller: "net_prio", file: "net_prio.ifpriomap", value: `${name} ${priority}` }) as const
    ),
  ];
}
