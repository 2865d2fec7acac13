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
export function misfit(rule: Rule | RequiredRule, value: unknown): string | undefined {
  if (typeof rule === "object" && "required" in rule) return misfitOfRequired(rule.required, value);
  if (value === undefined) return undefined;
  if (rule === "string") return typeof value === "string" ? undefined : "";
  if (rule === "boolean") return typeof value === "boolean" ? undefined : "";
  if (value === null) return undefined;
  if (rule === "foreign") return typeof value === "object" ? undefined : "";
  if (typeof rule === "string") return isInteger(rule, value) ? undefined : "";
  if ("list" in rule) return Array.isArray(value) ? misfitInList(rule.list, value) : "";
  if (typeof value !== "object" || Array.isArray(value)) return "";
  const object = value as Readonly<Record<string, unknown>>;
  return "map" in rule ? misfitInMap(rule.map, object) : misfitInObject(rule.fields, object);
}

// Every command on a container runs this over hundreds of values: a pointer is only made for a misfit, from its end.

function misfitOfRequired(rule: Rule, value: unknown): string | undefined {
  return value === undefined || value === null ? "" : misfit(rule, value);
}

function misfitInList(rule: Rule, values: readonly unknown[]): string | undefined {
  for (let index = 0; index < values.length; index++) {
    const found = misfitOfRequired(rule, values[index]);
    if (found !== undefined) return pointerToken(index) + found;
  }
  return undefined;
}

function misfitInMap(rule: Rule, values: Readonly<Record<string, unknown>>): string | undefined {
  for (const name of Object.keys(values)) {
    const found = misfitOfRequired(rule, values[name]);
    if (found !== undefined) return pointerToken(name) + found;
  }
  return undefined;
}

function misfitInObject(fields: FieldRules, values: Readonly<Record<string, unknown>>): string | undefined {
  for (const name in fields) {
    const found = misfit(fields[name]!, Object.hasOwn(values, name) ? values[name] : undefined);
    if (found !== undefined) return pointerToken(name) + found;
  }
  return undefined;
}
