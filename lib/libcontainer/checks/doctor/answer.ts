/**
 * The questions of `doctor` and their answers.
 *
 * @module
 */

import type { Config } from "../../../specs/config.ts";
import type { DoctorFacts } from "./facts.ts";

/**
 * - `ok`: it works.
 * - `limited`: it works in part.
 * - `off`: the host does not have it, and most containers do not need it.
 * - `missing`: the host does not have it, and containers need it; with a bundle: that container needs it.
 */
export type AnswerState = "ok" | "limited" | "off" | "missing";

/** The parts of the host that questions are about. */
export type Area = "program" | "kernel" | "cgroups" | "users" | "security" | "tools";

/** What a question finds. `off` becomes `missing` where it is needed. */
export interface Verdict {
  readonly state: Exclude<AnswerState, "missing">;
  /** One line without a final period. */
  readonly message: string;
  /** The command that changes it. */
  readonly fix?: string;
}

/** One question. */
export interface Question {
  /** Unique and stable: callers can branch on it. */
  readonly id: string;
  readonly area: Area;
  /** For the documents: what is asked, and how it is found out. */
  readonly asks: string;
  readonly how: string;
  /** Most containers need it: without a bundle, `off` is `missing`. */
  readonly isBasic?: (facts: DoctorFacts) => boolean;
  /** Whether a container needs it. */
  readonly neededBy: (config: Config, facts: DoctorFacts) => boolean;
  /** Judges the facts. Pure. */
  readonly judge: (facts: DoctorFacts) => Verdict;
}

/** An answer. */
export interface Answer {
  readonly id: string;
  readonly area: Area;
  readonly state: AnswerState;
  readonly message: string;
  readonly fix?: string;
}
