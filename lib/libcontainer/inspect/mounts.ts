/**
 * Compares the root file system and the mounts. Pure.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { MountFlag } from "../../ffi/constants.ts";
import { splitData } from "../config/mount_options.ts";
import type { RuncMount, RuncState } from "../state/runc_state.ts";
import { compare, type InspectFinding, judge, notes } from "./finding.ts";
import { isAbsent, type KernelView, type ProcessView } from "./kernel_view.ts";
import {
  configuredFlags,
  flagDifference,
  propagatesAs,
  propagationName,
  shownFlags,
  shownPropagation,
} from "./mount_flags.ts";
import type { MountInfo } from "./proc_files.ts";

/** A finding for the root, each mount of the config, and each other mount in the container. */
export function mountFindings({ config }: RuncState, view: KernelView): readonly InspectFinding[] {
  const mounts = config.mounts ?? [];
  const process = view.process;
  const found = mounts.map((mount) => process && mountAt(process, mount.destination));
  const known = new Set([...found, process && rootOf(process)]);
  return [
    rootFinding(config, process),
    ...mounts.map((mount, index) => {
      const above = mounts.findIndex((other, number) => number > index && sameDestination(other, mount));
      const isReadonly = (config.readonly_paths ?? []).includes(mount.destination);
      return mountFinding(mount, { index, above, process, shown: found[index], isReadonly });
    }),
    ...(process?.mounts ?? []).filter((shown) => !known.has(shown)).map((shown) =>
      compare({ topic: "mounts", name: shown.mountPoint, kernel: shownText(shown) })
    ),
  ];
}

function sameDestination(one: RuncMount, other: RuncMount): boolean {
  return resolve("/", one.destination) === resolve("/", other.destination);
}

/** The topmost mount at a path of the config; undefined if nothing is mounted there. */
export function mountAt({ files, mounts = [] }: ProcessView, path: string): MountInfo | undefined {
  const file = files[path];
  if (file === undefined || "error" in file) return undefined;
  const here = mounts.filter(({ mountPoint }) => mountPoint === file.path);
  // Without ids, the last one is on top, except if it was moved there.
  return file.mountId === undefined ? here.at(-1) : here.find(({ id }) => id === file.mountId);
}

function rootOf({ mounts = [] }: ProcessView): MountInfo | undefined {
  return mounts.findLast(({ mountPoint }) => mountPoint === "/");
}

function rootFinding(config: RuncState["config"], process: ProcessView | undefined): InspectFinding {
  const shown = process && rootOf(process);
  const wanted = propagationName(config.rootPropagation ?? 0);
  const access = config.readonlyfs ? "ro" : "rw";
  const isReadonly = shown !== undefined && shownFlags(shown).includes("ro");
  const isSame = shown !== undefined && isReadonly === (access === "ro") &&
    (wanted === undefined || propagatesAs(wanted, shownPropagation(shown)));
  return judge({
    topic: "mounts",
    name: "/",
    field: "/root",
    config: [access, ...(wanted === undefined ? [] : [wanted])].join(" "),
    kernel: shown && shownText(shown),
  }, isSame);
}

interface Place {
  readonly index: number;
  /** The number of a later mount at the same destination, or -1. */
  readonly above: number;
  readonly process: ProcessView | undefined;
  readonly shown: MountInfo | undefined;
  /** The destination is in linux.readonlyPaths, too. */
  readonly isReadonly: boolean;
}

