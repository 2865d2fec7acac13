/**
 * Reads, parses and validates a bundle's config.json. Runs in: parent.
 *
 * @module
 */

import { type CgroupLayout, readCgroupLayout } from "../../cgroups/layout.ts";
import { resctrlFeatures, resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { RuncError } from "../../errors.ts";
import { isThere } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { type Config, type NamespaceType, namespaceTypes } from "../../specs/config.ts";
import { ignoredText, parseConfig } from "../../specs/parse.ts";
import { resolve } from "../../std/path.ts";
import type { StartFlags } from "../config/launch_request.ts";
import { deniesSetgroups } from "../config/facts.ts";
import { type ParsedMount, parseMounts } from "../config/mounts.ts";
import { groupFacts } from "../launch/id_maps.ts";
import { type JoinedMaps, readJoinedMaps } from "../launch/joined_maps.ts";
import type { Runtime } from "../runtime.ts";
import { refusedCalls } from "../../ffi/process/refused_calls.ts";
import { refusalHint } from "../plans/outer_sandbox.ts";
import { namespaceKinds } from "../config/namespaces.ts";
import {
  configError,
  configWarnings,
  type RootfsFacts,
  type Unreadable,
  validate,
  type ValidationFacts,
} from "../config/validate.ts";

/** A validated config and its bundle. */
export interface Spec {
  /** The validated config. If it joins a user namespace, linux.uidMappings and gidMappings are that namespace's. */
  readonly config: Config;
  /** The mounts of the config, parsed. */
  readonly mounts: readonly ParsedMount[];
  /** The user namespace that it joins, if any, denies setgroups(2). */
  readonly deniesSetgroups: boolean;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute, a directory, without symlinks. */
  readonly rootfs: string;
  /** The host's cgroups at the time of validation. */
  readonly layout: CgroupLayout;
}

/** Reads and parses `<bundle>/config.json`. @throws {RuncError} `config-invalid`. */
export function readConfig(bundle: string, log: Runtime["log"]): Config {
  let text: string;
  try {
    text = Deno.readTextFileSync(`${bundle}/config.json`);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new RuncError("config-invalid", "JSON specification file config.json not found", {
        cause,
        hint: `create one with: runc spec --bundle ${bundle}`,
      });
    }
    throw new RuncError("config-invalid", `cannot read ${bundle}/config.json: ${(cause as Error).message}`, { cause });
  }
  return parseConfig(text, { onIgnored: (ignored) => log("debug", `config.json: ${ignoredText(ignored)}`) });
}

function rootfsFacts(kernel: Kernel, path: string): RootfsFacts {
  try {
    const resolved = Deno.realPathSync(path);
    return { path, resolved, isDirectory: Deno.statSync(path).isDirectory };
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "no such file or directory" : (cause as Error).message;
    const error = `stat ${path}: ${why}`;
    // Deno has a fallback for ENOSYS, but reports EPERM as the result.
    const isRefused = cause instanceof Deno.errors.PermissionDenied && refusedCalls(kernel).has("statx");
    if (isRefused) throw new RuncError("host-lacks", error, { cause, hint: refusalHint("statx") });
    return { path, error };
  }
}

/** The types of namespaces that the kernel supports. */
export function kernelNamespaces(): readonly NamespaceType[] {
  const files = new Set([...Deno.readDirSync("/proc/self/ns")].map(({ name }) => name));
  return namespaceTypes.filter((type) => files.has(namespaceKinds[type].file));
}

function pathOf(config: Config, type: NamespaceType): string | undefined {
  return config.linux?.namespaces?.find((namespace) => namespace.type === type)?.path || undefined;
}

