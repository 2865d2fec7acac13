/**
 * Stopping and continuing all processes of a cgroup: the v1 controller and the file that every cgroup2 cgroup has.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { gone, isErrno, readIfThere, sleepMs, withDescendants, writeCgroupFile } from "./file.ts";

/** Whether the container is paused. */
export type FreezerState = "running" | "frozen";

/** A freezer as the managers use it. `directory`: the container's cgroup. */
export interface Freezer {
  /** @throws {RuncError} where the kernel answers something unknown, or is not done within 10 s. */
  readonly state: (directory: string) => FreezerState;
  /** Returns when every process has stopped. */
  readonly freeze: (directory: string) => void;
  /** A cgroup that is gone is fine. */
  readonly thaw: (directory: string) => void;
  /** As `thaw`, with whatever could keep a killed process of the cgroup, or of one below it, from ending. */
  readonly thawToKill: (directory: string) => void;
}

/** @see Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst */
export const freezerV1: Freezer = {
  state(directory) {
    // FREEZING ends by itself, unless processes keep coming. 10 000 times 1 ms: as long as v2's limit.
    for (let tries = 0; tries < 10_000; tries++) {
      const state = readIfThere(directory, "freezer.state")?.trim() ?? "THAWED";
      if (state === "THAWED") return "running";
      // An ancestor's freeze is not the container's: `resume` could not end it.
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
      // Half frozen is worse than either.
      freezerV1.thaw(directory);
      throw error;
    }
  },
  thaw(directory) {
    writeIfThere(directory, "freezer.state", "THAWED");
  },
  // A frozen process does not die of SIGKILL, and a cgroup below is frozen for itself: the container may have done that.
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
  // SIGKILL ends a frozen process. What is paused itself is to be running, as after kill on v1.
  thawToKill(directory) {
    if (readIfThere(directory, "cgroup.freeze") === "1\n") freezerV2.thaw(directory);
  },
};

/**
 * v1 cannot freeze reliably while processes appear, so it is asked again and again, with a pause in which they run now and then. The
 * numbers are those that runc found by trial (cgroups/fs/freezer.go).
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

/** 1000 times 10 ms, as runc waits. */
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
