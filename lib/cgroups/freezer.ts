/**
 * Freezes and thaws all processes of a cgroup, with the v1 controller or cgroup2's file cgroup.freeze.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { pause, type Waits } from "../ffi/waits.ts";
import { gone, isErrno, readIfThere, withDescendants, writeCgroupFile, writeWaits } from "./file.ts";

/** Whether the container is paused. */
export type FreezerState = "running" | "frozen";

/** The freezer of one cgroup version. `directory`: the container's cgroup. */
export interface Freezer {
  /** @throws {RuncError} if the kernel reports an unknown state, or is still freezing after 10 s. */
  readonly state: (directory: string) => Waits<FreezerState>;
  /** Freezes the cgroup. Returns when every process is frozen; after a failure none is. */
  readonly freeze: (directory: string) => Waits<void>;
  /** Thaws the cgroup. A missing cgroup is not an error. */
  readonly thaw: (directory: string) => void;
  /**
   * Like `thaw`, and also removes everything else that could keep a killed process in this cgroup, or in one below it,
   * from exiting.
   */
  readonly thawToKill: (directory: string) => void;
  /** Like `thawToKill`, for work that waits: the kernel may take milliseconds to thaw its last frozen cgroup. */
  readonly thawToKillWaits: (directory: string) => Waits<void>;
}

/** @see Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst */
export const freezerV1: Freezer = {
  *state(directory) {
    // FREEZING ends by itself unless new processes keep coming. 10 000 times 1 ms is the same limit as on v2.
    for (let tries = 0; tries < 10_000; tries++) {
      const state = readIfThere(directory, "freezer.state")?.trim() ?? "THAWED";
      if (state === "THAWED") return "running";
      // The container is not paused if only an ancestor is frozen: `resume` could not thaw that.
      if (state === "FROZEN") return readIfThere(directory, "freezer.self_freezing") === "0\n" ? "running" : "frozen";
      if (state !== "FREEZING") throw unknownState("freezer.state", state);
      yield* pause(1);
    }
    throw new RuncError("cgroup-failed", `${directory} is still freezing after 10 s`);
  },
  *freeze(directory) {
    try {
      yield* freezeV1(directory);
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
    withDescendants(directory).filter(isFrozenV1).forEach(freezerV1.thaw);
  },
  *thawToKillWaits(directory) {
    for (const each of withDescendants(directory)) {
      if (isFrozenV1(each)) yield* writeWaitsIfThere(each, "freezer.state", "THAWED");
    }
  },
};

/** @see Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze */
export const freezerV2: Freezer = {
  *state(directory) {
    if (!isFrozenV2(directory)) return "running";
    return (yield* waitUntilFrozen(directory)) ? "frozen" : "running";
  },
  *freeze(directory) {
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        yield* writeWaits(directory, "cgroup.freeze", "1");
        if (yield* waitUntilFrozen(directory)) return;
      }
      throw unableToFreeze();
    } catch (error) {
      freezerV2.thaw(directory);
      throw error;
    }
  },
  thaw(directory) {
    writeIfThere(directory, "cgroup.freeze", "0");
  },
  // On v2 SIGKILL ends a frozen process. A paused container must still be thawed, to be in the same state as after kill
  // on v1.
  thawToKill(directory) {
    if (isFrozenV2(directory)) freezerV2.thaw(directory);
  },
  *thawToKillWaits(directory) {
    if (isFrozenV2(directory)) yield* writeWaitsIfThere(directory, "cgroup.freeze", "0");
  },
};

/** How often a cgroup is frozen that does not stay so. */
const ATTEMPTS = 1000;

/**
 * v1 cannot freeze reliably while new processes appear. So the freeze is repeated, and every now and then the cgroup is
 * thawed for a moment. runc found these numbers by trial (cgroups/fs/freezer.go).
 */
function* freezeV1(directory: string): Waits<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt % 50 === 49) {
      freezerV1.thaw(directory);
      yield* pause(10);
    }
    yield* writeWaits(directory, "freezer.state", "FROZEN");
    const state = readIfThere(directory, "freezer.state")?.trim();
    if (state === "FROZEN") return;
    // `kill` takes no lock, and thaws what it finds frozen.
    if (state !== "FREEZING" && state !== "THAWED") throw unknownState("freezer.state", state ?? "");
  }
  throw unableToFreeze();
}

const unableToFreeze = () => new RuncError("cgroup-failed", "unable to freeze");

/** Waits 1000 times 10 ms, as runc does. Returns false if somebody has thawed it meanwhile. */
function* waitUntilFrozen(directory: string): Waits<boolean> {
  for (let tries = 0; tries < 1000; tries++) {
    const events = readIfThere(directory, "cgroup.events");
    if (events === undefined || /^frozen 1$/m.test(events)) return true;
    if (!isFrozenV2(directory)) return false;
    yield* pause(10);
  }
  throw new RuncError("cgroup-failed", "timeout of 10 s reached waiting for the cgroup to freeze");
}

function isFrozenV1(directory: string): boolean {
  const state = readIfThere(directory, "freezer.state");
  return state !== undefined && state !== "THAWED\n";
}

function isFrozenV2(directory: string): boolean {
  return readIfThere(directory, "cgroup.freeze")?.trim() === "1";
}

function* writeWaitsIfThere(directory: string, name: string, text: string): Waits<void> {
  try {
    yield* writeWaits(directory, name, text);
  } catch (error) {
    if (!isErrno(error, ...gone)) throw error;
  }
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
