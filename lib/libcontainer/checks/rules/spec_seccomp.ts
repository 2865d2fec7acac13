/**
 * Rules of the specification for `linux.seccomp`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp
 * @module
 */

import type { CheckRule } from "../rule.ts";

const AT = "/linux/seccomp";
/** MAX_ERRNO, include/linux/err.h: the kernel reduces a larger one to it. */
const MAX_ERRNO = 4095;
/** The actions with a value. */
const withErrno: readonly string[] = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"];

/** Rules for seccomp. */
export const seccompChecks: readonly CheckRule[] = [
  {
    id: "seccomp-errno",
    severity: "problem",
    field: "linux.seccomp",
    finds: "an errno for an action that has none, or one above 4095",
    why: "the specification requires an error for the first; the kernel changes the second to 4095",
    fix: "remove the errno, or use SCMP_ACT_ERRNO with an errno of this kernel",
    *find({ linux }) {
      const { defaultAction = "", defaultErrnoRet, syscalls = [] } = linux?.seccomp ?? {};
      const given = [
        [defaultAction, defaultErrnoRet, `${AT}/defaultErrnoRet`] as const,
        ...syscalls.map(({ action, errnoRet }, index) =>
          [action, errnoRet, `${AT}/syscalls/${index}/errnoRet`] as const
        ),
      ];
      for (const [action, found, at] of given) {
        if (found === undefined) continue;
        if (!withErrno.includes(action)) {
          yield { at, found, wanted: "no errno", message: `${action} does not return an errno` };
        } else if (action === "SCMP_ACT_ERRNO" && found > MAX_ERRNO) {
          yield { at, found, wanted: `at most ${MAX_ERRNO}`, message: `${found} is not an errno` };
        }
      }
    },
  },
  {
    id: "seccomp-no-names",
    severity: "problem",
    field: "linux.seccomp",
    finds: "a rule without names of system calls",
    why: "the specification requires at least one; the rule has no effect",
    fix: "name the system calls, or remove the rule",
    *find({ linux }) {
      for (const [index, { names }] of (linux?.seccomp?.syscalls ?? []).entries()) {
        const at = `${AT}/syscalls/${index}/names`;
        if (names.length === 0) yield { at, wanted: "names of system calls", message: "the rule names no system call" };
        const empty = names.indexOf("");
        if (empty >= 0) yield { at: `${at}/${empty}`, found: "", wanted: "a name", message: "the name is empty" };
      }
    },
  },
  {
    id: "seccomp-argument",
    severity: "problem",
    field: "linux.seccomp",
    finds: "a condition on an argument with an index above 5",
    why: "system calls have at most six arguments",
    fix: "use an index from 0 to 5",
    *find({ linux }) {
      for (const [index, { args = [] }] of (linux?.seccomp?.syscalls ?? []).entries()) {
        for (const [number, { index: found }] of args.entries()) {
          if (found <= 5) continue;
          const at = `${AT}/syscalls/${index}/args/${number}/index`;
          yield { at, found, wanted: "0 to 5", message: `there is no argument ${found}` };
        }
      }
    },
  },
  {
    id: "seccomp-metadata",
    severity: "problem",
    field: "linux.seccomp.listenerMetadata",
    finds: "`listenerMetadata` without `listenerPath`",
    why: "the specification forbids it: the text is for the agent, and there is none",
    fix: "set listenerPath, or remove listenerMetadata",
    *find({ linux }) {
      const { listenerMetadata: found = "", listenerPath = "" } = linux?.seccomp ?? {};
      if (found === "" || listenerPath !== "") return;
      yield {
        at: `${AT}/listenerMetadata`,
        found,
        wanted: "nothing",
        message: "listenerMetadata is without listenerPath",
      };
    },
  },
  {
    id: "seccomp-agent-unused",
    severity: "warning",
    field: "linux.seccomp.listenerPath",
    finds: "`listenerPath` without a rule with SCMP_ACT_NOTIFY",
    why: "the agent is never asked",
    fix: "remove listenerPath, or give a rule the action SCMP_ACT_NOTIFY",
    *find({ linux }) {
      const { listenerPath: found = "", syscalls = [] } = linux?.seccomp ?? {};
      if (found === "" || syscalls.some(({ action }) => action === "SCMP_ACT_NOTIFY")) return;
      yield { at: `${AT}/listenerPath`, found, wanted: "nothing", message: "no rule asks the agent" };
    },
  },
];
