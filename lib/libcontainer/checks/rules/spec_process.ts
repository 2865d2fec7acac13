/**
 * Rules of the specification for `process`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#process
 * @module
 */

import { capabilityNames } from "../../../ffi/constants.ts";
import type { Capabilities } from "../../../specs/config.ts";
import { pointerToken } from "../../../specs/problem.ts";
import { quote } from "../../config/validate/facts.ts";
import type { CheckRule } from "../rule.ts";

const setNames = [
  "bounding",
  "effective",
  "inheritable",
  "permitted",
  "ambient",
] as const satisfies readonly (keyof Capabilities)[];

/** Rules for `process`. */
export const processChecks: readonly CheckRule[] = [
  {
    id: "args-command",
    severity: "problem",
    field: "process.args",
    finds: "an empty command in `process.args`",
    why: "there is no program with an empty name",
    fix: "set process.args[0] to the program",
    *find({ process }) {
      if (process?.args?.[0] !== "") return;
      yield { at: "/process/args/0", found: "", wanted: "a program", message: "the command is empty" };
    },
  },
  {
    id: "env-repeated",
    severity: "warning",
    field: "process.env",
    finds: "two entries of `process.env` with the same name",
    why: "only the last one counts, and other runtimes may use the first",
    fix: "remove all but one of them",
    *find({ process }) {
      const seen = new Set<string>();
      for (const [index, found] of (process?.env ?? []).entries()) {
        const name = found.split("=", 1)[0]!;
        const at = `/process/env/${index}`;
        if (seen.has(name)) yield { at, found, wanted: "each name once", message: `${name} is set more than once` };
        seen.add(name);
      }
    },
  },
  {
    id: "rlimit-repeated",
    severity: "problem",
    field: "process.rlimits",
    finds: "two rlimits of the same type",
    why: "the specification requires an error; which one would count is undefined",
    fix: "remove all but one of them",
    *find({ process }) {
      const seen = new Set<string>();
      for (const [index, { type: found }] of (process?.rlimits ?? []).entries()) {
        const at = `/process/rlimits/${index}/type`;
        if (seen.has(found)) yield { at, found, wanted: "each type once", message: `${found} is set more than once` };
        seen.add(found);
      }
    },
  },
  {
    id: "umask-range",
    severity: "warning",
    field: "process.user.umask",
    finds: "a umask with bits other than permissions",
    why: "umask(2) ignores them; JSON has no octal numbers, and 022 in octal is 18",
    fix: "write the mask as a decimal number, 0 to 511",
    *find({ process }) {
      const found = process?.user.umask ?? 0;
      if (found <= 0o777) return;
      yield { at: "/process/user/umask", found, wanted: "0 to 511", message: `umask ${found} has unknown bits` };
    },
  },
  {
    id: "console-size-ignored",
    severity: "warning",
    field: "process.consoleSize",
    finds: "`process.consoleSize` without `process.terminal`",
    why: "without a terminal the size is ignored",
    fix: "set process.terminal to true, or remove consoleSize",
    *find({ process }) {
      if (process?.terminal) return;
      const message = "consoleSize is set, but there is no terminal";
      yield { at: "/process/consoleSize", found: process?.consoleSize, wanted: "nothing", message };
    },
  },
  {
    id: "capability-unknown",
    severity: "warning",
    field: "process.capabilities",
    finds: "a capability that this runtime or this kernel does not know",
    why: "it is ignored",
    fix: "correct the name; capabilities(7) lists them",
    *find({ process }, { lastCapability }) {
      for (const set of setNames) {
        for (const [index, found] of (process?.capabilities?.[set] ?? []).entries()) {
          const number = capabilityNames.indexOf(found);
          if (number >= 0 && number <= lastCapability) continue;
          const at = `/process/capabilities/${set}/${index}`;
          yield { at, found, wanted: "a capability of this kernel", message: `unknown capability ${quote(found)}` };
        }
      }
    },
  },
  {
    id: "capability-not-permitted",
    severity: "problem",
    field: "process.capabilities",
    finds: "an effective capability that is not permitted",
    why: "capset(2) fails with EPERM",
    fix: "add it to process.capabilities.permitted, or remove it from effective",
    *find({ process }) {
      const { effective = [], permitted = [] } = process?.capabilities ?? {};
      for (const [index, found] of effective.entries()) {
        if (permitted.includes(found)) continue;
        const at = `/process/capabilities/effective/${index}`;
        yield { at, found, wanted: "a permitted capability", message: `${found} is effective, but not permitted` };
      }
    },
  },
  {
    id: "capability-ambient",
    severity: "warning",
    field: "process.capabilities.ambient",
    finds: "an ambient capability that is not both permitted and inheritable",
    why: "prctl(2) refuses to raise it, and the container starts without it",
    fix: "add it to permitted and inheritable, or remove it from ambient",
    *find({ process }) {
      const { ambient = [], permitted = [], inheritable = [] } = process?.capabilities ?? {};
      const found = ambient.filter((name) => !permitted.includes(name) || !inheritable.includes(name));
      if (found.length === 0) return;
      const message = `not both permitted and inheritable: ${found.join(", ")}`;
      const wanted = "permitted and inheritable capabilities";
      yield { at: "/process/capabilities/ambient", found, wanted, message };
    },
  },
  {
    id: "capability-unbound",
    severity: "warning",
    field: "process.capabilities",
    finds: "a permitted capability that is not in the bounding set",
    why: "the program has it, but no program that it executes can get it again",
    fix: "add it to process.capabilities.bounding, or remove it from permitted",
    *find({ process }) {
      const { bounding = [], permitted = [] } = process?.capabilities ?? {};
      const found = permitted.filter((name) => !bounding.includes(name));
      if (found.length === 0) return;
      const message = `not in the bounding set: ${found.join(", ")}`;
      yield { at: "/process/capabilities/permitted", found, wanted: "capabilities of the bounding set", message };
    },
  },
  {
    id: "deadline",
    severity: "problem",
    field: "process.scheduler",
    finds: "SCHED_DEADLINE without `runtime` <= `deadline` <= `period`",
    why: "sched_setattr(2) fails with EINVAL",
    fix: "set all three in nanoseconds, the runtime to at least 1024",
    *find({ process }) {
      const { policy = "", runtime = 0, deadline = 0, period = 0 } = process?.scheduler ?? {};
      if (policy !== "SCHED_DEADLINE") return;
      const longest = BigInt(period) === 0n ? deadline : period;
      if (BigInt(runtime) >= 1024n && BigInt(runtime) <= BigInt(deadline) && BigInt(deadline) <= BigInt(longest)) {
        return;
      }
      const message = `SCHED_DEADLINE with runtime ${runtime}, deadline ${deadline} and period ${period}`;
      yield {
        at: "/process/scheduler",
        found: process?.scheduler,
        wanted: "1024 <= runtime <= deadline <= period",
        message,
      };
    },
  },
  {
    id: "user-unmapped",
    severity: "problem",
    field: "process",
    finds: "a user or group of the process that the user namespace does not map",
    why: "setuid(2), setgid(2) and setgroups(2) fail with EINVAL",
    fix: "add the id to linux.uidMappings or linux.gidMappings, or choose a mapped one",
    *find({ process, linux }) {
      // A namespace that is joined has its own mappings; see joined-user-mappings.
      if (!linux?.namespaces?.some(({ type, path = "" }) => type === "user" && path === "")) return;
      const { uid = 0, gid = 0, additionalGids = [] } = process?.user ?? {};
      const ids = [
        ["uid", uid, "/uid"] as const,
        ["gid", gid, "/gid"] as const,
        ...additionalGids.map((id, index) => ["gid", id, `/additionalGids${pointerToken(index)}`] as const),
      ];
      for (const [kind, found, place] of ids) {
        const mappings = linux[`${kind}Mappings`] ?? [];
        const isMapped = mappings.some(({ containerID, size }) => found >= containerID && found < containerID + size);
        // Without a mapping of root there is another problem already.
        if (isMapped || found === 0) continue;
        const message = `${kind} ${found} is not mapped in the user namespace`;
        yield { at: `/process/user${place}`, found, wanted: `an id of linux.${kind}Mappings`, message };
      }
    },
  },
];
