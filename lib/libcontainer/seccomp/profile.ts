/**
 * A seccomp profile in the form that state.json keeps: names are numbers, and every rule is for one system call. Pure.
 *
 * Source: runc 1.5.1, libcontainer/specconv/spec_linux.go (SetupSeccomp).
 *
 * @module
 */

import { SeccompFilterFlag } from "../../ffi/constants.ts";
import type { Integer64, Seccomp } from "../../specs/config.ts";
import { seccompActions, seccompArchs, seccompFlags, seccompOperators } from "./names.ts";

/** libcontainer's configs.Seccomp. A list may be null in a file of runc's. */
export interface SeccompProfile {
  /** A number of {@link seccompActions}. */
  readonly default_action: number;
  /** As {@link seccompArchs} has them. */
  readonly architectures: readonly string[] | null;
  /** Names of {@link seccompFlags}. */
  readonly flags?: readonly string[] | null;
  /** One system call each. */
  readonly syscalls: readonly SeccompRule[] | null;
  /** The errno of the default action. */
  readonly default_errno_ret?: number | null;
  /** The agent's socket. */
  readonly listener_path?: string;
  /** Text for the agent. */
  readonly listener_metadata?: string;
}

/** What is done about one system call. */
export interface SeccompRule {
  /** The system call. */
  readonly name: string;
  /** A number of {@link seccompActions}. */
  readonly action: number;
  /** The errno of the action. */
  readonly errnoRet: number | null;
  /** Conditions. */
  readonly args: readonly SeccompCondition[] | null;
}

/** A condition on one argument. */
export interface SeccompCondition {
  /** 0 to 5. */
  readonly index: number;
  /** To compare with. */
  readonly value: Integer64;
  /** What the masked argument must be. */
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
  // An empty list is none, no list is the default.
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

/** Whether an agent is asked about some system call. */
export function hasListener(profile: SeccompProfile): boolean {
  return (profile.syscalls ?? []).some(({ action }) => action === seccompActions.SCMP_ACT_NOTIFY);
}

/** The flags that seccomp(2) is to be called with. */
export function filterFlags(profile: SeccompProfile): number {
  const bits: Table = seccompFlags;
  const listener = hasListener(profile) ? SeccompFilterFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
  return (profile.flags ?? []).reduce((flags, name) => flags | (bits[name] ?? 0), listener);
}
