/**
 * The container's cgroups and its resctrl group: how they are made, limited, and removed after a failure. Pure.
 *
 * @module
 */

import { hasLimits } from "../../../cgroups/limits/limits.ts";
import type { Config, Resources } from "../../../specs/config.ts";
import { type Act, act, type Undo, type VerbOf, within } from "./act.ts";

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

/** Who enters the cgroups and the resctrl group first: its children are in them from their birth. */
export interface Entrant {
  /** For labels. */
  readonly name: string;
  /** Ends it and what it has started: cgroups can be removed only after that. */
  readonly ends: readonly Undo[];
  /** It enters the cgroups by an act; absent: by itself. */
  readonly join?: VerbOf<"joinCgroups">;
  /** Processes may be left when it has ended. */
  readonly leaves: boolean;
}

/** Makes the cgroups. `before`: what comes before, with the same prefix of errors. */
export function makeCgroups(
  { config, cgroupPaths }: Pick<ResourceInput, "config" | "cgroupPaths">,
  { name, ends, join, leaves }: Entrant,
  before: readonly Act[] = [],
): readonly Act[] {
  const paths = [...new Set(Object.values(cgroupPaths))];
  const made = act("make the cgroups", "/linux/cgroupsPath", { verb: "makeCgroups", paths, limits: limitsOf(config) }, {
    undo: [
      ...ends,
      ...(leaves ? [{ label: "kill what is left in the cgroups", does: { verb: "killLeft" } } as const] : []),
      { label: "remove the cgroups", does: { verb: "removeCgroups", paths } },
    ],
  });
  const joined = join === undefined ? [] : [act(`move ${name} into the cgroups`, "/linux/cgroupsPath", join)];
  return within("unable to apply cgroup configuration", [...before, made, ...joined]);
}

/** linux.resources, if it has limits. */
function limitsOf({ linux }: Config): Resources | undefined {
  const { resources = {} } = linux ?? {};
  return hasLimits(resources) ? resources : undefined;
}

/** The resctrl group of `linux.intelRdt`. A host without resctrl has none. */
export function makeRdtGroup(
  { config, resctrl }: Pick<ResourceInput, "config" | "resctrl">,
  { name, ends }: Pick<Entrant, "name" | "ends">,
): readonly Act[] {
  const { intelRdt } = config.linux ?? {};
  if (intelRdt === undefined || resctrl === undefined) return [];
  return within("unable to apply Intel RDT configuration", [
    act("make the Intel RDT group", "/linux/intelRdt", { verb: "makeRdtGroup", root: resctrl, rdt: intelRdt }, {
      undo: [...ends, { label: "remove the Intel RDT group", does: { verb: "undoRdtGroup" } }],
    }),
    act(`move ${name} into the Intel RDT group`, "/linux/intelRdt", { verb: "joinRdtGroup" }),
  ]);
}

/** Sets the device rules and all limits. `prefix`: of errors of the cgroup's limits. */
export function limitActs(
  { config, resctrl }: Pick<ResourceInput, "config" | "resctrl">,
  prefix: string,
): readonly Act[] {
  const { linux } = config;
  const limits = limitsOf(config);
  return [
    // Device rules come first, so that they are in force even if a limit is refused.
    act("set the device rules", "/linux/resources/devices", {
      verb: "setDevices",
      rules: linux?.resources?.devices ?? [],
    }),
    ...(limits === undefined ? [] : within(prefix, [
      act("set the limits", "/linux/resources", { verb: "setLimits", limits }),
    ])),
    ...(linux?.intelRdt === undefined || resctrl === undefined
      ? []
      : [act("set the Intel RDT schemas", "/linux/intelRdt", { verb: "limitRdtGroup" })]),
  ];
}
