/**
 * config.json's text to a {@link Config}: every value checked against the table in schema.ts, every problem reported at once.
 *
 * As in runc, `null` is the same as absent and names of fields match in any case; the result has the specification's
 * spelling. Unlike runc, a field that the specification does not know is refused, unless the config says that it was written
 * for a later version: there it must be ignored.
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

/** How to read a text. */
export interface ParseOptions {
  /** What messages call the text; `config.json` where absent. */
  readonly file?: string;
  /** Version of the specification that the text follows. A config says so itself; for the others {@link OCI_VERSION}. */
  readonly ociVersion?: string;
  /** Receives what is ignored: fields of a later version of the specification. */
  readonly onWarning?: (warning: Problem) => void;
}

/**
 * Reads config.json. Fills in zero values of required fields and nothing else; whether the values make sense is not looked at.
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
 * Reads a `process` object alone, as `exec --process` gets it.
 *
 * @throws {RuncError} as {@link parseConfig}.
 */
export function parseProcess(text: string, options: ParseOptions = {}): Process {
  const file = options.file ?? "process.json";
  return readFile(processFields, parseJson(text, file) ?? {}, { ...options, file }) as Process;
}

/**
 * Reads a `linux.resources` object alone, as `update --resources` gets it.
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

/** Whether the specification's minor version is beyond ours, so that it may have fields that nobody here has heard of. */
function isLaterVersion(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [ourMajor = 0, ourMinor = 0] = OCI_VERSION.split(".").map(Number);
  return major > ourMajor || (major === ourMajor && minor > ourMinor);
}

/** Where problems go. Fields that are not in the table have a list of their own, which may be the same one. */
interface Report {
  readonly problems: Problem[];
  readonly unknown: Problem[];
}

/** `value` in the form that `rule` wants; undefined if it is not of that type, after a report. */
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
  // fromEntries defines what it adds, so that a key such as __proto__ is a key like any other.
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

/** The field that encoding/json would take `key` for. */
function foldedName(fields: FieldRules, key: string): string | undefined {
  const folded = key.toLowerCase();
  for (const name in fields) if (name.toLowerCase() === folded) return name;
  return undefined;
}

/** The one of `names` that is at most two typing errors (one in a short name) away. */
function similarName(names: readonly string[], key: string): string | undefined {
  const limit = key.length > 4 ? 2 : 1;
  const [best] = names
    .map((name) => ({ name, distance: editDistance(name.toLowerCase(), key.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((one, other) => one.distance - other.distance);
  return best?.name;
}

/** How many characters to insert, remove or replace (Levenshtein). */
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

/** A value in a message, cut to a readable length. */
function show(value: unknown): string {
  const text = typeof value === "bigint"
    ? String(value)
    : JSON.stringify(value, (_key, inner) => typeof inner === "bigint" ? String(inner) : inner);
  // 60: a value that fits into one line together with its pointer.
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
