/**
 * A plan as a picture: a column for each actor, time downwards, an arrow where one actor goes on after another. Pure.
 *
 * @module
 */

import type { Actor, ExplainedStep } from "../../lib/libcontainer/plans/whole.ts";

const actors: readonly Actor[] = ["parent", "stage", "init", "monitor"];
const COLUMN = 330, BOX = 310, LINE = 15, GAP = 16, TOP = 48, LETTERS = 44;

/** Neighbours that do the same to different things are one line from this many on. */
const MANY = 4;

/** Consecutive steps of one actor. */
interface Box {
  readonly actor: Actor;
  readonly lines: readonly string[];
}

/** What a step does, without what it does it to: the first word, and the field without its index. */
const kindOf = ({ label, from }: ExplainedStep): string => `${label.split(" ")[0]} ${from.replace(/\/\d+.*$/, "")}`;

/** The labels, with many of a kind as one line. */
function folded(steps: readonly ExplainedStep[]): readonly string[] {
  const lines: string[] = [];
  for (let first = 0; first < steps.length;) {
    let end = first + 1;
    while (end < steps.length && kindOf(steps[end]!) === kindOf(steps[first]!)) end++;
    const labels = steps.slice(first, end).map(({ label }) => label);
    if (labels.length < MANY) lines.push(...labels);
    else lines.push(labels[0]!, `… and ${labels.length - 1} more like this`);
    first = end;
  }
  return lines;
}

function boxesOf(steps: readonly ExplainedStep[]): readonly Box[] {
  const groups: ExplainedStep[][] = [];
  for (const step of steps) {
    const last = groups.at(-1);
    if (last?.[0]?.actor === step.actor) last.push(step);
    else groups.push([step]);
  }
  return groups.map((group) => ({ actor: group[0]!.actor, lines: folded(group) }));
}

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const cut = (text: string): string => text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text;

const left = (actor: Actor): number => 10 + COLUMN * actors.indexOf(actor);

/** The picture as SVG. */
export function picture(steps: readonly ExplainedStep[], title: string): string {
  const parts: string[] = [];
  let y = TOP;
  let before: Box | undefined;
  for (const box of boxesOf(steps)) {
    const height = LINE * box.lines.length + 10;
    if (before !== undefined) parts.push(arrow(before.actor, box.actor, y));
    parts.push(`<rect class="${box.actor}" x="${left(box.actor)}" y="${y}" width="${BOX}" height="${height}" rx="4"/>`);
    box.lines.forEach((line, index) => {
      parts.push(`<text x="${left(box.actor) + 8}" y="${y + LINE * (index + 1) + 1}">${escaped(cut(line))}</text>`);
    });
    y += height + GAP;
    before = box;
  }
  const width = COLUMN * actors.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}">`,
    `<title>${escaped(title)}</title>`,
    "<style>text{font:11px monospace;fill:#222}.head{font:bold 15px sans-serif}rect{stroke:#555}",
    ".parent{fill:#e8f0fe}.stage{fill:#fef3e0}.init{fill:#e6f4ea}.monitor{fill:#f3e8fd}",
    "line{stroke:#ccc}path{stroke:#555;fill:none}</style>",
    `<rect x="0" y="0" width="${width}" height="${y}" style="fill:#fff;stroke:none"/>`,
    ...actors.flatMap((actor) => {
      const middle = left(actor) + BOX / 2;
      return [
        `<text class="head" x="${left(actor)}" y="28">${actor}</text>`,
        `<line x1="${middle}" y1="36" x2="${middle}" y2="${y}"/>`,
      ];
    }),
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** From the end of one box to the start of the next. */
function arrow(from: Actor, to: Actor, y: number): string {
  const [x1, x2] = [left(from) + BOX / 2, left(to) + BOX / 2];
  const [start, end] = [y - GAP, y];
  return `<path d="M${x1} ${start} V${start + 6} H${x2} V${end} m-4 -5 l4 5 l4 -5"/>`;
}
