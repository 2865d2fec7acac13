/**
 * Parses config.json into a {@link Config}. Every value is checked against the table in schema.ts, and all problems are
 * reported at once.
 *
 * As in runc, `null` means absent, and field names match in any case; the result has the specification's spelling.
 * Unlike runc, the parser refuses a field that the specification does not know, unless the config declares a later
 * version: the specification requires ignoring it then.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#extensibility
 * @module
 */

import { RuncError } from "../errors.ts";
import type { Config, Process, Resources } from "./config.ts";
import { parseJson } from "./json.ts";
import { configError, pointerToken, type Problem } from "./problem.ts";
import {
  configFields,
  type FieldRules,
  integerRanges,
  type IntegerType,
  processFields,
  resourcesFields,
  type Rule,
} from "./schema.ts";
import { OCI_VERSION } from "./state.ts";

/** How to parse a text. */
export interface ParseOptions {
  /** The name of the text in messages; `config.json` if absent. */
  readonly file?: string;
  /**
   * Version of the specification that the text follows. config.json contains it; for other texts the default is {@link
   * OCI_VERSION}.
   */
  readonly ociVersion?: string;
  /** Receives what is ignored: fields of a later version of the specification. */
  readonly onWarning?: (warning: Problem) => void;
}

/**
 * Parses config.json. Fills in zero values of required fields and nothing else. Does not check whether the values make
 * sense.
 *
 * @throws {RuncError} `config-invalid` for broken JSON (with line and column), wrong types and unknown fields.
 */
export function parseConfig(text: string, options: ParseOptions = {}): Config {
  const file = options.file ?? "config.json";
  const value = parseJson(text, file);
  if (value === null) throw new RuncError("config-invalid", "config cannot be null");
  return readFile(configFields, value, { ociVersion: versionOf(value), ...options, file }) as Config;
}

/**
 * Parses only a `process` object, for `exec --process`.
 *
 * @throws {RuncError} as {@link parseConfig}.
 */
export function parseProcess(text: string, options: ParseOptions = {}): Process {
  const file = options.file ?? "process.json";
  return readFile(processFields, parseJson(text, file) ?? {}, { ...options, file }) as Process;
}

/**
 * Parses only a `linux.resources` object, for `update --resources`.
 *
 * @throws {RuncError} as {@link parseConfig}.
 */
export function parseResources(text: string, options: ParseOptions = {}): Resources {
  const file = options.file ?? "resources.json";
  return readFile(resourcesFields, parseJson(text, file) ?? {}, { ...options, file }) as Resources;
}

function readFile(fields: FieldRules, value: unknown, options: ParseOptions & { readonly file: string }): unknown {
  const problems: Problem[] = [];
  const unknown: Problem[] = isLaterVersion(options.ociVersion ?? OCI_VERSION) ? [] : problems;
  const result = read({ fields }, value, "", { problems, unknown });
  if (problems.length > 0) throw configError(problems).within(options.file);
  if (unknown !== problems) unknown.forEach((warning) => options.onWarning?.(warning));
  return result;
}

function versionOf(value: unknown): string | undefined {
  const version = isObject(value) ? value.ociVersion : undefined;
  return typeof version === "string" ? version : undefined;
}

/** Whether the specification's minor version is later than ours, so that it may have fields that are unknown here. */
function isLaterVersion(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [ourMajor = 0, ourMinor = 0] = OCI_VERSION.split(".").map(Number);
  return major > ourMajor || (major === ourMajor && minor > ourMinor);
}

/** Collects problems. Fields that are not in the table go to `unknown`, which may be the same list. */
interface Report {
  readonly problems: Problem[];
  readonly unknown: Problem[];
}

