/**
 * Compares the cgroups that the first process is in with those of the container. Pure.
 *
 * @module
 */

import { compare, type InspectFinding, judge } from "./finding.ts";
import type { KernelView } from "./kernel_view.ts";

/** A finding for each hierarchy. A process may have moved to a cgroup below: systemd in a container does. */
export function cgroupFindings({ process, cgroups: { paths, entered } }: KernelView): readonly InspectFinding[] {
  return Object.entries(paths).map(([controller, path]) => {
    const name = controller === "" ? "cgroup2" : controller;
    const common = { topic: "cgroups", name, field: "/linux/cgroupsPath", config: path } as const;
    const kernel = entered[controller];
    if (process === undefined || kernel === undefined) return compare(common);
    const isBelow = kernel.startsWith(`${path}/`);
    return judge(
      { ...common, kernel, note: isBelow ? "a cgroup below the container's" : undefined },
      kernel === path || isBelow,
    );
  });
}
