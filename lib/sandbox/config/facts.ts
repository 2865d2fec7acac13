/**
 * Reads the facts that a sandbox's config depends on. Runs in: parent.
 *
 * @module
 */

import { type CgroupLayout, readCgroupLayout } from "../../cgroups/layout.ts";
import { rlimitNames } from "../../ffi/constants.ts";
import { isThere, isWritable } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { getRlimit } from "../../ffi/process/process.ts";
import { readSources } from "./host_layout.ts";
import type { SandboxMount } from "./options.ts";
import type { IdRange, RootlessFacts, SandboxFacts } from "./sandbox_config.ts";

/** The tools that map ranges of ids, and where they are. */
const mapTools = ["newuidmap", "newgidmap"];
const toolDirectories = ["/usr/bin", "/bin", "/usr/local/bin"];

/** Reads all facts. `mounts`: of the options. @throws {RuncError} `syscall-failed` if the source of a mount is missing. */
export function readSandboxFacts(kernel: Kernel, mounts: readonly SandboxMount[] = []): SandboxFacts {
  const uid = Deno.uid() ?? 0;
  const isRoot = uid === 0;
  const { hard } = getRlimit(kernel, 0, rlimitNames.indexOf("RLIMIT_NOFILE"));
  return {
    arch: kernel.arch,
    rootless: isRoot ? undefined : readRootless(kernel, uid, Deno.gid() ?? 0),
    controllers: readControllers(kernel, readCgroupLayout(kernel), isRoot),
    openFiles: Number(hard),
    sources: readSources(mounts),
  };
}

/** The controllers of hierarchies in which this process can make cgroups: root anywhere, others below their own. */
function readControllers(kernel: Kernel, { hierarchies }: CgroupLayout, isRoot: boolean): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { controllers, mountPoint, root, ownPath } of hierarchies) {
    const own = root === "/" ? `${mountPoint}${ownPath}` : mountPoint;
    const directory = isRoot ? mountPoint : own;
    if (!isWritable(kernel, directory)) continue;
    const names = controllers.length > 0 ? controllers : readText(`${directory}/cgroup.controllers`).trim().split(" ");
    for (const name of names) if (name !== "") found.add(name);
  }
  return found;
}

function readRootless(kernel: Kernel, uid: number, gid: number): RootlessFacts {
  const hasTools = mapTools.every((tool) => toolDirectories.some((path) => isThere(kernel, `${path}/${tool}`)));
  if (!hasTools) return { uid, gid };
  const user = { uid, name: userName(readText("/etc/passwd"), uid) };
  const subuids = parseIdRange(readText("/etc/subuid"), user);
  const subgids = parseIdRange(readText("/etc/subgid"), user);
  // One without the other would give files owners that half exist.
  return subuids === undefined || subgids === undefined ? { uid, gid } : { uid, gid, subuids, subgids };
}

/** Empty if the file is missing or may not be read. */
function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

/** The fields of a user in passwd(5); none if there is no such user. */
function userFields(passwd: string, uid: number): readonly string[] {
  return passwd.split("\n").map((line) => line.split(":")).find((fields) => fields[2] === String(uid)) ?? [];
}

/** The name of a user in passwd(5); empty if there is none. Pure. */
export const userName = (passwd: string, uid: number): string => userFields(passwd, uid)[0] ?? "";

/** The home directory of a user in passwd(5); empty if there is none. Pure. */
export const userHome = (passwd: string, uid: number): string => userFields(passwd, uid)[5] ?? "";

/** The largest range of a user in subuid(5) or subgid(5): `name:100000:65536`, or with the number of the user. Pure. */
export function parseIdRange(text: string, { uid, name }: { uid: number; name: string }): IdRange | undefined {
  const ranges = text.split("\n").flatMap((line): IdRange[] => {
    const [, owner, first, count] = /^([^:]+):(\d+):(\d+)$/.exec(line.trim()) ?? [];
    const isTheirs = owner !== undefined && (owner === String(uid) || owner === name);
    const range = { first: Number(first), count: Number(count) };
    const isPossible = range.first > 0 && range.count > 0 && range.first + range.count <= 2 ** 32 - 1;
    return isTheirs && isPossible ? [range] : [];
  });
  return ranges.toSorted((one, other) => other.count - one.count)[0];
}
