/**
 * Freezes and thaws all processes of a cgroup, with the v1 controller or cgroup2's file cgroup.freeze.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { gone, isErrno, readIfThere, sleepMs, withDescendants, writeCgroupFile } from "./file.ts";

/** Whether the container is paused. */
export type FreezerState = "running" | "frozen";

/** The freezer of one cgroup version. `directory`: the container's cgroup. */
export interface Freezer {
  /** @throws {RuncError} if the kernel reports an unknown state, or is still freezing after 10 s. */
  readonly state: (directory: string) => FreezerState;
  /** Freezes the cgroup. Returns when every process is frozen. */
  readonly freeze: (directory: string) => void;
  /** Thaws the cgroup. A missing cgroup is not an error. */
  readonly thaw: (directory: string) => void;
  /**
   * Like `thaw`, and also removes everything else that could keep a killed process in this cgroup, or in one below it,
   * from exiting.
   */
  readonly thawToKill: (directory: string) => void;
}

/** @see Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst */
export const freezerV1: Freezer = {
  state(directory) {
    // FREEZING ends by itself unless new processes keep coming. 10 000 times 1 ms is the same limit as on v2.
    for (let tries = 0; tries < 10_000; tries++) {
      const state = readIfThere(directory, "freezer.state")?.trim() ?? "THAWED";
      if (state === "THAWED") return "running";
      // The container is not paused if only an ancestor is frozen: `resume` could not thaw that.
      if (state === "FROZEN") return readIfThere(directory, "freezer.self_freezing") === "0\n" ? "running" : "frozen";
      if (state !== "FREEZING") throw unknownState("freezer.state", state);
      sleepMs(1);
    }
    throw new RuncError("cgroup-failed", `${directory} is still freezing after 10 s`);
  },
  freeze(directory) {
    try {
      freezeV1(directory);
    } catch (error) {
      // A half-frozen cgroup is worse than a frozen or running one.
      freezerV1.thaw(directory);
      throw error;
    }
  },
  thaw(directory) {
    writeIfThere(directory, "freezer.state", "THAWED");
  },
  // On v1 a frozen process does not die of SIGKILL. A cgroup below has its own freezer state, which the container may
  // have set.
  thawToKill(directory) {
    for (const each of withDescendants(directory)) {
      const state = readIfThere(each, "freezer.state");
      if (state !== undefined && state !== "THAWED\n") freezerV1.thaw(each);
    }
  },
};

/** @see Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze */
export const freezerV2: Freezer = {
  state(directory) {
    if (readIfThere(directory, "cgroup.freeze") !== "1\n") return "running";
    waitUntilFrozen(directory);
    return "frozen";
  },
  freeze(directory) {
    writeCgroupFile(directory, "cgroup.freeze", "1");
    waitUntilFrozen(directory);
  },
  thaw(directory) {
    writeIfThere(directory, "cgroup.freeze", "0");
  },
  // On v2 SIGKILL ends a frozen process. A paused container must still be thawed, to be in the same state as after kill
  // on v1.
  thawToKill(directory) {
    if (readIfThere(directory, "cgroup.freeze") === "1\n") freezerV2.thaw(directory);
  },
};

/**
 * v1 cannot freeze reliably while new processes appear. So the freeze is repeated, and every now and then the cgroup is
 * thawed for a moment. runc found these numbers by trial (cgroups/fs/freezer.go).
 */
function freezeV1(directory: string): void {
  for (let attempt = 0; attempt < 1000; attempt++) {
    if (attempt % 50 === 49) {
      freezerV1.thaw(directory);
      sleepMs(10);
    }
    writeCgroupFile(directory, "freezer.state", "FROZEN");
    const state = readIfThere(directory, "freezer.state")?.trim();
    if (state === "FROZEN") return;
    if (state !== "FREEZING") throw unknownState("freezer.state", state ?? "");
  }
  throw new RuncError("cgroup-failed", "unable to freeze");
}

/** Waits 1000 times 10 ms, as runc does. */
function waitUntilFrozen(directory: string): void {
  for (let tries = 0; tries < 1000; tries++) {
    const events = readIfThere(directory, "cgroup.events");
    if (events === undefined || /^frozen 1$/m.test(events)) return;
    sleepMs(10);
  }
  throw new RuncError("cgroup-failed", "timeout of 10 s reached waiting for the cgroup to freeze");
}

function writeIfThere(directory: string, name: string, text: string): void {
  try {
    writeCgroupFile(directory, name, text);
  } catch (error) {
    if (!isErrno(error, ...gone)) throw error;
  }
}

function unknownState(file: string, state: string): RuncError {
  return new RuncError("cgroup-failed", `unknown ${file} ${JSON.stringify(state)}`);
}
