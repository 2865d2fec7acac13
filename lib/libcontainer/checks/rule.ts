/**
 * One rule of `check`: what it finds, why that matters and what to do. docs/checks.md is made from the rules.
 *
 * @module
 */

import type { Config } from "../../specs/config.ts";
import type { Problem } from "../../specs/problem.ts";
import type { ParsedMount } from "../config/mounts.ts";
import type { CheckFacts } from "./facts.ts";

/**
 * - `problem`: the container cannot be created, or the config violates the specification.
 * - `warning`: the container works, but the setting is risky, ignored or probably a mistake.
 */
export type Severity = "problem" | "warning";

/**
 * What a rule compares the config with:
 *
 * - `schema`: the types of the specification's fields.
 * - `spec`: what the specification requires beyond types, and what the kernel rejects on every host.
 * - `host`: what this host has.
 * - `risk`: what keeps the container from reaching the host.
 */
export type Subject = "schema" | "spec" | "host" | "risk";

/** What the documents say about a rule. Each text is a phrase without a final period. */
export interface RuleText {
  readonly severity: Severity;
  /** What the rule finds, as a noun phrase. */
  readonly finds: string;
  /** The consequence. */
  readonly why: string;
  /** What to do, unless the found problem has a hint of its own. */
  readonly fix: string;
}

/** Yields the problems of one kind. Pure. */
export type Find = (config: Config, facts: CheckFacts, mounts: readonly ParsedMount[]) => Iterable<Problem>;

/** One rule. */
export interface CheckRule extends RuleText {
  /** Unique and stable: callers can branch on it. */
  readonly id: string;
  /** The field of config.json, with dots. The rule runs only if the config has it; an empty one always runs. */
  readonly field: string;
  /** Looks for the problems. */
  readonly find: Find;
}

/** One problem or warning, with everything that a user needs to act on it. */
export interface Finding {
  /** The id of the rule. */
  readonly rule: string;
  /** `problem` or `warning`. */
  readonly severity: Severity;
  /** What the config was compared with. */
  readonly subject: Subject;
  /** JSON pointer into config.json (RFC 6901); empty for the whole file. */
  readonly pointer: string;
  /** The field's value; absent if the field is. */
  readonly found?: unknown;
  /** What the field should be. */
  readonly wanted: string;
  /** One sentence without a final period. */
  readonly message: string;
  /** The consequence. */
  readonly why: string;
  /** What to do. */
  readonly fix: string;
}
