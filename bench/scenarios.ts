/**
 * The benchmark's scenarios: one function per row of the table.
 *
 * @module
 */

import { type BundleName, type Contestant, endOf, waitForEnd } from "./contestant.ts";
import { finish, kernel, start, type Timed, timeOf } from "./timed.ts";

/** One measurement. */
export interface Sample {
  readonly ms: number;
  /** Processor time in milliseconds, and page faults: of a single command. */
  readonly cpuMs?: number;
  readonly minorFaults?: number;
}

/** A scenario to time. */
export interface Scenario {
  /** Names of the values that {@link measure} returns, in order. */
  readonly rows: readonly string[];
  /** The number of rounds, as a fraction of those that were asked for. */
  readonly share: number;
  readonly measure: (contestant: Contestant) => readonly Sample[];
}

/** Number of containers while `list` is timed, and number that run in parallel. */
export const LISTED = 50, LANES = 4;
const IN_SEQUENCE = 50, IN_A_LANE = 12;

function one(row: string, measure: (contestant: Contestant) => Timed, share = 1): Scenario {
  return { rows: [row], share, measure: (contestant) => [measure(contestant)] };
}

/** Times the commands on a container from `create` to `delete`. */
function life(contestant: Contestant): readonly Timed[] {
  const created = contestant.create();
  const { id, pid } = created;
  const started = contestant.call("start", id);
  const state = contestant.call("state", id);
  const executed = contestant.call("exec", id, "true");
  const again = contestant.call("exec", id, "true");
  const paused = contestant.call("pause", id);
  const resumed = contestant.call("resume", id);
  const killed = contestant.call("kill", id, "KILL");
  waitForEnd(pid);
  return [created, started, state, executed, again, paused, resumed, killed, contestant.call("delete", id)];
}

function forcedDelete(contestant: Contestant): Timed {
  const { id } = contestant.create();
  contestant.call("start", id);
  return contestant.call("delete", "--force", id);
}

/** Empties this project's cache of compiled filters first: the other runtimes compile each time. */
function firstTime(contestant: Contestant): Timed {
  try {
    Deno.removeSync("/run/runc-seccomp", { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return contestant.run("seccomp");
}

function inSequence(contestant: Contestant): Sample {
  return {
    ms: timeOf(() => {
      for (let run = 0; run < IN_SEQUENCE; run++) contestant.run("true");
    }),
  };
}

/** Runs parallel lanes. Each lane runs one container after the other. */
function sideBySide(contestant: Contestant): Sample {
  const bundles = lanes(contestant);
  return {
    ms: timeOf(() => {
      const left = bundles.map(() => IN_A_LANE);
      const running = new Map<number, number>();
      const next = (lane: number) => {
        if (left[lane]!-- > 0) {
          running.set(start(contestant.argv("run", "--bundle", bundles[lane]!, contestant.nextId())), lane);
        }
      };
      bundles.forEach((_, lane) => next(lane));
      while (running.size > 0) {
        const pid = anyEnded();
        const lane = running.get(pid)!;
        running.delete(pid);
        next(lane);
      }
    }),
  };
}

const lanes = (contestant: Contestant) =>
  Array.from({ length: LANES }, (_, lane) => contestant.bundle("true", { args: ["true"] }, lane));

const P_ALL = 0, WEXITED = 4, WNOWAIT = 0x1000000;

/** Reaps a child that has ended. Returns its pid. @throws if it failed. */
function anyEnded(): number {
  const info = new Uint8Array(new ArrayBuffer(128));
  kernel.must("waitid(P_ALL)", "waitid", P_ALL, 0, info, WEXITED | WNOWAIT);
  // siginfo_t: si_pid comes after signal, errno, code and padding.
  const pid = new DataView(info.buffer).getInt32(16, true);
  const { code } = finish(pid);
  if (code !== 0) throw new Error(`a parallel run failed with status ${code}`);
  return pid;
}

const bundles: readonly (readonly [row: string, bundle: BundleName])[] = [
  ["run", "true"],
  ["run with 40 mounts", "mounts"],
  ["run in a user namespace", "userns"],
  ["run with an engine's seccomp profile", "seccomp"],
];

/** All scenarios, in the order of the table. */
export const scenarios: readonly Scenario[] = [
  one("--version", (contestant) => contestant.call("--version")),
  ...bundles.map(([row, bundle]) => one(row, (contestant) => contestant.run(bundle))),
  one("the same, no cached filter", firstTime, 1 / 4),
  {
    rows: ["create", "start", "state", "exec", "the same exec again", "pause", "resume", "kill", "delete"],
    share: 1,
    measure: life,
  },
  one("delete -f of a running container", forcedDelete, 1 / 4),
  { rows: [`${IN_SEQUENCE} runs in sequence`], share: 1 / 10, measure: (contestant) => [inSequence(contestant)] },
  {
    rows: [`${LANES} lanes of ${IN_A_LANE} runs`],
    share: 1 / 10,
    measure: (contestant) => [sideBySide(contestant)],
  },
];

/** `list` on a contestant that has {@link LISTED} containers. */
export const listing: Scenario = one(`list of ${LISTED}`, (contestant) => contestant.call("list"));

/** Creates the containers that {@link listing} shows. Returns a function that removes them. */
export function makeListed(contestant: Contestant): () => void {
  const pids = Array.from({ length: LISTED }, (_, index) => {
    contestant.bundle("sleep", { args: ["sleep", "1000"] }, index);
    return contestant.create(index).pid;
  });
  return () => {
    for (const pid of pids) endOf(pid);
    contestant.cleanUp();
  };
}
