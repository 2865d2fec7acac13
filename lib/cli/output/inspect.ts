/**
 * The output of `inspect`. Pure.
 *
 * @module
 */

import { type InspectFinding, topics, type Verdict } from "../../libcontainer/inspect/finding.ts";
import type { Inspection } from "../../libcontainer/inspect/inspect.ts";

/** How an inspection is printed. */
export interface InspectStyle {
  /** Only findings with the verdict `different`. */
  readonly diffOnly: boolean;
  /** For a terminal. */
  readonly isColoured?: boolean;
}

/** SGR parameters for the lines of a verdict. @see ECMA-48, SGR */
const colours: { readonly [Name in Verdict]?: number } = { different: 31, unknown: 33 };

const marks: Readonly<Record<Verdict, string>> = { same: " ", different: "!", unset: " ", unknown: "?" };

/**
 * The topics with their findings. `!` marks a difference, `?` what the kernel does not show; `->` is between the words
 * of the config and those of the kernel, if they mean the same.
 */
export function formatInspection(inspection: Inspection, style: InspectStyle): string {
  const { id, status, pid } = inspection;
  const shown = shownFindings(inspection, style);
  const count = differences(inspection);
  const groups = topics.flatMap((topic) => {
    const findings = shown.filter((finding) => finding.topic === topic);
    return findings.length === 0 ? [] : ["", topic, ...findings.flatMap((finding) => findingLines(finding, style))];
  });
  const total = count === 0 ? "no differences" : `${count} ${count === 1 ? "difference" : "differences"}`;
  // Without a process, the kernel shows only what remains of the cgroups.
  const process = pid === 0 ? "only its cgroup can be compared" : `pid ${pid}`;
  const head = `${id}: ${status}, ${process}, ${total}`;
  return [head, ...groups].map((line) => `${line}\n`).join("");
}

function findingLines(finding: InspectFinding, { isColoured = false }: InspectStyle): readonly string[] {
  const { name, config, kernel, verdict, note } = finding;
  const line = (text: string) => ` ${marks[verdict]} ${printable(name)}: ${printable(text)}`;
  const below = (label: string, text: string) => `     ${label}: ${printable(text)}`;
  const lines = verdict === "different"
    ? [line(`${config}`), below("kernel", kernel!)]
    : verdict === "unset"
    ? [line(kernel === undefined ? "not set" : `${kernel} (not in the config)`)]
    : [line([config, kernel].filter((text, at, all) => text !== undefined && text !== all[at - 1]).join(" -> "))];
  const all = note === undefined ? lines : [...lines, below("note", note)];
  const colour = isColoured ? colours[verdict] : undefined;
  return colour === undefined ? all : all.map((text) => `\x1b[${colour}m${text}\x1b[m`);
}

/**
 * The text without control characters: the container chooses names of mounts and of its label, and must not write to
 * the terminal of the one who looks (as in CVE-2021-25743).
 */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** The same as an object for JSON, which escapes control characters. */
export function inspectionObject(inspection: Inspection, style: InspectStyle): Readonly<Record<string, unknown>> {
  const { id, status, pid } = inspection;
  return { id, status, pid, differences: differences(inspection), findings: shownFindings(inspection, style) };
}

function shownFindings({ findings }: Inspection, { diffOnly }: InspectStyle): readonly InspectFinding[] {
  return findings.filter(({ verdict }) => !diffOnly || verdict === "different");
}

function differences({ findings }: Inspection): number {
  return findings.filter(({ verdict }) => verdict === "different").length;
}
