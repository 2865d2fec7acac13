/**
 * What can be wrong with a config: one value a problem, and the one error that carries all of them.
 *
 * @module
 */

import { type ErrorCode, RuncError } from "../errors.ts";

/** One thing that is wrong in config.json. */
export interface Problem {
  /** JSON pointer (RFC 6901) of the field: `/linux/namespaces/2/type`. */
  readonly at: string;
  /** The field's value; undefined where it is absent. */
  readonly found?: unknown;
  /** What would be right, in words. */
  readonly wanted: string;
  /** One sentence without a final period, worded as runc's callers expect it. */
  readonly message: string;
  /** `config-invalid` where absent. */
  readonly code?: ErrorCode;
  /** What to do about it. */
  readonly hint?: string;
}

/**
 * The error for `problems` (at least one). It speaks of the first one, as runc does, and then names the others; code, field
 * and hint are the first one's.
 */
export function configError(problems: readonly Problem[]): RuncError {
  const [first, ...others] = problems;
  if (first === undefined) throw new TypeError("configError() needs a problem");
  const also = others.length === 0 ? "" : `; also: ${others.map(({ message }) => message).join("; ")}`;
  return new RuncError(first.code ?? "config-invalid", first.message + also, { field: first.at, hint: first.hint });
}

/** One more token of a JSON pointer. */
export function pointerToken(key: string | number): string {
  const text = String(key);
  const plain = !text.includes("~") && !text.includes("/");
  return plain ? `/${text}` : `/${text.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
