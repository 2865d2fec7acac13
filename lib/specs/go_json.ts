/**
 * JSON in the format of Go's standard library, for output that callers compare. Pure.
 *
 * @module
 */

import { exactInteger } from "./json.ts";

/**
 * `value` in the format of encoding/json: the output of JSON.stringify with `<`, `>`, `&` and two line separators
 * escaped, and a bigint as a number. `indent` as in JSON.stringify. Keys keep their order.
 *
 * @see https://pkg.go.dev/encoding/json#HTMLEscape
 */
export function goJson(value: unknown, indent?: number | string): string {
  const escape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value, exactInteger, indent).replace(/[<>&\u2028\u2029]/g, escape);
}
