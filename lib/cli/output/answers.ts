/**
 * The output of `runc doctor`. Pure.
 *
 * @module
 */

import type { Answer, AnswerState, Area } from "../../libcontainer/checks/doctor/answer.ts";
import { type Colour, type Paint, visible } from "./colour.ts";

/** The word at the start of a line, and its colour. */
const words: Readonly<Record<AnswerState, readonly [word: string, colour: Colour]>> = {
  ok: ["ok", "green"],
  limited: ["limited", "yellow"],
  off: ["off", "yellow"],
  missing: ["MISSING", "red"],
};

const WIDTH = Math.max(...Object.values(words).map(([word]) => word.length));

/** The exit status: 1 if something is missing. */
export function doctorStatus(answers: readonly Answer[]): number {
  return answers.some(({ state }) => state === "missing") ? 1 : 0;
}

/** A heading for each area, a line for each answer, and below it the command that changes it. */
export function answersText(answers: readonly Answer[], paint: Paint): string {
  const areas: readonly Area[] = [...new Set(answers.map(({ area }) => area))];
  const sections = areas.map((area) => {
    const lines = answers.filter((answer) => answer.area === area).map((answer) => answerLines(answer, paint));
    return `${paint("bold", area)}\n${lines.join("")}`;
  });
  const missing = answers.filter(({ state }) => state === "missing").length;
  const sum = missing === 0 ? paint("green", "nothing is missing") : paint("red", `${missing} missing`);
  return `${sections.join("\n")}\n${sum}\n`;
}

function answerLines({ id, state, message, fix }: Answer, paint: Paint): string {
  const [word, colour] = words[state];
  const line = `  ${paint(colour, word.padEnd(WIDTH))}  ${visible(message)} ${paint("dim", `[${id}]`)}\n`;
  return fix === undefined ? line : `${line}  ${"".padEnd(WIDTH)}  fix: ${visible(fix)}\n`;
}

/** One JSON object. `bundle`: the one that the answers are for. */
export function answersJson(answers: readonly Answer[], bundle: string | undefined): string {
  return `${JSON.stringify({ bundle, missing: doctorStatus(answers) === 1, answers }, null, 2)}\n`;
}
