/**
 * config.json from a bundle: read, parsed, checked. Runs in: parent.
 *
 * @module
 */

import { type CgroupLayout, readCgroupLayout } from "../cgroups/layout.ts";
import { resctrlFeatures, resctrlRoot } from "../cgroups/resctrl.ts";
import { RuncError } from "../errors.ts";
import { isThere } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import type { Config, IdMapping, NamespaceType } from "../specs/config.ts";
import { parseConfig } from "../specs/parse.ts";
import { pointerToken } from "../specs/problem.ts";
import { resolve } from "@std/path";
import type { Runtime } from "./runtime.ts";
import { namespaceKinds } from "./namespaces.ts";
import { unsupported } from "./unsupported.ts";
import { configError, configWarnings, type RootfsFacts, validate, type ValidationFacts } from "./validate.ts";

/** A checked config and where it came from. */
export interface Spec {
  /** It has passed validation. */
  readonly config: Config;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute, a directory, no symlink on the way. */
  readonly rootfs: string;
  /** The host's cgroups, as they were when the config was checked against them. */
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
        hint: `"runc spec --bundle ${bundle}" writes one`,
      });
    }
    throw new RuncError("config-invalid", `cannot read ${bundle}/config.json: ${(cause as Error).message}`, { cause });
  }
  const config = parseConfig(text, { onWarning: (problem) => log("warning", problem.message) });
  // Every string may end up in a system call, where a NUL would cut it. The text is asked first: it is hardly ever there.
  if (text.includes("\\u0000")) refuseNul(config, "");
  return config;
}

function refuseNul(value: unknown, at: string): void {
  if (typeof value === "string" && value.includes("\0")) {
    throw new RuncError("config-invalid", `${JSON.stringify(value)} contains a NUL byte`, { field: at });
  }
  if (typeof value !== "object" || value === null) return;
  for (const [key, item] of Object.entries(value)) {
    refuseNul(key, at);
    refuseNul(item, at + pointerToken(key));
  }
}

function rootfsFacts(path: string): RootfsFacts {
  try {
    const resolved = Deno.realPathSync(path);
    return { path, resolved, isDirectory: Deno.statSync(path).isDirectory };
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "no such file or directory" : (cause as Error).message;
    return { path, error: `stat ${path}: ${why}` };
  }
}

/** The kinds of namespaces that the kernel has. */
export function kernelNamespaces(): readonly NamespaceType[] {
  const files = new Set([...Deno.readDirSync("/proc/self/ns")].map(({ name }) => name));
  return (Object.keys(namespaceKinds) as NamespaceType[]).filter((type) => files.has(namespaceKinds[type].file));
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

/** The maps of a user namespace that is given as /proc/PID/ns/user; one bound elsewhere cannot be looked into from here. */
function joinedUser(path: string | undefined): ValidationFacts["joinedUser"] {
  if (path === undefined) return undefined;
  const match = /^(\/proc\/(?:\d+|self))\/ns\/user$/.exec(path);
  if (match === null) return undefined;
  try {
    const [uidMappings, gidMappings] = ["uid_map", "gid_map"].map((file) =>
      readIdMap(Deno.readTextFileSync(`${match[1]}/${file}`))
    ) as [IdMapping[], IdMapping[]];
    return { uidMappings, gidMappings };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function readIdMap(text: string): IdMapping[] {
  return text.trim().split("\n").filter((line) => line !== "").map((line) => {
    const [containerID, hostID, size] = line.trim().split(/\s+/).map(Number) as [number, number, number];
    return { containerID, hostID, size };
  });
}

/** Whether SELinux is enabled: its file system is mounted, as every policy's loader does. selinux(8) */
export function hasSelinux(kernel: Kernel): boolean {
  return isThere(kernel, "/sys/fs/selinux/enforce");
}

/** Checks a config against the host. `bundle`: absolute. `asRoot`: as it would be for root. @throws {RuncError} with every problem, `config-invalid` or `unsupported`. */
export function checkConfig(
  config: Config,
  bundle: string,
  options:
    & { noPivot: boolean; layout: CgroupLayout; asRoot?: boolean }
    & Pick<Runtime, "kernel" | "log" | "rootlessCgroups" | "systemdCgroup">,
): Spec {
  const rootfs = rootfsFacts(resolve(bundle, config.root?.path ?? ""));
  const facts: ValidationFacts = {
    rootfs,
    rootlessEuid: !options.asRoot && Deno.uid() !== 0,
    rootlessCgroups: options.rootlessCgroups,
    cgroup2: options.layout.mode === "v2",
    systemdCgroup: options.systemdCgroup,
    noPivot: options.noPivot,
    // Asked only for a config that has a label.
    get selinux() {
      return hasSelinux(options.kernel);
    },
    kernelNamespaces: kernelNamespaces(),
    joinedNetwork: joinedNetwork(pathOf(config, "network")),
    joinedUser: joinedUser(pathOf(config, "user")),
    get intelRdt() {
      const root = resctrlRoot(options.kernel);
      return root === undefined ? undefined : resctrlFeatures(options.kernel, root);
    },
  };
  const problems = validate(config, facts);
  if (problems.length > 0) throw configError(problems);
  const unbuilt = unsupported(config);
  if (unbuilt.length > 0) throw configError(unbuilt);
  for (const { message } of configWarnings(config)) options.log("warning", message);
  return { config, bundle, rootfs: rootfs.path, layout: options.layout };
}

/** Checks a config and its bundle. @see checkConfig */
export function loadSpec(
  runtime: Runtime,
  config: Config,
  bundle: string,
  options: { noPivot?: boolean; asRoot?: boolean } = {},
): Spec {
  return checkConfig(config, bundle, {
    noPivot: options.noPivot ?? false,
    asRoot: options.asRoot,
    layout: readCgroupLayout(),
    kernel: runtime.kernel,
    log: runtime.log,
    rootlessCgroups: runtime.rootlessCgroups,
    systemdCgroup: runtime.systemdCgroup,
  });
}