function mountFinding(mount: RuncMount, { index, above, process, shown, isReadonly }: Place): InspectFinding {
  const field = `/mounts/${index}`;
  const common = { topic: "mounts", name: mount.destination, field, config: configText(mount) } as const;
  if (above >= 0) return { ...common, verdict: "unknown", note: `/mounts/${above} changes or hides it` };
  const file = process?.files[mount.destination];
  if (process?.mounts === undefined || file === undefined) return compare(common);
  if (shown === undefined) {
    const error = "error" in file ? file.error : undefined;
    if (error !== undefined && !isAbsent(file)) return compare({ ...common, note: error });
    return { ...common, kernel: "not mounted", verdict: "different", note: error };
  }
  // On v1, a tmpfs with a mount for each hierarchy. Those have the flags, as with runc.
  const isCgroup1 = mount.device === "cgroup" && shown.type === "tmpfs";
  const difference = flagDifference(mount, shown);
  const { forbidden } = difference;
  const extra = difference.extra.filter((name) => !isReadonly || name !== "ro");
  const missing = difference.missing.filter((name) => !isCgroup1 || name !== "ro");
  const isBind = ((mount.flags ?? 0) & MountFlag.MS_BIND) !== 0;
  const problems = [
    missing.length > 0 && `not ${missing.join(" ")}`,
    forbidden.length > 0 && `${forbidden.join(" ")}, which an option excludes`,
    typeProblem(mount, shown, isBind),
    propagationProblem(mount, shown),
    sizeProblem(mount, shown),
    // A bind mount keeps what its source is mounted with.
    extra.length > 0 && (!isBind || extra.includes("ro")) && `also ${extra.join(" ")}`,
  ];
  const inherited = isBind && extra.length > 0 && !extra.includes("ro") && `${extra.join(" ")} as its source`;
  return judge(
    { ...common, kernel: shownText(shown), note: notes(...problems, inherited) },
    notes(...problems) === undefined,
  );
}

function typeProblem({ device }: RuncMount, { type }: MountInfo, isBind: boolean): string | undefined {
  if (isBind || device === type || device === "cgroup" && ["cgroup2", "tmpfs"].includes(type)) return undefined;
  return `the type is ${type}`;
}

function propagationProblem({ propagation_flags }: RuncMount, shown: MountInfo): string | undefined {
  const wanted = propagationName(propagation_flags?.at(-1) ?? 0);
  if (wanted === undefined || propagatesAs(wanted, shownPropagation(shown))) return undefined;
  return `not ${wanted}`;
}

const units: Readonly<Record<string, bigint>> = { "": 1n, k: 1n << 10n, m: 1n << 20n, g: 1n << 30n };

/** The bytes of an option `size=64m`; undefined without one, or for a percentage. tmpfs(5) */
function sizeIn(options: readonly string[]): bigint | undefined {
  const [, digits, unit = ""] = options.map((option) => /^size=(\d+)([kmg]?)$/i.exec(option)).find((match) => match) ??
    [];
  return digits === undefined ? undefined : BigInt(digits) * units[unit.toLowerCase()]!;
}

function sizeProblem({ data = "" }: RuncMount, { superOptions }: MountInfo): string | undefined {
  const wanted = sizeIn(splitData(data)), shown = sizeIn(superOptions);
  if (wanted === undefined || shown === undefined) return undefined;
  // tmpfs rounds up to whole pages, of at most 64 KiB.
  return shown >= wanted && shown - wanted < 1n << 16n ? undefined : `its size is ${shown} bytes`;
}

/** `tmpfs: nosuid nodev, size=65536k`. A cleared flag is shown as the option that clears it. */
function configText(mount: RuncMount): string {
  const { flags = 0, device, source, data = "", propagation_flags } = mount;
  const isBind = (flags & MountFlag.MS_BIND) !== 0;
  const { on } = configuredFlags(mount);
  const what = isBind ? `${(flags & MountFlag.MS_REC) !== 0 ? "rbind" : "bind"} of ${source}` : device;
  const propagation = propagationName(propagation_flags?.at(-1) ?? 0);
  return described(what, [on.join(" ") || "rw", ...(propagation === undefined ? [] : [propagation]), data]);
}

function shownText(shown: MountInfo): string {
  const { type, root, source } = shown;
  const what = root === "/" ? type : `${root} of ${type}`;
  const from = source === "" || source === type || source === "none" ? "" : ` ${source}`;
  const size = shown.superOptions.find((option) => option.startsWith("size=")) ?? "";
  return described(what + from, [shownFlags(shown).join(" ") || "rw", shownPropagation(shown), size]);
}

function described(what: string, parts: readonly string[]): string {
  return `${what}: ${parts.filter((part) => part !== "").join(", ")}`;
}