/** `value` converted by `rule`. If it has the wrong type, this is reported and the result is undefined. */
function read(rule: Rule, value: unknown, at: string, report: Report): unknown {
  if (typeof rule !== "string") {
    if ("fields" in rule) return isObject(value) ? readFields(rule.fields, value, at, report) : refuse("an object");
    if ("map" in rule) return isObject(value) ? readMap(rule.map, value, at, report) : refuse("an object");
    if (!Array.isArray(value)) return refuse("a list");
    return value.map((item, index) => read(rule.list, item, `${at}/${index}`, report));
  }
  if (rule === "string") return typeof value === "string" ? value : refuse("a string");
  if (rule === "boolean") return typeof value === "boolean" ? value : refuse("true or false");
  if (rule === "opaque") return isObject(value) ? value : refuse("an object");
  return isInteger(rule, value) ? value : refuse(`a whole number from ${integerRanges[rule].join(" to ")}`);

  function refuse(wanted: string): undefined {
    report.problems.push({
      at,
      found: value,
      wanted,
      message: `${at && `${at} `}must be ${wanted}, not ${show(value)}`,
    });
  }
}

function readFields(fields: FieldRules, object: JsonObject, at: string, report: Report): unknown {
  const result: Record<string, unknown> = {};
  for (const key in object) {
    const value = object[key];
    const name = Object.hasOwn(fields, key) ? key : foldedName(fields, key);
    const rule = name === undefined ? undefined : fields[name];
    if (name === undefined || rule === undefined) reportUnknown(fields, key, value, at, report);
    else if (value !== null) {
      result[name] = read(
        typeof rule !== "string" && "required" in rule ? rule.required : rule,
        value,
        `${at}/${name}`,
        report,
      );
    }
  }
  for (const name in fields) {
    const rule = fields[name]!;
    if (typeof rule !== "string" && "required" in rule && result[name] === undefined) {
      result[name] = zero(rule.required);
    }
  }
  return result;
}

function readMap(rule: Rule, object: JsonObject, at: string, report: Report): unknown {
  // fromEntries defines its properties, so a key such as __proto__ is an ordinary key.
  return Object.fromEntries(
    Object.entries(object).map(([key, value]) => [key, read(rule, value, at + pointerToken(key), report)]),
  );
}

function zero(rule: Rule): unknown {
  if (rule === "string") return "";
  if (rule === "boolean") return false;
  if (rule === "opaque") return {};
  if (typeof rule === "string") return 0;
  if ("list" in rule) return [];
  return "map" in rule ? {} : readFields(rule.fields, {}, "", { problems: [], unknown: [] });
}

function isInteger(type: IntegerType, value: unknown): boolean {
  if (typeof value === "number" ? !Number.isSafeInteger(value) : typeof value !== "bigint") return false;
  const [minimum, maximum] = integerRanges[type];
  return (value as number) >= minimum && (value as number) <= maximum;
}

function reportUnknown(fields: FieldRules, key: string, value: unknown, at: string, report: Report): void {
  const similar = similarName(Object.keys(fields), key);
  const field = at + pointerToken(key);
  report.unknown.push({
    at: field,
    found: value,
    wanted: `a field of runtime-spec ${OCI_VERSION}`,
    message: `${field} is not a field of runtime-spec ${OCI_VERSION}` +
      (similar === undefined ? "" : `, did you mean ${JSON.stringify(similar)}?`),
  });
}

/** The field that Go's encoding/json would match with `key`: it ignores case. */
function foldedName(fields: FieldRules, key: string): string | undefined {
  const folded = key.toLowerCase();
  for (const name in fields) if (name.toLowerCase() === folded) return name;
  return undefined;
}

/** The name that differs from `key` by at most two typing errors, one if it is short. */
function similarName(names: readonly string[], key: string): string | undefined {
  const limit = key.length > 4 ? 2 : 1;
  const [best] = names
    .map((name) => ({ name, distance: editDistance(name.toLowerCase(), key.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((one, other) => one.distance - other.distance);
  return best?.name;
}

/** The number of characters to insert, remove or replace (Levenshtein distance). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let line = 1; line <= from.length; line++) {
    const above = row;
    row = [line];
    for (let column = 1; column <= to.length; column++) {
      const replaced = above[column - 1]! + (from[line - 1] === to[column - 1] ? 0 : 1);
      row.push(Math.min(replaced, above[column]! + 1, row[column - 1]! + 1));
    }
  }
  return row[to.length]!;
}

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value for a message, cut to a readable length. */
function show(value: unknown): string {
  const text = typeof value === "bigint"
    ? String(value)
    : JSON.stringify(value, (_key, inner) => typeof inner === "bigint" ? String(inner) : inner);
  // 60: such a value fits into one line together with its pointer.
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
