/**
 * Restores the processes of a container by CRIU. Runs in: parent.
 *
 * @module
 */

import { parseProcCgroup } from "../../cgroups/layout.ts";
import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { open } from "../../ffi/files.ts";
import { sendFd } from "../../ffi/sockets.ts";
import type { Runtime } from "../runtime.ts";
import type { RuncState } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import { work } from "./acts.ts";
import { Criu } from "./criu.ts";
import { askVersion, CriuSince, requireVersion } from "./criu_version.ts";
import { explainFailure, makeDirectory, openDirectory, readDescriptors } from "./directories.ts";
import { externalNamespaces, requireExternalNamespaces } from "./external.ts";
import { isRoot, readMountFacts } from "./facts.ts";
import type { RestoreOptions } from "./options.ts";
import { RESTORE_LOG, restoreRequest } from "./restore_request.ts";
import type { CriuNotify } from "./rpc.ts";
import type { Waits } from "../../ffi/waits.ts";

/** The container to restore, and what is done for it at certain moments. */
export interface RestoreTarget {
  /** The container as its config describes it, without a process. */
  readonly state: RuncState;
  readonly directory: StateDirectory;
  /** Where the rootfs is mounted for CRIU: a mount point. */
  readonly root: string;
  /** The standard streams for what was the caller's; absent: /dev/null. */
  readonly stdio?: readonly [number, number, number];
  /** A connected socket for the master of the container's terminal. */
  readonly consoleSocket?: Fd;
  /** Moves CRIU into the container's cgroups, where it makes the processes. */
  readonly enterCgroups: (criuPid: number) => Waits<void> | void;
  /** The namespaces exist, and the first process, which does not run yet. */
  readonly namespacesMade: (pid: number) => Waits<void> | void;
  /** The processes are restored, but do not run yet. */
  readonly restored: (pid: number) => Waits<void> | void;
}

/** CRIU, ready for a request, and what the request needs of it. */
interface ReadyCriu {
  readonly criu: Criu;
  readonly version: number;
  /** The names of the joined namespaces whose files CRIU has. */
  readonly namespaces: readonly { readonly key: string }[];
}

/**
 * Restores the processes as children of this process. They run when it returns. After a failure CRIU has killed them,
 * unless it has been killed itself.
 *
 * @throws {RuncError} `host-lacks` without a CRIU that can do it, `checkpoint-failed` with what CRIU said.
 */
export function* restore(runtime: Runtime, target: RestoreTarget, options: RestoreOptions): Waits<void> {
  using files = new DisposableStack();
  const namespaces = externalNamespaces(target.state)
    .map(({ key, path }) => ({ key, file: files.use(openNamespace(runtime, path)) }));
  using criu = Criu.start(runtime, { stdio: target.stdio, extraFds: namespaces.map(({ file }) => file.number) });
  const version = yield* askVersion(criu);
  requireVersion(version, CriuSince.VERSION_REQUEST);
  requireExternalNamespaces(version, "the restoration process");
  yield* work(() => target.enterCgroups(criu.pid));
  runtime.log("debug", `Using CRIU ${version} in RESTORE mode`);
  yield* request(runtime, { criu, version, namespaces }, target, options);
}

function* request(
  runtime: Runtime,
  { criu, version, namespaces }: ReadyCriu,
  target: RestoreTarget,
  options: RestoreOptions,
): Waits<void> {
  const { kernel, log } = runtime;
  const { imagePath, workPath = imagePath } = options;
  using images = openDirectory(kernel, imagePath);
  using logs = workPath === imagePath ? undefined : makeDirectory(kernel, workPath);
  const wanted = restoreRequest(target.state, options, {
    ...readMountFacts(kernel, target.state, target.directory),
    version,
    namespaces,
    isRoot: isRoot(),
    imagesDirFd: images.number,
    workDirFd: logs?.number,
    root: target.root,
    descriptors: readDescriptors(imagePath),
    cgroups: parseProcCgroup(withFileErrors(() => Deno.readTextFileSync(`/proc/${criu.pid}/cgroup`))),
  });
  try {
    yield* criu.request(wanted, (notify, fds) => serve(runtime, target, notify, fds));
    yield* criu.end();
  } catch (error) {
    const isCriu = error instanceof RuncError && error.code === "checkpoint-failed";
    throw isCriu ? explainFailure(error, `${workPath}/${RESTORE_LOG}`, log) : error;
  }
}

function openNamespace({ kernel, log }: Runtime, path: string): Fd {
  try {
    return open(kernel, path, 0);
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    log("error", `If a specific network namespace is defined it must exist: ${error.message}`);
    throw new RuncError(error.code, `Requested network namespace ${path} does not exist`, { ...error, cause: error });
  }
}

function serve(
  { kernel }: Runtime,
  target: RestoreTarget,
  notify: CriuNotify,
  fds: readonly Fd[],
): Waits<void> | void {
  switch (notify.script) {
    case "setup-namespaces":
      return target.namespacesMade(pidOf(notify));
    case "post-restore":
      return target.restored(pidOf(notify));
    case "orphan-pts-master": {
      const [master] = fds;
      if (master === undefined) throw new RuncError("protocol", "CRIU sent no terminal");
      if (target.consoleSocket === undefined) {
        throw new RuncError("checkpoint-failed", "the checkpoint has a terminal, and the container has none", {
          field: "/process/terminal",
        });
      }
      sendFd(kernel, target.consoleSocket, new TextEncoder().encode("orphan-pts-master"), master.number);
    }
  }
}

function pidOf({ script, pid }: CriuNotify): number {
  if (pid !== undefined && pid > 0) return pid;
  throw new RuncError("protocol", `CRIU's notification ${script} has no pid`);
}
