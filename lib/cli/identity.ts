/**
 * The caller's identity, and what depends on it: the state directory, and whether errors from the cgroup file system
 * are ignored. The decisions are pure functions of {@link Caller}. {@link readCaller} reads the system.
 *
 * @module
 */

import { resolve } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import { isHostIdMap } from "../libcontainer/config/id_mappings.ts";
import { type Environment, parseBool } from "./parse.ts";

/** Facts about the caller. Functions are called only if the answer matters: each costs at least one system call. */
export interface Caller {
  readonly uid: number;
  readonly environment: Environment;
  readonly cwd: () => string;
  /** Whether this is a user namespace other than the host's. */
  readonly inUserNamespace: () => boolean;
  /** The owner of this session's systemd; 0 if there is none. */
  readonly systemdOwner: () => number;
}

/** The state directory. */
export interface StateRoot {
  /** Absolute and clean. */
  readonly path: string;
  /**
   * Whether it is the default directory in $XDG_RUNTIME_DIR. It must then be created in a way that protects it from
   * being cleaned up.
   */
  readonly inRuntimeDir: boolean;
}

const DEFAULT_ROOT = "/run/runc";
const FILTER_CACHE = "runc-seccomp";

/**
 * Chooses the state directory. `given`: the value of --root; undefined if it was not given.
 *
 * @throws {RuncError} `usage` if it resolves to `/`.
 */
export function chooseRoot(given: string | undefined, caller: Caller): StateRoot {
  if (given === undefined) return defaultRoot(caller);
  const path = given.startsWith("/") ? resolve(given) : resolve(caller.cwd(), given);
  if (path === "/") throw new RuncError("usage", "Option --root argument should not be set to /");
  return { path, inRuntimeDir: false };
}

function defaultRoot(caller: Caller): StateRoot {
  const runtimeDir = caller.environment("XDG_RUNTIME_DIR") ?? "";
  if (runtimeDir === "" || isHostRoot(caller)) return { path: DEFAULT_ROOT, inRuntimeDir: false };
  return { path: `${runtimeDir}/runc`, inRuntimeDir: true };
}

/** Root on the host uses /run, whatever its session says. So does root in a user namespace with USER set to root. */
function isHostRoot(caller: Caller): boolean {
  return caller.uid === 0 && (!caller.inUserNamespace() || caller.environment("USER") === "root");
}

/**
 * The directory for compiled seccomp filters. Not the state directory: callers expect only containers there. Undefined
 * if there is no directory that only this user may write to.
 *
 * `runDirectory`: the system's, /run.
 */
export function chooseFilterCache(caller: Caller, runDirectory: string): string | undefined {
  const runtimeDir = caller.environment("XDG_RUNTIME_DIR") ?? "";
  if (runtimeDir.startsWith("/") && !isHostRoot(caller)) return `${runtimeDir}/${FILTER_CACHE}`;
  return caller.uid === 0 ? `${runDirectory}/${FILTER_CACHE}` : undefined;
}

/**
 * Whether permission errors are ignored for cgroups. `option`: the value of --rootless.
 *
 * @throws {RuncError} `usage` for a value that is neither a boolean nor `auto`.
 */
export function forgivesCgroups(option: string, usesSystemd: boolean, caller: Caller): boolean {
  if (option !== "" && option.toLowerCase() !== "auto") return parseRootless(option);
  if (caller.uid !== 0) return true;
  if (!caller.inUserNamespace()) return false;
  // Root in a user namespace: if its systemd belongs to root there, it gives full access; any other systemd gives only
  // our part. Without systemd, the access cannot be known in advance.
  return usesSystemd ? caller.systemdOwner() !== 0 : true;
}

function parseRootless(option: string): boolean {
  const value = parseBool(option);
  if (value === undefined) {
    throw new RuncError("usage", `strconv.ParseBool: parsing ${JSON.stringify(option)}: invalid syntax`, {
      hint: "set --rootless to true, false or auto",
    });
  }
  return value;
}

/** The user in the output of `busctl --user status`; 0 if it has none. */
export function parseOwnerUid(status: string): number {
  return Number(/^OwnerUID=(\d+)$/m.exec(status)?.[1] ?? 0);
}

/** Reads the facts about this process. */
export function readCaller(environment: Environment): Caller {
  return {
    uid: Deno.uid() ?? 0,
    environment,
    cwd: Deno.cwd,
    inUserNamespace: () => !isHostIdMap(Deno.readTextFileSync("/proc/self/uid_map")),
    systemdOwner: readSystemdOwner,
  };
}

function readSystemdOwner(): number {
  try {
    const { stdout } = new Deno.Command("busctl", { args: ["--user", "--no-pager", "status"] }).outputSync();
    return parseOwnerUid(new TextDecoder().decode(stdout));
  } catch (error) {
    // Without busctl, systemd cannot be asked. Assume that root owns what it sees.
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}
