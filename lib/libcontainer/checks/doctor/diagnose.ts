/**
 * Answers the questions of `doctor`. Pure.
 *
 * @module
 */

import type { Config } from "../../../specs/config.ts";
import type { Answer, Question } from "./answer.ts";
import { cgroupQuestions } from "./cgroups.ts";
import type { DoctorFacts } from "./facts.ts";
import { kernelQuestions, programQuestions } from "./kernel.ts";
import { securityQuestions, toolQuestions, userQuestions } from "./security.ts";

/** All questions, in the order of the output. */
export const questions: readonly Question[] = [
  ...programQuestions,
  ...kernelQuestions,
  ...cgroupQuestions,
  ...userQuestions,
  ...securityQuestions,
  ...toolQuestions,
];

/** The answers. With a config, only those to questions about what it needs. */
export function diagnose(facts: DoctorFacts, config?: Config): readonly Answer[] {
  const asked = questions.filter(({ neededBy }) => config === undefined || neededBy(config, facts));
  return asked.map(({ id, area, isBasic, judge }) => {
    const { state, message, fix } = judge(facts);
    const isMissing = state === "off" && (config !== undefined || isBasic?.(facts) === true);
    return { id, area, state: isMissing ? "missing" : state, message, ...(fix === undefined ? {} : { fix }) };
  });
}
