/**
 * The output of `inspect`. Pure.
 *
 * @module
 */

import { type InspectFinding, topics, type Verdict } from "../../libcontainer/inspect/finding.ts";
import type { Inspection } from "../../libcontainer/inspect/inspect.ts";
import { type Colour, type Paint, plain, visible } from "./colour.ts";

/** How an inspection is printed. */
export interface InspectStyle {
  /** Only findings with the verdict `different`. */
  readonly diffOnly: boolean;
  /** Colours, if it is for a terminal. */
  readonly paint?: Paint;
}

const colours: { readonly [Name in Verdict]?: Colour } = { different: "red", unknown: "yellow" };

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

function findingLines(finding: InspectFinding, { paint = plain }: InspectStyle): readonly string[] {
  const { name, config, kernel, verdict, note } = finding;
  // The container chooses names of mounts and its label: they must be no commands for the terminal (as in CVE-2021-25743).
  const line = (text: string) => ` ${marks[verdict]} ${visible(name)}: ${visible(text)}`;
  const below = (label: string, text: string) => `     ${label}: ${visible(text)}`;
  const lines = verdict === "different"
    ? [line(`${config}`), below("kernel", kernel!)]
    : verdict === "unset"
    ? [line(kernel === undefined ? "not set" : `${kernel} (not in the config)`)]
    : [line([config, kernel].filter((text, at, all) => text !== undefined && text !== all[at - 1]).join(" -> "))];
  const all = note === undefined ? lines : [...lines, below("note", note)];
  const colour = colours[verdict];
  return colour === undefined ? all : all.map((text) => paint(colour, text));
}

/** The same as JSON. Control characters that JSON allows in a text are escaped, too. */
export function inspectionJson(inspection: Inspection, style: InspectStyle): string {
  const { id, status, pid } = inspection;
  const object = { id, status, pid, differences: differences(inspection), findings: shownFindings(inspection, style) };
  const escape = (character: string) => `\\u00${character.charCodeAt(0).toString(16)}`;
  return JSON.stringify(object, null, 2).replace(/[\u007f-\u009f]/g, escape) + "\n";
}

function shownFindings({ findings }: Inspection, { diffOnly }: InspectStyle): readonly InspectFinding[] {
  return findings.filter(({ verdict }) => !diffOnly || verdict === "different");
}

function differences({ findings }: Inspection): number {
  return findings.filter(({ verdict }) => verdict === "different").length;
}
