/**
 * Reads what the kernel shows of a container, and changes nothing. Runs in: parent.
 *
 * Everything about the first process is read below one descriptor of /proc/PID. So nothing belongs to another process
 * that gets the same pid meanwhile: the kernel then answers ESRCH.
 *
 * @module
 */

import { dirname } from "../../std/path.ts";
import { readIfThere } from "../../cgroups/file.ts";
import { directoryOf, type OwnCgroup, parseProcCgroup, readCgroupLayout } from "../../cgroups/layout.ts";
import { openFlag } from "../../ffi/constants.ts";
import type { Fd } from "../../ffi/fd.ts";
import { open } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { RuncError } from "../../errors.ts";
import { namespaceTypes } from "../../specs/config.ts";
import { namespaceKinds } from "../config/namespaces.ts";
import { parseStat } from "../state/process_status.ts";
import { cgroupPathsOf, initOf, type RuncState } from "../state/runc_state.ts";
import type { CgroupView, KernelView, NamespaceLinks, ProcessView } from "./kernel_view.ts";
import { hierarchicalFiles, isLower, isV2, keyOf, type LimitFile, limitFilesToRead } from "./limits.ts";
import { parseLimits, parseMountinfo, parseStatus } from "./proc_files.ts";
import { readFiles } from "./read_files.ts";

/** Reads the view of a container. A file that this process may not read is absent in it. */
export function readView(kernel: Kernel, state: RuncState): KernelView {
  using proc = openProcess(kernel, state);
  const process = proc && readProcess(kernel, state, proc);
  return {
    process,
    own: {
      namespaces: readNamespaces("/proc/self"),
      seccomp: parseStatus(readText("/proc/self/status") ?? "").Seccomp ?? "0",
    },
    joined: readJoined(state),
    cgroups: readCgroups(kernel, state, process?.cgroups ?? []),
  };
}

/** The paths in the container that findings are about. */
function pathsOf({ config }: RuncState): readonly string[] {
  return [
    ...(config.mounts ?? []).map(({ destination }) => destination),
    ...(config.mask_paths ?? []),
    ...(config.readonly_paths ?? []),
    ...(config.devices ?? []).map(({ path }) => path),
  ];
}

/** Opens /proc/PID of the first process; undefined if it has ended. */
function openProcess(kernel: Kernel, state: RuncState): Fd | undefined {
  const { pid, startTime } = initOf(state);
  let proc: Fd;
  try {
    proc = open(kernel, `/proc/${pid}`, openFlag(kernel.arch).O_DIRECTORY);
  } catch (error) {
    if (error instanceof RuncError) return undefined;
    throw error;
  }
  const stat = readText(`/proc/self/fd/${proc.number}/stat`);
  const found = stat === undefined ? undefined : parseStat(stat);
  if (found?.startTime === startTime && found.state !== "Z" && found.state !== "X") return proc;
  proc.close();
  return undefined;
}

function readProcess(kernel: Kernel, state: RuncState, proc: Fd): ProcessView | undefined {
  const at = `/proc/self/fd/${proc.number}`;
  const status = readText(`${at}/status`);
  if (status === undefined) return undefined;
  const limits = readText(`${at}/limits`), mounts = readText(`${at}/mountinfo`), cgroups = readText(`${at}/cgroup`);
  return {
    status: parseStatus(status),
    namespaces: readNamespaces(at),
    limits: limits === undefined ? undefined : parseLimits(limits),
    mounts: mounts === undefined ? undefined : parseMountinfo(mounts),
    files: readFiles(kernel, `${at}/root`, pathsOf(state)),
    uidMap: readText(`${at}/uid_map`),
    gidMap: readText(`${at}/gid_map`),
    cgroups: cgroups === undefined ? undefined : parseProcCgroup(cgroups),
    oomScoreAdj: readText(`${at}/oom_score_adj`)?.trim(),
    label: readLabel(at),
  };
}