function joinedNetwork(path: string | undefined): ValidationFacts["joinedNetwork"] {
  if (path === undefined) return undefined;
  try {
    const [theirs, ours] = [Deno.statSync(path), Deno.statSync("/proc/self/ns/net")];
    return { isOurs: theirs.dev === ours.dev && theirs.ino === ours.ino };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function joinedUser(
  path: string | undefined,
  readMaps: (path: string) => JoinedMaps,
): JoinedMaps | Unreadable | undefined {
  if (path === undefined) return undefined;
  try {
    return readMaps(path);
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** The config with the mappings of the user namespace that it joins. */
function withJoinedMaps(config: Config, joined: JoinedMaps | undefined): Config {
  if (joined === undefined) return config;
  const { uidMappings, gidMappings } = joined;
  return { ...config, linux: { ...config.linux, uidMappings, gidMappings } };
}

/** Whether SELinux is enabled: its file system is mounted, because loading a policy mounts it. selinux(8) */
export function hasSelinux(kernel: Kernel): boolean {
  return isThere(kernel, "/sys/fs/selinux/enforce");
}

/**
 * Validates a config for the host. `bundle`: absolute. `asRoot`: as if for root. `readMaps`: reads the maps of a user
 * namespace.
 *
 * @throws {RuncError} with every problem, `config-invalid` or `unsupported`.
 */
export function checkConfig(
  config: Config,
  bundle: string,
  options:
    & { noPivot: boolean; layout: CgroupLayout; asRoot?: boolean; readMaps: (path: string) => JoinedMaps }
    & Pick<Runtime, "kernel" | "log" | "rootlessCgroups" | "systemdCgroup">,
): Spec {
  const rootfs = rootfsFacts(options.kernel, resolve(bundle, config.root?.path ?? ""));
  const theirs = joinedUser(pathOf(config, "user"), options.readMaps);
  const facts: ValidationFacts = {
    rootfs,
    rootlessEuid: !options.asRoot && Deno.uid() !== 0,
    rootlessCgroups: options.rootlessCgroups,
    cgroup2: options.layout.mode === "v2",
    systemdCgroup: options.systemdCgroup,
    noPivot: options.noPivot,
    // Read only if the config has a label.
    get selinux() {
      return hasSelinux(options.kernel);
    },
    kernelNamespaces: kernelNamespaces(),
    joinedNetwork: joinedNetwork(pathOf(config, "network")),
    joinedUser: theirs,
    get groups() {
      if (theirs !== undefined && !("error" in theirs)) {
        return { mappings: theirs.gidMappings, isDenied: theirs.deniesSetgroups };
      }
      const writer = { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 };
      return groupFacts(config.linux?.gidMappings ?? [], { isDenied: deniesSetgroups("self"), writer });
    },
    get intelRdt() {
      const root = resctrlRoot(options.kernel);
      return root === undefined ? undefined : resctrlFeatures(options.kernel, root);
    },
  };
  const mounts = parseMounts(config.mounts, { bundle, rootfs: rootfs.path });
  const problems = validate(config, facts, mounts);
  if (problems.length > 0) throw configError(problems);
  for (const { message } of configWarnings(config)) options.log("warning", message);
  const joined = theirs === undefined || "error" in theirs ? undefined : theirs;
  return {
    config: withJoinedMaps(config, joined),
    mounts,
    deniesSetgroups: joined?.deniesSetgroups ?? false,
    bundle,
    rootfs: rootfs.path,
    layout: options.layout,
  };
}

/** Validates a config and its bundle. @see checkConfig */
export function loadSpec(
  runtime: Runtime,
  config: Config,
  bundle: string,
  options: Pick<StartFlags, "noPivot"> & { asRoot?: boolean } = {},
): Spec {
  return checkConfig(config, bundle, {
    noPivot: options.noPivot ?? false,
    asRoot: options.asRoot,
    layout: readCgroupLayout(runtime.kernel),
    readMaps: (path) => readJoinedMaps(runtime, path),
    kernel: runtime.kernel,
    log: runtime.log,
    rootlessCgroups: runtime.rootlessCgroups,
    systemdCgroup: runtime.systemdCgroup,
  });
}
