/**
 * Shared by `checkpoint` and `restore`: from the command line to options.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import { inUserNamespace } from "../../libcontainer/config/facts.ts";
import type { CheckpointOptions, CriuOptions } from "../../libcontainer/config/criu_options.ts";
import type { Context } from "../context.ts";
import type { Invocation } from "../parse.ts";
import type { criuOptions, OptionValues } from "../table.ts";

/** The options of both commands. */
export type CriuFlags = OptionValues<typeof criuOptions>;

/** runc has not tested either command without root, and says so. */
export function warnOfRootless({ log }: Context): void {
  if (Deno.uid() === 0 && !inUserNamespace()) return;
  log.warning("runc checkpoint is untested with rootless containers");
}

/** The options, with absolute paths. @throws {RuncError} `usage`. */
export function readCriuFlags(flags: CriuFlags): CriuOptions {
  const imagePath = resolve(flags["image-path"] || "checkpoint");
  for (const name of flags["empty-ns"]) {
    if (name !== "network") throw new RuncError("usage", `namespace ${JSON.stringify(name)} is not supported`);
  }
  return {
    imagePath,
    workPath: flags["work-path"] ? resolve(flags["work-path"]) : undefined,
    tcpEstablished: flags["tcp-established"],
    externalUnixSockets: flags["ext-unix-sk"],
    shellJob: flags["shell-job"],
    fileLocks: flags["file-locks"],
    manageCgroupsMode: flags["manage-cgroups-mode"],
    autoDedup: flags["auto-dedup"],
    lazyPages: flags["lazy-pages"],
  };
}

/** Checks `--parent-path`: a directory, relative to the images. @throws {RuncError} `usage`. */
export function checkParentPath(imagePath: string, parentPath = ""): string | undefined {
  if (parentPath === "") return undefined;
  if (parentPath.startsWith("/")) throw new RuncError("usage", "--parent-path must be relative");
  const path = resolve(imagePath, parentPath);
  let isDirectory: boolean;
  try {
    isDirectory = Deno.statSync(path).isDirectory;
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new RuncError("usage", `invalid --parent-path: stat ${path}: no such file or directory`, { cause });
  }
  if (!isDirectory) throw new RuncError("usage", `invalid --parent-path: ${path}: not a directory`);
  return parentPath;
}

/** Parses `ADDRESS:PORT`; an IPv6 address is in brackets. Pure. @throws {RuncError} `usage`, in runc's words. */
export function parsePageServer(text = ""): CheckpointOptions["pageServer"] {
  if (text === "") return undefined;
  const [, bracketed, plain, digits = ""] = /^(?:\[([^\][]*)\]|([^:\][]*)):([^:]*)$/.exec(text) ?? [];
  const address = bracketed ?? plain ?? "";
  if (address === "" || digits === "") {
    throw new RuncError("usage", "Use --page-server ADDRESS:PORT to specify page server");
  }
  const port = Number(digits);
  if (!/^[+-]?\d+$/.test(digits) || port < 0 || port > 0xffff) throw new RuncError("usage", "Invalid port number");
  // As for runc, 0 means none.
  return port === 0 ? undefined : { address, port };
}

/** The options of `checkpoint`. @throws {RuncError} `usage`. */
export function readCheckpointFlags(options: Invocation<"checkpoint">["options"]): CheckpointOptions {
  const shared = readCriuFlags(options);
  const statusFd = options["status-fd"];
  return {
    ...shared,
    parentPath: checkParentPath(shared.imagePath, options["parent-path"]),
    leaveRunning: options["leave-running"],
    tcpSkipInFlight: options["tcp-skip-in-flight"],
    linkRemap: options["link-remap"],
    preDump: options["pre-dump"],
    pageServer: parsePageServer(options["page-server"]),
    statusFd: statusFd === -1 ? undefined : statusFd,
  };
}
