/**
 * The options of checkpoint and restore, and how CRIU writes them. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { CgMode } from "./rpc.ts";

/** The options of both. */
export interface CriuOptions {
  /** The directory of the image files. */
  readonly imagePath: string;
  /** The directory of CRIU's log and its other files; absent: `imagePath`. */
  readonly workPath?: string;
  /** Established TCP connections may be saved, and are restored. */
  readonly tcpEstablished?: boolean;
  /** Unix sockets may have their other end outside of the container. */
  readonly externalUnixSockets?: boolean;
  /** The session and its terminal may belong to a process outside of the container. */
  readonly shellJob?: boolean;
  /** File locks may be held, and are taken again. */
  readonly fileLocks?: boolean;
  /** `soft`, `full`, `strict` or `ignore`; absent or empty: CRIU's default. */
  readonly manageCgroupsMode?: string;
  /** Memory that several images have is kept once. */
  readonly autoDedup?: boolean;
  /** Memory is sent only when the restored processes use it. */
  readonly lazyPages?: boolean;
}

/** The options of a checkpoint. */
export interface CheckpointOptions extends CriuOptions {
  /** The directory of the previous images, relative to `imagePath`: only what has changed since is saved. */
  readonly parentPath?: string;
  /** The container goes on afterwards. */
  readonly leaveRunning?: boolean;
  /** Connections that are not established yet are left out. */
  readonly tcpSkipInFlight?: boolean;
  /** Open files without a name get one while they are saved. */
  readonly linkRemap?: boolean;
  /** Only the memory is saved, and the container goes on. */
  readonly preDump?: boolean;
  /** The page server that gets the memory. */
  readonly pageServer?: { readonly address: string; readonly port: number };
  /** With `lazyPages`: gets a NUL byte when the memory can be fetched, and is then closed. */
  readonly statusFd?: number;
}

/** The options of a restore. */
export interface RestoreOptions extends CriuOptions {
  /** The security profile of the restored processes, as `TYPE:NAME`; absent: as saved. */
  readonly lsmProfile?: string;
  /** The SELinux context of the restored mounts; absent: as saved. */
  readonly lsmMountContext?: string;
}

/** The number of a word of `--manage-cgroups-mode`. @throws {RuncError} `usage`. */
export function cgroupMode(word = ""): number {
  const modes: Readonly<Record<string, number>> = {
    "": CgMode.DEFAULT,
    soft: CgMode.SOFT,
    full: CgMode.FULL,
    strict: CgMode.STRICT,
    ignore: CgMode.IGNORE,
  };
  if (Object.hasOwn(modes, word)) return modes[word]!;
  throw new RuncError("usage", "invalid manage-cgroups-mode value", { hint: "use soft, full, strict or ignore" });
}

/** CRIU's configuration file for containers, unless an annotation names another one. CRIU ignores a missing file. */
const CONFIG_FILE = "/etc/criu/runc.conf";
/** The annotation that names another configuration file; empty: none. */
const CONFIG_ANNOTATION = "org.criu.config";

/** The configuration file whose settings replace those of the request. */
export function configFile(annotations: Readonly<Record<string, string>>): string | undefined {
  return (annotations[CONFIG_ANNOTATION] ?? CONFIG_FILE) || undefined;
}
