/**
 * Whether a JSON value has the types of a table, for files that are read as they are. Pure.
 *
 * @module
 */

import { pointerToken } from "./problem.ts";
import { type FieldRules, integerRanges, type IntegerType, type RequiredRule, type Rule } from "./schema.ts";

/** Whether a value is a whole number in the range of `type`. */
export function isInteger(type: IntegerType, value: unknown): boolean {
  if (typeof value === "number" ? !Number.isSafeInteger(value) : typeof value !== "bigint") return false;
  const [minimum, maximum] = integerRanges[type];
  return (value as number) >= minimum && (value as number) <= maximum;
}

/**
 * The pointer to the first value of another type, or to a required one that is absent; undefined if there is none.
 *
 * Fields that the table does not have may be anything. `null` stands for an absent number, list, map or object, as Go
 * writes it; a list or map has none.
 */
export function misfit(rule: Rule | RequiredRule, value: unknown, at = ""): string | undefined {
  if (typeof rule === "object" && "required" in rule) {
    return value === undefined || value === null ? at : misfit(rule.required, value, at);
  }
  if (value === undefined) return undefined;
  if (rule === "string") return typeof value === "string" ? undefined : at;
  if (rule === "boolean") return typeof value === "boolean" ? undefined : at;
  if (value === null) return undefined;
  if (rule === "foreign") return typeof value === "object" ? undefined : at;
  if (typeof rule === "string") return isInteger(rule, value) ? undefined : at;
  if ("list" in rule) return Array.isArray(value) ? misfitIn(value.entries(), () => ({ required: rule.list }), at) : at;
  if (typeof value !== "object" || Array.isArray(value)) return at;
  if ("map" in rule) return misfitIn(Object.entries(value), () => ({ required: rule.map }), at);
  const object = value as Readonly<Record<string, unknown>>;
  const known = Object.keys(rule.fields).map((name) => [name, Object.hasOwn(object, name) ? object[name] : undefined]);
  return misfitIn(known as [string, unknown][], (name) => rule.fields[name]!, at);
}

function misfitIn<Key extends string | number>(
  entries: Iterable<[Key, unknown]>,
  ruleOf: (key: Key) => FieldRules[string],
  at: string,
): string | undefined {
  for (const [key, value] of entries) {
    const found = misfit(ruleOf(key), value, at + pointerToken(key));
    if (found !== undefined) return found;
  }
  return undefined;
}
