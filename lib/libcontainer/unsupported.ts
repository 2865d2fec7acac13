/**
 * What config.json can ask for and this version does not build: refused by name, never ignored.
 *
 * The table is the whole list: building a field means deleting its line.
 *
 * @module
 */

import type { Config, Integer64 } from "../specs/config.ts";
import { pointerToken, type Problem } from "../specs/problem.ts";

/** Whether a value asks for something that is not built. */
type Asks = (value: unknown) => boolean;

/** The fields that are not built, in the shape of config.json; `*` stands for every item of a list. */
interface Unbuilt {
  readonly [field: string]: Asks | Unbuilt;
}

const always: Asks = () => true;
/** A new cgroup has no limit, so that asking for none (-1) asks for nothing. */
const limits: Asks = (value) => isSomething(value) && value !== -1;

const unbuilt: Unbuilt = {
  linux: {
    resources: {
      memory: {
        limit: limits,
        reservation: limits,
        swap: limits,
        kernel: limits,
        kernelTCP: limits,
        // 0 means not to swap.
        swappiness: always,
        disableOOMKiller: isSomething,
      },
      cpu: {
        shares: isSomething,
        quota: limits,
        burst: isSomething,
        period: isSomething,
        realtimeRuntime: isSomething,
        realtimePeriod: isSomething,
        cpus: isSomething,
        mems: isSomething,
        idle: isSomething,
      },
      // 0 is a limit here, and any negative number is none.
      pids: { limit: (limit) => (limit as Integer64) >= 0 },
      blockIO: isSomething,
      hugepageLimits: isSomething,
      network: isSomething,
      rdma: isSomething,
      unified: isSomething,
    },
  },
  solaris: always,
  windows: always,
  vm: always,
  zos: always,
  freebsd: always,
};

/**
 * A problem of code `unsupported` for everything in `config` that is not built. For a process alone, put it into a config:
 * the pointers then begin with `/process`.
 */
export function unsupported(config: Partial<Config>): readonly Problem[] {
  const problems: Problem[] = [];
  collect(unbuilt, config, "", problems);
  return problems;
}

function collect(fields: Unbuilt, object: object, at: string, problems: Problem[]): void {
  const every = fields["*"];
  for (const [key, value] of Object.entries(object)) {
    const asks = every ?? fields[key];
    if (asks === undefined || value === undefined) continue;
    const field = at + pointerToken(key);
    if (typeof asks === "object") collect(asks, value, field, problems);
    else if (asks(value)) problems.push(problem(field, value));
  }
}

function problem(at: string, found: unknown): Problem {
  const message = `${at} is not supported by this version`;
  return { at, found, wanted: "nothing", message, code: "unsupported" };
}

/** Whether there is anything but empty texts, zeros and false in a value. */
function isSomething(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return Boolean(value);
  return Object.values(value).some(isSomething);
}
