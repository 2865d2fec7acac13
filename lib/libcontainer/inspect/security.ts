/**
 * Compares capabilities, noNewPrivileges, the seccomp filter, the label of the security module, and the OOM score.
 * Pure.
 *
 * @see capabilities(7), proc_pid_status(5)
 * @module
 */

import type { Capabilities } from "../../specs/config.ts";
import { seccompActions } from "../seccomp/names.ts";
import { processOf } from "../state/process_state.ts";
import { type RuncState, seccompOf } from "../state/runc_state.ts";
import { compare, type InspectFinding, judge, notes } from "./finding.ts";
import type { KernelView } from "./kernel_view.ts";
import { parseCapabilities, wordsOf } from "./proc_files.ts";

/** The five sets and their lines in /proc/PID/status. */
const sets = [
  ["bounding", "CapBnd"],
  ["effective", "CapEff"],
  ["inheritable", "CapInh"],
  ["permitted", "CapPrm"],
  ["ambient", "CapAmb"],
] as const satisfies readonly (readonly [set: keyof Capabilities, line: string])[];

/** A finding for each capability set. */
export function capabilityFindings(state: RuncState, view: KernelView): readonly InspectFinding[] {
  const { capabilities } = processOf(state);
  const status = view.process?.status;
  return sets.map(([name, line]) => {
    const wanted = capabilities && [...new Set(capabilities[name] ?? [])];
    const shown = status?.[line] === undefined ? undefined : parseCapabilities(status[line]);
    return compare({
      topic: "capabilities",
      name,
      field: `/process/capabilities/${name}`,
      config: wanted && capabilityText(wanted),
      kernel: shown && capabilityText(shown),
      note: wanted && shown && notes(...changes(wanted, shown), whyChanged(name, { wanted, shown }, status)),
    });
  });
}

function capabilityText(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.toSorted().join(" ");
}

function changes(wanted: readonly string[], shown: readonly string[]): readonly (string | undefined)[] {
  const missing = wanted.filter((name) => !shown.includes(name));
  const added = shown.filter((name) => !wanted.includes(name));
  return [
    missing.length === 0 ? undefined : `missing: ${capabilityText(missing)}`,
    added.length === 0 ? undefined : `added: ${capabilityText(added)}`,
  ];
}

/** execve(2) changes two sets by rules that surprise many. capabilities(7), "Transformation of capabilities" */
function whyChanged(
  name: keyof Capabilities,
  { wanted, shown }: { readonly wanted: readonly string[]; readonly shown: readonly string[] },
  status: Readonly<Record<string, string>> | undefined,
): string | undefined {
  if (name !== "permitted" && name !== "effective") return undefined;
  const [, effectiveUid, ,] = wordsOf(status?.Uid ?? "");
  if (wanted.some((known) => !shown.includes(known)) && effectiveUid !== "0") {
    return "a program that a user other than root executes keeps only the ambient set";
  }
  const added = shown.filter((known) => !wanted.includes(known));
  const bounding = parseCapabilities(status?.CapBnd ?? "0");
  return added.length > 0 && added.every((known) => bounding.includes(known))
    ? "a program that root executes gets the bounding set"
    : undefined;
}

/** noNewPrivileges, seccomp, the label, and the OOM score. */
export function securityFindings(state: RuncState, view: KernelView): readonly InspectFinding[] {
  const { noNewPrivileges = false, oomScoreAdj } = processOf(state);
  const { status, oomScoreAdj: shownScore } = view.process ?? {};
  return [
    compare({
      topic: "security",
      name: "noNewPrivileges",
      field: "/process/noNewPrivileges",
      config: noNewPrivileges ? "yes" : "no",
      kernel: status?.NoNewPrivs === undefined ? undefined : status.NoNewPrivs === "1" ? "yes" : "no",
    }),
    seccompFinding(state, view),
    labelFinding(state, view),
    compare({
      topic: "security",
      name: "OOM score",
      field: "/process/oomScoreAdj",
      config: oomScoreAdj === undefined ? undefined : String(oomScoreAdj),
      kernel: shownScore,
    }),
  ];
}

/** SECCOMP_MODE_*, include/uapi/linux/seccomp.h */
const modes: Readonly<Record<string, string>> = { "0": "off", "1": "strict", "2": "filter" };

/** The kernel shows the mode and the number of filters, not the filters. */
function seccompFinding(state: RuncState, view: KernelView): InspectFinding {
  const profile = seccompOf(state);
  const { Seccomp: mode, Seccomp_filters: filters } = view.process?.status ?? {};
  const defaultAction = Object.entries(seccompActions).find(([, number]) => number === profile?.default_action)?.[0];
  const inherited = mode === view.own.seccomp && mode !== "0";
  const count = filters === undefined || filters === "0" ? "" : ` (${filters} in force)`;
  return judge({
    topic: "security",
    name: "seccomp",
    field: "/linux/seccomp",
    config: profile === undefined ? "off" : `filter, default ${defaultAction}`,
    kernel: mode === undefined ? undefined : (modes[mode] ?? mode) + count,
    note: profile === undefined && mode !== undefined && mode !== "0"
      ? inherited ? "of the caller, or the program's own" : "the program's own"
      : undefined,
  }, profile === undefined ? mode === "0" || inherited : mode === "2");
}

/** AppArmor adds the mode to the name of a profile: `docker-default (enforce)`. */
function labelFinding(state: RuncState, view: KernelView): InspectFinding {
  const { apparmorProfile = "", selinuxLabel = "" } = processOf(state);
  const kernel = view.process?.label;
  const isApparmor = apparmorProfile !== "";
  const config = isApparmor ? apparmorProfile : selinuxLabel === "" ? undefined : selinuxLabel;
  return judge({
    topic: "security",
    name: "label",
    field: isApparmor || selinuxLabel === "" ? "/process/apparmorProfile" : "/process/selinuxLabel",
    config,
    kernel,
    note: kernel === undefined && view.process !== undefined ? "no security module with labels is in use" : undefined,
  }, kernel === config || kernel?.replace(/ \(\w+\)$/, "") === config);
}