/** AppArmor has a directory of its own where several modules are in use. The text may end with a NUL. */
function readLabel(at: string): string | undefined {
  const text = readText(`${at}/attr/apparmor/current`) ?? readText(`${at}/attr/current`);
  return text?.replace(/[\0\n]+$/, "");
}

function readNamespaces(at: string): NamespaceLinks {
  return Object.fromEntries(namespaceTypes.flatMap((type) => {
    const link = readLink(`${at}/ns/${namespaceKinds[type].file}`);
    return link === undefined ? [] : [[type, link]];
  }));
}

/** A bind mount of a namespace is no link: its name is made of its inode's number. */
function readJoined({ config }: RuncState): Readonly<Record<string, string>> {
  return Object.fromEntries((config.namespaces ?? []).flatMap(({ type, path = "" }) => {
    const kind = Object.values(namespaceKinds).find(({ stateName }) => stateName === type);
    const inode = path === "" ? undefined : inodeOf(path);
    return kind === undefined || inode === undefined ? [] : [[path, `${kind.file}:[${inode}]`]];
  }));
}

function readCgroups(kernel: Kernel, state: RuncState, own: readonly OwnCgroup[]): CgroupView {
  const paths = cgroupPathsOf(state);
  const places = limitFilesToRead(state, paths);
  const directory = ({ controller }: LimitFile) => paths[isV2(paths) ? "" : controller];
  const all = isV2(paths) ? places : [...places, { controller: "devices", file: "devices.list" }];
  const files = all.flatMap((place) => {
    const text = readAt(directory(place), place.file);
    return text === undefined ? [] : [[keyOf(place), text] as const];
  });
  const ceilings = places.filter(({ file }) => hierarchicalFiles.includes(file)).flatMap((place) => {
    const found = tightest(directory(place), place.file);
    return found === undefined ? [] : [[keyOf(place), found] as const];
  });
  return {
    paths,
    entered: enteredDirectories(kernel, paths, own),
    files: Object.fromEntries(files),
    ceilings: Object.fromEntries(ceilings),
  };
}

function readAt(directory: string | undefined, file: string): string | undefined {
  // The name comes from state.json: it must not lead out of the directory.
  if (directory === undefined || file.includes("/")) return undefined;
  try {
    return readIfThere(directory, file);
  } catch (error) {
    if (error instanceof RuncError) return undefined;
    throw error;
  }
}

/** The smallest value of a file in the cgroups above. The root of a hierarchy has none. */
function tightest(directory: string | undefined, file: string): CgroupView["ceilings"][string] | undefined {
  if (directory === undefined) return undefined;
  let found: CgroupView["ceilings"][string] | undefined;
  for (let above = dirname(directory); above !== "/"; above = dirname(above)) {
    const value = readAt(above, file)?.trim();
    if (value === undefined) break;
    if (found === undefined || isLower(value, found.value)) found = { directory: above, value };
  }
  return found;
}

/** The directory of the process's cgroup in each hierarchy in which the container has one. */
function enteredDirectories(
  kernel: Kernel,
  paths: Readonly<Record<string, string>>,
  own: readonly OwnCgroup[],
): Readonly<Record<string, string>> {
  const { hierarchies } = readCgroupLayout(kernel);
  return Object.fromEntries(
    Object.keys(paths).flatMap((controller) => {
      const has = ({ controllers }: { readonly controllers: readonly string[] }) =>
        controller === "" ? controllers.length === 0 : controllers.includes(controller);
      const hierarchy = hierarchies.find(has), entered = own.find(has);
      return hierarchy === undefined || entered === undefined
        ? []
        : [[controller, directoryOf(hierarchy, entered.path)]];
    }),
  );
}

/** Undefined for any failure: the process has ended, or this process may not look. */
function readText(path: string): string | undefined {
  return attempt(() => Deno.readTextFileSync(path));
}

function readLink(path: string): string | undefined {
  return attempt(() => Deno.readLinkSync(path));
}

function inodeOf(path: string): number | undefined {
  return attempt(() => Deno.statSync(path).ino ?? undefined);
}

function attempt<Result>(action: () => Result): Result | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
