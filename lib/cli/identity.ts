/**
 * Who calls, and what follows from it: where state is kept, and whether a refusal by the cgroup file system is forgiven.
 * The decisions are pure functions of {@link Caller}; {@link readCaller} is what reads the system.
 *
 * @module
 */

import { resolve } from "@std/path";
import { RuncError } from "../errors.ts";
import { type Environment, parseBool } from "./parse.ts";

/** What is known about the caller. Functions are asked only where the answer matters: each costs a system call or more. */
export interface Caller {
  readonly uid: number;
  readonly environment: Environment;
  readonly cwd: () => string;
  /** Whether this is another user namespace than the host's. */
  readonly inUserNamespace: () => boolean;
  /** The user that the systemd of this session belongs to; 0 where there is none. */
  readonly systemdOwner: () => number;
}

/** The directory that the state of containers is kept in. */
export interface StateRoot {
  /** Absolute and clean. */
  readonly path: string;
  /** It is in $XDG_RUNTIME_DIR by default, and has to be made so that nobody cleans it away. */
  readonly inRuntimeDir: boolean;
}

const DEFAULT_ROOT = "/run/runc";
const FILTER_CACHE = "runc-seccomp";

/**
 * `given`: value of --root; undefined where it was not given.
 *
 * @throws {RuncError} `usage` where it comes to `/`.
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

/** Root on the host keeps to /run, whatever its session says; so does root in a user namespace that calls itself root. */
function isHostRoot(caller: Caller): boolean {
  return caller.uid === 0 && (!caller.inUserNamespace() || caller.environment("USER") === "root");
}

/**
 * Where compiled seccomp filters are kept: not with the state, where callers expect containers alone. undefined where there is no directory that
 * only this user may write to.
 *
 * `runDirectory`: that of the system, /run.
 */
export function chooseFilterCache(caller: Caller, runDirectory: string): string | undefined {
  const runtimeDir = caller.environment("XDG_RUNTIME_DIR") ?? "";
  if (runtimeDir.startsWith("/") && !isHostRoot(caller)) return `${runtimeDir}/${FILTER_CACHE}`;
  return caller.uid === 0 ? `${runDirectory}/${FILTER_CACHE}` : undefined;
}

/**
 * Whether errors of permission are ignored for cgroups. `option`: value of --rootless.
 *
 * @throws {RuncError} `usage` for a word that is neither a boolean nor `auto`.
 */
export function forgivesCgroups(option: string, usesSystemd: boolean, caller: Caller): boolean {
  if (option !== "" && option.toLowerCase() !== "auto") return parseRootless(option);
  if (caller.uid !== 0) return true;
  if (!caller.inUserNamespace()) return false;
  // Root in a user namespace: a systemd that belongs to root there gives us everything, any other only our part. By the
  // file system alone nobody can tell beforehand.
  return usesSystemd ? caller.systemdOwner() !== 0 : true;
}

function parseRootless(option: string): boolean {
  const value = parseBool(option);
  if (value === undefined) {
    throw new RuncError("usage", `strconv.ParseBool: parsing ${JSON.stringify(option)}: invalid syntax`, {
      hint: "--rootless takes true, false or auto",
    });
  }
  return value;
}

/** Whether the content of /proc/self/uid_map is that of the host: every id is itself. user_namespaces(7) */
export function isHostIdMap(uidMap: string): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(uidMap);
}

/** The user in the output of `busctl --user status`; 0 where it names none. */
export function parseOwnerUid(status: string): number {
  return Number(/^OwnerUID=(\d+)$/m.exec(status)?.[1] ?? 0);
}

/** The process's own facts. */
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
    // Without busctl there is no systemd to ask, and root is assumed to own what it sees.
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}
