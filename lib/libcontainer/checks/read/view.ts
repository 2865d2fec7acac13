/**
 * The files that the container of a config will see, on this host. Runs in: parent.
 *
 * @module
 */

import { openFlag } from "../../../ffi/constants.ts";
import { open, readUpTo } from "../../../ffi/files.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import { candidates } from "../../steps/command.ts";
import type { ParsedMount } from "../../config/mounts.ts";
import type { FileKind, ProgramFacts, ProgramFormat } from "../facts.ts";
import { kindOf } from "./host_files.ts";
import { type Entry, find, type View } from "./lookup.ts";
import { HEAD_SIZE, readProgramHead } from "./program_format.ts";

function look(path: string): Entry | undefined {
  try {
    const info = Deno.lstatSync(path);
    return info.isSymlink ? { link: Deno.readLinkSync(path) } : { kind: kindOf(info) };
  } catch {
    return undefined;
  }
}

/** The kernel follows symlinks in the source of a bind mount. */
function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

/** The view of a container with these mounts. */
export function viewOf(rootfs: string, mounts: readonly ParsedMount[]): View {
  return {
    rootfs,
    look,
    mounts: mounts.filter(({ kind }) => kind !== "remount").map((mount) => ({
      destination: mount.destination,
      source: mount.kind === "bind" ? realPath(mount.source) : undefined,
    })),
  };
}

/** What is at the destination of a mount before it is made. */
export function targetOf(rootfs: string, mounts: readonly ParsedMount[], index: number): FileKind | undefined {
  const place = mounts.findIndex((mount) => mount.index === index);
  const mount = mounts[place];
  if (mount === undefined) return undefined;
  const found = find(viewOf(rootfs, mounts.slice(0, place)), mount.destination);
  return found.state === "found" ? found.kind : undefined;
}

/** Reads the first bytes of a file that is known to be regular. Empty if the caller may not. */
function headOf(kernel: Kernel, path: string): Uint8Array {
  try {
    // Should the file have become something else: no symlink, and no wait for the writer of a FIFO.
    using file = open(kernel, path, openFlag(kernel.arch).O_NOFOLLOW | openFlag(kernel.arch).O_NONBLOCK);
    return readUpTo(kernel, file, HEAD_SIZE);
  } catch {
    return new Uint8Array();
  }
}

function formatOf(kernel: Kernel, view: View, hostPath: string): ProgramFormat {
  const bytes = headOf(kernel, hostPath);
  if (bytes.length === 0 && Deno.statSync(hostPath).size > 0) return {};
  const head = readProgramHead(bytes);
  if (head.interpreter === undefined) return head;
  const found = head.interpreter.startsWith("/") ? find(view, head.interpreter) : { state: "unknown" as const };
  return { ...head, hasInterpreter: found.state === "unknown" ? undefined : found.state === "found" };
}

/** Looks for a program as init does: a name with a slash as it is, another one in the directories of PATH. */
export function findProgram(
  kernel: Kernel,
  view: View,
  { command, env, cwd }: { readonly command: string; readonly env: readonly string[]; readonly cwd: string },
): ProgramFacts {
  let facts: ProgramFacts = { state: "missing" };
  for (const candidate of candidates(command, env)) {
    const path = candidate.startsWith("/") ? candidate : `${cwd}/${candidate}`;
    const found = find(view, path);
    if (found.state === "unknown") return { state: "unknown" };
    if (found.state === "missing") continue;
    const isExecutable = found.kind === "file" && ((Deno.statSync(found.hostPath).mode ?? 0) & 0o111) !== 0;
    if (isExecutable) return { state: "found", path, format: formatOf(kernel, view, found.hostPath) };
    facts = { state: "refused", path };
  }
  return facts;
}
