/**
 * What is timed: one function a row of the table.
 *
 * @module
 */

import { type BundleName, type Contestant, endOf, waitForEnd } from "./contestant.ts";
import { finish, kernel, start, type Timed, timeOf } from "./timed.ts";

/** One thing that was timed. */
export interface Sample {
  readonly ms: number;
}

/** Something to time. */
export interface Scenario {
  /** Names of what {@link measure} returns, in order. */
  readonly rows: readonly string[];
  /** How often, as a part of the rounds that were asked for. */
  readonly share: number;
  readonly measure: (contestant: Contestant) => readonly Sample[];
}

/** Containers that there are while `list` is timed, and those that run side by side. */
export const LISTED = 50, LANES = 4;
const IN_SEQUENCE = 50, IN_A_LANE = 12;

function one(row: string, measure: (contestant: Contestant) => Timed, share = 1): Scenario {
  return { rows: [row], share, measure: (contestant) => [measure(contestant)] };
}

/** A container from `create` to `delete`. */
function life(contestant: Contestant): readonly Timed[] {
  const created = contestant.create();
  const { id, pid } = created;
  const started = contestant.call("start", id);
  const state = contestant.call("state", id);
  const executed = contestant.call("exec", id, "true");
  const killed = contestant.call("kill", id, "KILL");
  waitForEnd(pid);
  return [created, started, state, executed, killed, contestant.call("delete", id)];
}

function forcedDelete(contestant: Contestant): Timed {
  const { id } = contestant.create();
  contestant.call("start", id);
  return contestant.call("delete", "--force", id);
}

/** Without the filters that ours keeps: the others compile each time. */
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

/** Lanes that each run one container after the other. */
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

/** A child that has ended, reaped. @throws where it did not succeed. */
function anyEnded(): number {
  const info = new Uint8Array(new ArrayBuffer(128));
  kernel.must("waitid(P_ALL)", "waitid", P_ALL, 0, info, WEXITED | WNOWAIT);
  // siginfo_t: si_pid is behind signal, errno, code and padding.
  const pid = new DataView(info.buffer).getInt32(16, true);
  const { code } = finish(pid);
  if (code !== 0) throw new Error(`a run in parallel failed: ${code}`);
  return pid;
}

const bundles: readonly (readonly [row: string, bundle: BundleName])[] = [
  ["run", "true"],
  ["run with 40 mounts", "mounts"],
  ["run in a user namespace", "userns"],
  ["run with an engine's seccomp profile", "seccomp"],
];

/** In the order of the table. */
export const scenarios: readonly Scenario[] = [
  ...bundles.map(([row, bundle]) => one(row, (contestant) => contestant.run(bundle))),
  one("the same, first time", firstTime, 1 / 4),
  { rows: ["create", "start", "state", "exec", "kill", "delete"], share: 1, measure: life },
  one("delete -f of a running one", forcedDelete, 1 / 4),
  { rows: [`${IN_SEQUENCE} runs in sequence`], share: 1 / 10, measure: (contestant) => [inSequence(contestant)] },
  {
    rows: [`${LANES} lanes of ${IN_A_LANE} runs`],
    share: 1 / 10,
    measure: (contestant) => [sideBySide(contestant)],
  },
];

/** `list`, of a contestant that has {@link LISTED} containers. */
export const listing: Scenario = one(`list of ${LISTED}`, (contestant) => contestant.call("list"));

/** Makes the containers that {@link listing} shows; returns how to end them. */
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
