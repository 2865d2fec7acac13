/**
 * The request for a dump or a pre-dump, from the options and the container's state. Pure.
 *
 * Source: runc 1.5.1, libcontainer/criu_linux.go (Checkpoint).
 *
 * @module
 */

import { annotationsOf, cgroupPathsOf, initOf, rootfsOf, type RuncState } from "../state/runc_state.ts";
import {
  criuName,
  EMPTY_NAMESPACES,
  externalDevices,
  externalMounts,
  type ExternalNamespace,
  hasCgroup2Only,
  type MountFacts,
} from "./external.ts";
import type { CheckpointOptions } from "../config/criu_options.ts";
import { cgroupMode, configFile } from "./options.ts";
import { type CriuOpts, type CriuReq, ReqType } from "./rpc.ts";

/** The name of CRIU's log. */
export const DUMP_LOG = "dump.log";

/** What the request depends on beside the options and the state. */
export interface DumpFacts extends MountFacts {
  /** Whether this process is root. Another user's CRIU has to be told that it can do less. */
  readonly isRoot: boolean;
  /** Descriptors of this program. */
  readonly imagesDirFd: number;
  readonly workDirFd?: number;
  /** The joined namespaces, with the inodes of their files. */
  readonly namespaces: readonly (Pick<ExternalNamespace, "kind" | "key"> & { readonly inode: number })[];
  /** The masked paths that are files: /dev/null is mounted on them. */
  readonly maskedFiles: readonly string[];
}

/** The request. @throws {RuncError} `usage` for a wrong option, as {@link criuName} does. */
export function dumpRequest(state: RuncState, options: CheckpointOptions, facts: DumpFacts): CriuReq {
  return {
    type: options.preDump ? ReqType.PRE_DUMP : ReqType.DUMP,
    opts: {
      ...memoryOpts(state, options, facts),
      // A pre-dump saves memory only.
      ...(options.preDump ? {} : { ext_mnt: dumpedMounts(state, facts) }),
    },
  };
}

function memoryOpts(state: RuncState, options: CheckpointOptions, facts: DumpFacts): CriuOpts {
  const { parentPath = "", pageServer } = options;
  return {
    images_dir_fd: facts.imagesDirFd,
    work_dir_fd: facts.workDirFd,
    log_level: 4,
    log_file: DUMP_LOG,
    root: rootfsOf(state),
    manage_cgroups: true,
    manage_cgroups_mode: cgroupMode(options.manageCgroupsMode),
    notify_scripts: true,
    pid: initOf(state).pid,
    shell_job: options.shellJob ?? false,
    leave_running: options.leaveRunning ?? false,
    tcp_established: options.tcpEstablished ?? false,
    tcp_skip_in_flight: options.tcpSkipInFlight ?? false,
    link_remap: options.linkRemap ?? false,
    ext_unix_sk: options.externalUnixSockets ?? false,
    file_locks: options.fileLocks ?? false,
    empty_ns: EMPTY_NAMESPACES,
    orphan_pts_master: true,
    auto_dedup: options.autoDedup ?? false,
    lazy_pages: options.lazyPages ?? false,
    config_file: configFile(annotationsOf(state)),
    external: facts.namespaces.map(({ kind, inode, key }) => `${kind}[${inode}]:${key}`),
    freeze_cgroup: freezerOf(state),
    ...(facts.isRoot ? {} : { unprivileged: true }),
    ...(pageServer === undefined ? {} : { ps: pageServer }),
    ...(parentPath === "" ? {} : { parent_img: parentPath, track_mem: true }),
  };
}

/** Without it CRIU stops each process by itself. */
function freezerOf(state: RuncState): string | undefined {
  return cgroupPathsOf(state)[hasCgroup2Only(state) ? "" : "freezer"];
}

/** In a dump, a mount's name is its path in the container. */
function dumpedMounts(state: RuncState, facts: DumpFacts): CriuOpts["ext_mnt"] {
  const byPath = ({ destination }: { readonly destination: string }) => ({ key: destination, val: destination });
  return [
    ...externalMounts(state, facts).map(byPath),
    ...facts.maskedFiles.map((path) => ({ key: criuName(path), val: "/dev/null" })),
    ...externalDevices(state, facts).map(byPath),
  ];
}
