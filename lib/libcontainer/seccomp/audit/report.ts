/**
 * The report of an audit: what was used, what the config's filter would have denied, and a profile that allows what was
 * used and nothing else. Pure.
 *
 * @module
 */

import type { Seccomp, SeccompSyscall } from "../../../specs/config.ts";
import { decisionText, explainCall } from "../explain.ts";
import { seccompArchs, seccompOperators } from "../names.ts";
import type { SeccompProfile, SeccompRule } from "../profile.ts";
import { archTokens } from "../values.ts";
import { ALLOWED, type CallRecord, type Sample } from "./recording.ts";

/** A system call that was made. */
export interface UsedCall {
  readonly name: string;
  readonly arch: string;
  /** How often; absent for the calls that are not counted. */
  readonly calls?: number;
}

/** Calls that the config's filter would have denied. */
export interface DeniedCall extends UsedCall {
  /** `SCMP_ACT_ERRNO (EPERM)`. */
  readonly decision: string;
  /** The arguments of the first one, in hexadecimal. */
  readonly args: readonly string[];
  /** The program that made it, as it calls itself. */
  readonly program: string;
}

/** What an audit writes. */
export interface AuditReport {
  readonly id: string;
  readonly used: readonly UsedCall[];
  readonly denied: readonly DeniedCall[];
  /** How many calls are in neither list, because a program made up too many numbers; absent: none. */
  readonly unrecorded?: number;
  /** A value for linux.seccomp. */
  readonly profile: Seccomp;
}

/** What a report is made from. */
export interface ReportOptions {
  readonly id: string;
  readonly records: readonly CallRecord[];
  readonly unrecorded: number;
  /** Calls of the native architecture that are not recorded, and always used. */
  readonly unasked: readonly string[];
  readonly filter?: { readonly profile: SeccompProfile; readonly program: Uint8Array<ArrayBuffer> };
  /** SCMP_ARCH token of this machine. */
  readonly nativeArch: number;
  readonly numberOf: (name: string, arch: number) => number;
  /** Undefined if libseccomp has no name for the number. */
  readonly nameOf: (number: number, arch: number) => string | undefined;
}

/** SECCOMP_RET_* without data that let a call go on: ALLOW, LOG, and the answer of an agent. */
const passing: readonly number[] = [ALLOWED, 0x7ffc0000, 0x7fc00000];

const isDenied = ({ decision }: Sample) => !passing.includes((decision & 0xffff0000) >>> 0);
const sumOf = (samples: readonly Sample[]) => samples.reduce((sum, { calls }) => sum + calls, 0);

/** Makes the report. */
export function auditReport(options: ReportOptions): AuditReport {
  const { id, records, unrecorded, unasked, nativeArch } = options;
  const all = records.map((record) => ({ ...record, name: options.nameOf(record.number, record.arch) }));
  const shown = all.map((record) => ({ ...record, label: record.name ?? String(record.number) }));
  const native = archName(nativeArch);
  const used: UsedCall[] = [
    ...unasked.map((name) => ({ name, arch: native })),
    ...shown.map(({ label, arch, samples }) => ({ name: label, arch: archName(arch), calls: sumOf(samples) })),
  ].sort(byName);
  const denied = shown.flatMap(({ label, arch, samples }) => deniedOf(samples, { name: label, arch: archName(arch) }));
  const missing = unrecorded === 0 ? {} : { unrecorded };
  return { id, used, denied: denied.sort(byName), ...missing, profile: minimalProfile(all, options) };
}

function byName(one: UsedCall, other: UsedCall): number {
  return one.name < other.name ? -1 : one.name > other.name ? 1 : 0;
}

/** One entry for each decision. */
function deniedOf(samples: readonly Sample[], call: Pick<UsedCall, "name" | "arch">): readonly DeniedCall[] {
  const byDecision = Map.groupBy(samples.filter(isDenied), ({ decision }) => decision);
  return [...byDecision].map(([decision, same]) => {
    const { args, program } = same[0]!;
    return {
      ...call,
      calls: sumOf(same),
      decision: decisionText(decision),
      args: args.map((value) => `0x${value.toString(16)}`),
      program,
    };
  });
}

type NamedRecord = CallRecord & { readonly name: string | undefined };

/**
 * Allows what was used. A call that only rules with conditions have allowed keeps these rules. A number without a name
 * cannot be in a profile.
 */
function minimalProfile(records: readonly NamedRecord[], options: ReportOptions): Seccomp {
  const { unasked, nativeArch } = options;
  const plain = new Set(unasked);
  const conditional = new Map<string, readonly SeccompRule[]>();
  for (const record of records) {
    if (record.name === undefined) continue;
    const rules = conditionsFor(record, options);
    if (rules === undefined) plain.add(record.name);
    else conditional.set(record.name, [...new Set([...conditional.get(record.name) ?? [], ...rules])]);
  }
  // On another architecture the call may have been used without a condition.
  for (const name of plain) conditional.delete(name);
  const archs = new Set([nativeArch, ...records.map(({ arch }) => arch)]);
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: [...archs].map(archName) as Seccomp["architectures"],
    syscalls: [
      { names: [...plain].sort(), action: "SCMP_ACT_ALLOW" },
      ...[...conditional.values()].flat().map(syscallOf),
    ],
  };
}

/** The rules with conditions that have allowed all calls of a record; undefined if others have decided. */
function conditionsFor(
  { arch, number, samples }: CallRecord,
  { filter, nativeArch, numberOf }: ReportOptions,
): readonly SeccompRule[] | undefined {
  if (filter === undefined) return undefined;
  const found = new Set<SeccompRule>();
  for (const { args, decision } of samples) {
    if (decision !== ALLOWED) return undefined;
    const call = { arch, number, args, numberOf: (name: string) => numberOf(name, arch) };
    const { rules } = explainCall({ ...filter, nativeArch }, call);
    const decisive = rules.filter(({ decides }) => decides);
    if (decisive.length === 0 || decisive.some(({ conditions }) => conditions.length === 0)) return undefined;
    for (const { index } of decisive) found.add(filter.profile.syscalls![index]!);
  }
  return [...found];
}

function syscallOf({ name, args }: SeccompRule): SeccompSyscall {
  return {
    names: [name],
    action: "SCMP_ACT_ALLOW",
    args: (args ?? []).map(({ index, value, value_two, op }) => ({
      index,
      value,
      ...(op === seccompOperators.SCMP_CMP_MASKED_EQ ? { valueTwo: value_two } : {}),
      op: wordFor(seccompOperators, op),
    })) as SeccompSyscall["args"],
  };
}

function wordFor(table: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(table).find((name) => table[name] === value) ?? String(value);
}

function archName(token: number): string {
  return Object.entries(seccompArchs).find(([, name]) => archTokens[name] === token)?.[0] ?? `0x${token.toString(16)}`;
}
