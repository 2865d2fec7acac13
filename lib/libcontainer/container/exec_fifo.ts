/**
 * The fifo that starts a created container: init blocks in open(2) on it. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { openFlag } from "../../ffi/constants.ts";
import { endTimeout, OtherProcess } from "../../ffi/ending.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { open, removeIfThere } from "../../ffi/files.ts";
import { alloc, type Kernel } from "../../ffi/kernel.ts";
import { readable, type Waits } from "../../ffi/waits.ts";
import { ALREADY_RUNNING } from "../plans/parent/control.ts";
import { missingContainer, type StateDirectory } from "../state/store.ts";

/**
 * Reads the byte that init writes when the fifo opens. Only one of two starts gets it. `pid`: init's.
 *
 * @throws {RuncError} if another command has started or removed the container meanwhile, or init has ended.
 */
export function* readExecFifo(kernel: Kernel, directory: StateDirectory, pid: number): Waits<void> {
  using init = OtherProcess.find(kernel, pid);
  // From here on init is not blocked any more: what else may fail for lack of descriptors comes before.
  using fifo = openFifo(kernel, directory);
  const byte = alloc(1);
  for (;;) {
    const pidfd = init?.pidfd?.number;
    const fds = pidfd === undefined ? [fifo.number] : [fifo.number, pidfd];
    const timeoutMs = init === undefined ? 100 : endTimeout(init, 100);
    const [isReady = false] = yield* readable(fds, timeoutMs, { isDeaf: true });
    const hasEnded = init === undefined || init.hasEnded;
    if (!isReady && !hasEnded) {
      // If init closed the fifo before we opened it, poll(2) does not report its end, see fifo(7). The faster start
      // removes the fifo.
      if (!directory.hasFifo(kernel)) throw new RuncError("container-state", ALREADY_RUNNING);
      continue;
    }
    const got = kernel.retry("read", fifo.number, byte, 1);
    if (got === 1) break;
    if (hasEnded || got === 0) {
      throw new RuncError("container-state", "exec fifo is empty: container init did not signal execve readiness", {
        hint: "its process has ended, or another start was faster",
      });
    }
  }
  removeIfThere(directory.fifo);
}

function openFifo(kernel: Kernel, directory: StateDirectory): Fd {
  try {
    return open(kernel, directory.fifo, openFlag(kernel.arch).O_NONBLOCK);
  } catch (error) {
    if (!(error instanceof RuncError) || error.errno !== Errno.ENOENT) throw error;
    throw directory.exists(kernel)
      ? new RuncError("container-state", ALREADY_RUNNING, { cause: error })
      : missingContainer(error);
  }
}
