/**
 * The container's cgroups and its resctrl group: how they are made, limited, and removed after a failure. Pure.
 *
 * @module
 */

import { hasLimits } from "../../../cgroups/limits/limits.ts";
import type { Config, Resources } from "../../../specs/config.ts";
import { hasNamespace, makesNamespace } from "../../config/namespaces.ts";
import { type Act, act, within } from "./act.ts";

/** What the acts are made from. */
export interface ResourceInput {
  readonly config: Config;
  /** The container's directory below the state directory. */
  readonly directory: string;
  /** The container's cgroups, by controller. */
  readonly cgroupPaths: Readonly<Record<string, string>>;
  /** Where resctrl is mounted; absent: the host does not have it. */
  readonly resctrl?: string;
}

/** The end of all processes of the container. Cgroups can be removed only after it. */
export const endProcesses = {
  label: "kill stage and init",
  does: { verb: "endProcesses" },
} as const;

/** The cgroups, for the stage and its children. With a user namespace the stage cannot enter them by itself. */
export function makeCgroups({ config, cgroupPaths, directory }: ResourceInput): readonly Act[] {
  const paths = [...new Set(Object.values(cgroupPaths))];
  const noted = act("note where the cgroups will be", "/linux/cgroupsPath", {
    verb: "noteCreation",
    path: `${directory}/creating.json`,
    cgroups: cgroupPaths,
  });
  const limits = limitsOf(config);
  const made = act("make the cgroups", "/linux/cgroupsPath", { verb: "makeCgroups", paths, limits }, {
    undo: [
      endProcesses,
      // The container's own pid namespace ends with init. In a shared one, a hook may still run.
      ...(makesNamespace(config, "pid")
        ? []
        : [{ label: "kill what is left in the cgroups", does: { verb: "killLeft" } } as const]),
      { label: "remove the cgroups", does: { verb: "removeCgroups", paths } },
    ],
  });
  const joined = act("move the stage into the cgroups", "/linux/cgroupsPath", { verb: "joinCgroups" });
  return within("unable to apply cgroup configuration", [
    noted,
    made,
    ...(hasNamespace(config, "user") ? [joined] : []),
  ]);
}

/** linux.resources, if it has limits. */
export function limitsOf({ linux }: Config): Resources | undefined {
  const { resources = {} } = linux ?? {};
  return hasLimits(resources) ? resources : undefined;
}

/** The resctrl group of `linux.intelRdt`. A host without resctrl has none. */
export function makeRdtGroup({ config, resctrl }: ResourceInput): readonly Act[] {
  const { intelRdt } = config.linux ?? {};
  if (intelRdt === undefined || resctrl === undefined) return [];
  return within("unable to apply Intel RDT configuration", [
    act("make the Intel RDT group", "/linux/intelRdt", { verb: "makeRdtGroup", root: resctrl, rdt: intelRdt }, {
      undo: [endProcesses, { label: "remove the Intel RDT group", does: { verb: "undoRdtGroup" } }],
    }),
    act("move the stage into the Intel RDT group", "/linux/intelRdt", { verb: "joinRdtGroup" }),
  ]);
}

export function hasRdtGroup({ config, resctrl }: ResourceInput): boolean {
  return config.linux?.intelRdt !== undefined && resctrl !== undefined;
}
