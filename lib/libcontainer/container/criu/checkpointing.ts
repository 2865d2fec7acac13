/**
 * Checkpoint of a container: carries out the acts of plans/parent/criu.ts, `dumpActs`. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../../errors.ts";
import { Errno, errnoText } from "../../../ffi/errno.ts";
import { isInherited } from "../../../ffi/files.ts";
import { alloc, type Kernel } from "../../../ffi/kernel.ts";
import type { Waits } from "../../../ffi/waits.ts";
import type { CriuReq } from "../../checkpoint/rpc.ts";
import { type CriuSite, CriuVerbs } from "../../checkpoint/criu_verbs.ts";
import { writeCreated, writeDescriptors } from "../../checkpoint/directories.ts";
import { DUMP_LOG, dumpRequest } from "../../checkpoint/dump_request.ts";
import { externalNamespaces } from "../../checkpoint/external.ts";
import { inodeOf, isRoot, readMaskedFiles, readMountFacts } from "../../checkpoint/facts.ts";
import { cgroupMode } from "../../checkpoint/options.ts";
import type { CheckpointOptions } from "../../config/criu_options.ts";
import { type Performers, runActs } from "../../launch/run_acts.ts";
import type { Controlled } from "../../plans/parent/control.ts";
import { dumpActs } from "../../plans/parent/criu.ts";
import type { Runtime } from "../../runtime.ts";
import { createdOf, type RuncState } from "../../state/runc_state.ts";
import { type ContainerParts, ContainerWorld } from "../container_world.ts";

/** Saves the processes of a container. @see Container.checkpoint */
export function* saveProcesses(
  runtime: Runtime,
  parts: ContainerParts,
  controlled: Controlled,
  options: CheckpointOptions,
): Waits<void> {
  // A wrong word is refused before anything is made.
  cgroupMode(options.manageCgroupsMode);
  const acts = dumpActs(controlled, options);
  using container = new ContainerWorld(runtime, parts);
  // The state is read again under the lock.
  const request = (site: CriuSite) => requestFor(runtime, { ...parts, state: container.state }, options, site);
  using criu = new CriuVerbs(runtime, { process: "checkpointing process", options, logName: DUMP_LOG, request });
  const { flags, log, trace } = container;
  yield* runActs(acts, {
    performers: { ...container.performers, ...criu.performers, ...fileVerbs(runtime, () => container.state) },
    flags,
    log,
    trace,
    explain: (error) => criu.explain(error),
  });
}

function requestFor(
  { kernel }: Runtime,
  { state, directory }: ContainerParts,
  options: CheckpointOptions,
  { imagesDirFd, workDirFd }: CriuSite,
): CriuReq {
  return dumpRequest(state, options, {
    ...readMountFacts(kernel, state, directory),
    namespaces: externalNamespaces(state).map((each) => ({ ...each, inode: inodeOf(each.path) })),
    isRoot: isRoot(),
    imagesDirFd,
    workDirFd,
    maskedFiles: options.preDump ? [] : readMaskedFiles(state),
  });
}

function fileVerbs({ kernel }: Runtime, state: () => RuncState): Performers {
  return {
    checkStatusFd: ({ fd }) => checkStatusFd(kernel, fd),
    writeImageFacts: ({ path }) => {
      writeDescriptors(path, state().external_descriptors ?? null);
      writeCreated(path, createdOf(state()));
    },
    tellReady: ({ fd }) => {
      kernel.retry("write", fd, alloc(1), 1);
      kernel.call("close", fd);
    },
  };
}

/** fcntl.h */
const F_GETFL = 3, O_ACCMODE = 3, O_RDONLY = 0;

/** @throws {RuncError} `usage` unless the caller has passed the descriptor, open for writing. */
function checkStatusFd(kernel: Kernel, fd: number): void {
  const flags = isInherited(kernel, fd) ? kernel.call("fcntl", fd, F_GETFL) : -Errno.EBADF;
  const why = flags < 0 ? errnoText(-flags) : (flags & O_ACCMODE) === O_RDONLY ? "not writable" : undefined;
  if (why !== undefined) throw new RuncError("usage", `invalid --status-fd argument ${fd}: ${why}`);
}
