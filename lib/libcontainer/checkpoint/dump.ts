/**
 * Saves the processes of a container by CRIU. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { RuncError } from "../../errors.ts";
import { Errno, errnoText } from "../../ffi/errno.ts";
import { isInherited } from "../../ffi/files.ts";
import { alloc, type Kernel } from "../../ffi/kernel.ts";
import type { Runtime } from "../runtime.ts";
import { createdOf, type RuncState } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import { Criu } from "./criu.ts";
import { askVersion, CriuSince, requireFeature, requireVersion } from "./criu_version.ts";
import { explainFailure, makeDirectory, writeCreated, writeDescriptors } from "./directories.ts";
import { DUMP_LOG, type DumpFacts, dumpRequest } from "./dump_request.ts";
import { externalNamespaces, requireExternalNamespaces } from "./external.ts";
import { inodeOf, isRoot, readMaskedFiles, readMountFacts } from "./facts.ts";
import { cgroupMode, type CheckpointOptions } from "./options.ts";
import type { CriuNotify } from "./rpc.ts";
import type { Waits } from "../../ffi/waits.ts";

/** A running or paused container. */
export interface DumpTarget {
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
  readonly directory: StateDirectory;
  /** Called when only the memory is missing, with `lazyPages`. */
  readonly onReady?: () => void;
}

/**
 * Saves the processes. They are killed afterwards, unless the options say otherwise. After a failure they run as before.
 *
 * @throws {RuncError} `host-lacks` without a CRIU that can do it, `checkpoint-failed` with what CRIU said.
 */
export function* dump(runtime: Runtime, target: DumpTarget, options: CheckpointOptions): Waits<void> {
  const { kernel, log } = runtime;
  const { state } = target;
  using criu = Criu.start(runtime);
  const version = yield* askVersion(criu);
  requireVersion(version, CriuSince.VERSION_REQUEST);
  // Before anything is made.
  cgroupMode(options.manageCgroupsMode);
  requireExternalNamespaces(version, "checkpointing process");
  const namespaces = externalNamespaces(state).map((each) => ({ ...each, inode: inodeOf(each.path) }));
  const { imagePath, workPath = imagePath } = options;
  using images = makeDirectory(kernel, imagePath);
  using work = workPath === imagePath ? undefined : makeDirectory(kernel, workPath);
  if (options.preDump) yield* requireFeature(criu, "mem_track");
  if (options.lazyPages) {
    yield* requireFeature(criu, "lazy_pages");
    checkStatusFd(kernel, options.statusFd);
  }
  if (!options.preDump) {
    writeDescriptors(imagePath, state.external_descriptors ?? null);
    writeCreated(imagePath, createdOf(state));
  }
  const facts: DumpFacts = {
    ...readMountFacts(kernel, state, target.directory),
    namespaces,
    isRoot: isRoot(),
    imagesDirFd: images.number,
    workDirFd: work?.number,
    maskedFiles: options.preDump ? [] : readMaskedFiles(state),
  };
  log("debug", `Using CRIU ${version} in ${options.preDump ? "PRE_DUMP" : "DUMP"} mode`);
  try {
    yield* perform(criu, target, options, { facts, kernel });
  } catch (error) {
    const isCriu = error instanceof RuncError && error.code === "checkpoint-failed";
    throw isCriu ? explainFailure(error, `${workPath}/${DUMP_LOG}`, log) : error;
  }
}

/** Makes the request. A container that was not paused is not paused afterwards either, even if CRIU has died. */
function* perform(
  criu: Criu,
  target: DumpTarget,
  options: CheckpointOptions,
  { facts, kernel }: { facts: DumpFacts; kernel: Kernel },
): Waits<void> {
  const { state, cgroup } = target;
  const wasPaused = cgroup.exists() && (yield* cgroup.freezerState()) === "frozen";
  try {
    yield* criu.request(dumpRequest(state, options, facts), (notify) => serve(notify, target, options, kernel));
    // After a pre-dump CRIU waits for the next one, and takes the end for a failure.
    yield* criu.end({ mayFail: options.preDump });
  } catch (error) {
    criu[Symbol.dispose]();
    if (!wasPaused) cgroup.thaw();
    throw error;
  }
}

function serve(
  { script }: CriuNotify,
  { onReady }: DumpTarget,
  { lazyPages, statusFd }: CheckpointOptions,
  kernel: Kernel,
): void {
  if (script !== "status-ready") return;
  onReady?.();
  if (!lazyPages || statusFd === undefined) return;
  kernel.retry("write", statusFd, alloc(1), 1);
  kernel.call("close", statusFd);
}

/** fcntl.h */
const F_GETFL = 3, O_ACCMODE = 3, O_RDONLY = 0;

/** @throws {RuncError} `usage` unless the caller has passed the descriptor, open for writing. */
function checkStatusFd(kernel: Kernel, fd: number | undefined): void {
  if (fd === undefined) return;
  const flags = isInherited(kernel, fd) ? kernel.call("fcntl", fd, F_GETFL) : -Errno.EBADF;
  const why = flags < 0 ? errnoText(-flags) : (flags & O_ACCMODE) === O_RDONLY ? "not writable" : undefined;
  if (why !== undefined) throw new RuncError("usage", `invalid --status-fd argument ${fd}: ${why}`);
}
