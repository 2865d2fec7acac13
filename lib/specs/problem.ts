/**
 * Problems in a config: one value per problem, and one error that reports all of them.
 *
 * @module
 */

import { type ErrorCode, RuncError } from "../errors.ts";

/** One problem in config.json. */
export interface Problem {
  /** JSON pointer (RFC 6901) of the field: `/linux/namespaces/2/type`. */
  readonly at: string;
  /** The field's value; undefined if it is absent. */
  readonly found?: unknown;
  /** What the field should be, in words. */
  readonly wanted: string;
  /** One sentence without a final period. Worded like runc's message if callers know it. */
  readonly message: string;
  /** `config-invalid` if absent. */
  readonly code?: ErrorCode;
  /** What the user can do about it. */
  readonly hint?: string;
}

/**
 * One error for `problems` (at least one). Its message begins with the first problem's, as in runc, then lists the
 * others. Code, field and hint are those of the first problem.
 */
export function configError(problems: readonly Problem[]): RuncError {
  const [first, ...others] = problems;
  if (first === undefined) throw new TypeError("configError() needs a problem");
  const also = others.length === 0 ? "" : `; also: ${others.map(({ message }) => message).join("; ")}`;
  return new RuncError(first.code ?? "config-invalid", first.message + also, { field: first.at, hint: first.hint });
}

/** Escapes one token of a JSON pointer. */
export function pointerToken(key: string | number): string {
  const text = String(key);
  const plain = !text.includes("~") && !text.includes("/");
  return plain ? `/${text}` : `/${text.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
