/**
 * A seccomp profile in the format of state.json: names are numbers, and every rule is for one system call. Pure.
 *
 * Source: runc 1.5.1, libcontainer/specconv/spec_linux.go (SetupSeccomp).
 *
 * @module
 */

import { SeccompFilterFlag } from "../../ffi/constants.ts";
import type { Integer64, Seccomp } from "../../specs/config.ts";
import { seccompActions, seccompArchs, seccompFlags, seccompOperators } from "./names.ts";

/** libcontainer's configs.Seccomp. Lists may be null in runc's files. */
export interface SeccompProfile {
  /** A number of {@link seccompActions}. */
  readonly default_action: number;
  /** Values of {@link seccompArchs}. */
  readonly architectures: readonly string[] | null;
  /** Names of {@link seccompFlags}. */
  readonly flags?: readonly string[] | null;
  /** One system call each. */
  readonly syscalls: readonly SeccompRule[] | null;
  /** The errno that the default action returns. */
  readonly default_errno_ret?: number | null;
  /** The agent's socket. */
  readonly listener_path?: string;
  /** Text for the agent. */
  readonly listener_metadata?: string;
}

/** The rule for one system call. */
export interface SeccompRule {
  /** The name of the system call. */
  readonly name: string;
  /** A number of {@link seccompActions}. */
  readonly action: number;
  /** The errno that the action returns. */
  readonly errnoRet: number | null;
  /** The conditions on arguments; all of them must hold. */
  readonly args: readonly SeccompCondition[] | null;
}

/** A condition on one argument. */
export interface SeccompCondition {
  /** The argument's index, 0 to 5. */
  readonly index: number;
  /** The value to compare with. */
  readonly value: Integer64;
  /** The value that the masked argument must have. */
  readonly value_two: Integer64;
  /** A number of {@link seccompOperators}. */
  readonly op: number;
}

type Table = Readonly<Record<string, number>>;

/** The profile of a config that has passed validation. */
export function toProfile(seccomp: Seccomp): SeccompProfile {
  const actions: Table = seccompActions;
  const operators: Table = seccompOperators;
  const archs: Readonly<Record<string, string>> = seccompArchs;
  // An empty list means no flags; no list means the default.
  const flags = seccomp.flags ?? ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
  return {
    default_action: actions[seccomp.defaultAction]!,
    architectures: nullIfEmpty((seccomp.architectures ?? []).map((arch) => archs[arch]!)),
    flags: nullIfEmpty(flags),
    syscalls: (seccomp.syscalls ?? []).flatMap(({ names, action, errnoRet, args }) =>
      names.map((name) => ({
        name,
        action: actions[action]!,
        errnoRet: errnoRet ?? null,
        args: (args ?? []).map(({ index, value, valueTwo, op }) => ({
          index,
          value,
          value_two: valueTwo ?? 0,
          op: operators[op]!,
        })),
      }))
    ),
    default_errno_ret: seccomp.defaultErrnoRet ?? null,
    ...(seccomp.listenerPath ? { listener_path: seccomp.listenerPath } : {}),
    ...(seccomp.listenerMetadata ? { listener_metadata: seccomp.listenerMetadata } : {}),
  };
}

function nullIfEmpty<Item>(list: readonly Item[]): readonly Item[] | null {
  return list.length === 0 ? null : list;
}

/** Whether an agent decides about some system call. */
export function hasListener(profile: SeccompProfile): boolean {
  return (profile.syscalls ?? []).some(({ action }) => action === seccompActions.SCMP_ACT_NOTIFY);
}

/** The flags for seccomp(2). */
export function filterFlags(profile: SeccompProfile): number {
  const bits: Table = seccompFlags;
  const listener = hasListener(profile) ? SeccompFilterFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
  return (profile.flags ?? []).reduce((flags, name) => flags | (bits[name] ?? 0), listener);
}
