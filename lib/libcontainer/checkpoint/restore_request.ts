/**
 * The request for a restore, from the options and the state of the container that is restored. Pure.
 *
 * Source: runc 1.5.1, libcontainer/criu_linux.go (Restore).
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { OwnCgroup } from "../../cgroups/layout.ts";
import { annotationsOf, type RuncState } from "../state/runc_state.ts";
import { FIRST_EXTRA_FD } from "./criu.ts";
import { CriuSince } from "./criu_version.ts";
import {
  EMPTY_NAMESPACES,
  externalDevices,
  externalMounts,
  type ExternalNamespace,
  joinedNamespaces,
  type MountFacts,
} from "./external.ts";
import type { CriuRestoreOptions } from "../config/criu_options.ts";
import { cgroupMode, configFile } from "./options.ts";
import { type CriuOpts, type CriuReq, ReqType } from "./rpc.ts";

/** The name of CRIU's log. */
export const RESTORE_LOG = "restore.log";

/** What the request depends on beside the options and the state. */
export interface RestoreFacts extends MountFacts {
  /** CRIU's version. @see versionNumber */
  readonly version: number;
  /** Whether this process is root. Another user's CRIU has to be told that it can do less. */
  readonly isRoot: boolean;
  /** Descriptors of this program. */
  readonly imagesDirFd: number;
  readonly workDirFd?: number;
  /** Where the rootfs is mounted for CRIU. */
  readonly root: string;
  /** The joined namespaces. CRIU has their files as descriptors from {@link FIRST_EXTRA_FD} up, in this order. */
  readonly namespaces: readonly Pick<ExternalNamespace, "key">[];
  /** The targets of the standard streams of the saved container's first process. */
  readonly descriptors: readonly string[];
  /** CRIU's own cgroups, which are the container's. */
  readonly cgroups: readonly OwnCgroup[];
}

/** The request. @throws {RuncError} `usage` for a wrong option, `host-lacks` for one that needs a newer CRIU. */
export function restoreRequest(state: RuncState, options: CriuRestoreOptions, facts: RestoreFacts): CriuReq {
  requireLsm(options, facts.version);
  return {
    type: ReqType.RESTORE,
    opts: {
      images_dir_fd: facts.imagesDirFd,
      work_dir_fd: facts.workDirFd,
      evasive_devices: true,
      log_level: 4,
      log_file: RESTORE_LOG,
      rst_sibling: true,
      root: facts.root,
      manage_cgroups: true,
      manage_cgroups_mode: cgroupMode(options.manageCgroupsMode),
      notify_scripts: true,
      shell_job: options.shellJob ?? false,
      ext_unix_sk: options.externalUnixSockets ?? false,
      tcp_established: options.tcpEstablished ?? false,
      file_locks: options.fileLocks ?? false,
      empty_ns: EMPTY_NAMESPACES,
      orphan_pts_master: true,
      auto_dedup: options.autoDedup ?? false,
      lazy_pages: options.lazyPages ?? false,
      lsm_profile: options.lsmProfile || undefined,
      lsm_mount_context: options.lsmMountContext || undefined,
      config_file: configFile(annotationsOf(state)),
      ...(facts.isRoot ? {} : { unprivileged: true }),
      join_ns: joinedNamespaces(state),
      inherit_fd: [...inheritedNamespaces(facts), ...inheritedPipes(facts)],
      ext_mnt: restoredMounts(state, facts),
      cg_root: facts.cgroups.flatMap(({ controllers, path }) =>
        (controllers.length === 0 ? [""] : controllers).map((ctrl) => ({ ctrl, path }))
      ),
    },
  };
}

function requireLsm({ lsmProfile = "", lsmMountContext = "" }: CriuRestoreOptions, version: number): void {
  const given = lsmProfile !== "" ? "--lsm-profile" : lsmMountContext !== "" ? "--lsm-mount-context" : undefined;
  if (given === undefined || version >= CriuSince.LSM_PROFILE) return;
  throw new RuncError("host-lacks", `${given} requires at least CRIU 3.16`);
}

function inheritedNamespaces({ namespaces }: RestoreFacts): readonly { readonly key: string; readonly fd: number }[] {
  return namespaces.map(({ key }, index) => ({ key, fd: FIRST_EXTRA_FD + index }));
}

/** A standard stream that was a pipe of the caller is now that of this program, which CRIU has at the same number. */
function inheritedPipes({ descriptors }: RestoreFacts): readonly { readonly key: string; readonly fd: number }[] {
  return descriptors.flatMap((key, fd) => key.includes("pipe:") ? [{ key, fd }] : []);
}

/** By the path in the container, the path on the host. All masked files are mounts of /dev/null. */
function restoredMounts(state: RuncState, facts: RestoreFacts): CriuOpts["ext_mnt"] {
  const masked = (state.config.mask_paths ?? []).length > 0 ? [{ destination: "/dev/null", source: "/dev/null" }] : [];
  return [...externalMounts(state, facts), ...masked, ...externalDevices(state, facts)].map(
    ({ destination, source }) => ({ key: destination, val: source }),
  );
}
