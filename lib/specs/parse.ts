/**
 * Parses config.json into a {@link Config}. Every value is checked against the table in schema.ts, and all problems are
 * reported at once.
 *
 * As in runc, `null` means absent, and field names match in any case; the result has the specification's spelling. The
 * parser ignores fields that the specification does not know, at any depth, the sections of other platforms, and what
 * follows the JSON value in the text. None of them is in the result; the caller receives their names.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#extensibility
 * @module
 */

import { RuncError } from "../errors.ts";
import type { Config, Process, Resources } from "./config.ts";
import { parseJson, upperLevels } from "./json.ts";
import { configError, pointerToken, type Problem } from "./problem.ts";
import { isInteger } from "./shape.ts";
import { configFields, type FieldRules, integerRanges, processFields, resourcesFields, type Rule } from "./schema.ts";
import { OCI_VERSION } from "./state.ts";

/** How to parse a text. */
export interface ParseOptions {
  /** The name of the text in messages; `config.json` if absent. */
  readonly file?: string;
  /** Receives what is ignored, if there is anything. */
  readonly onIgnored?: (ignored: readonly Problem[]) => void;
  /**
   * Receives the values of a wrong type or with a NUL, if there are any. Values of a wrong type become zero values.
   * Without this function they are an error.
   */
  readonly onProblems?: (problems: readonly Problem[]) => void;
}

/**
 * Parses config.json. Fills in zero values of required fields and nothing else. Does not check whether the values make
 * sense.
 *
 * @throws {RuncError} `config-invalid` for broken JSON (with line and column) and wrong types.
 */
export function parseConfig(text: string, options: ParseOptions = {}): Config {
  const config = readFile(configFields, text, { file: "config.json", ...options });
  if (config === undefined) throw new RuncError("config-invalid", "config cannot be null");
  return config as Config;
}

/**
 * Parses only a `process` object, for `exec --process`.
 *
 * @throws {RuncError} as {@link parseConfig}.
 */
export function parseProcess(text: string, options: ParseOptions = {}): Process {
  return (readFile(processFields, text, { file: "process.json", ...options }) ??
    zero({ fields: processFields })) as Process;
}

/**
 * Parses only a `linux.resources` object, for `update --resources`.
 *
 * @throws {RuncError} as {@link parseConfig}.
 */
export function parseResources(text: string, options: ParseOptions = {}): Resources {
  return readFile(resourcesFields, text, { file: "resources.json", ...options }) ?? {};
}

/** Undefined for null. */
function readFile(fields: FieldRules, text: string, options: ParseOptions & { readonly file: string }): unknown {
  const report: Report = { problems: [], ignored: [] };
  const { file } = options;
  const value = parseJson(text, file, (place) => {
    report.ignored.push({ at: "", wanted: "nothing", message: `${file}:${place}: what follows the JSON value` });
  });
  if (value === null) return undefined;
  const result = read({ fields }, value, "", report);
  const refuse = options.onProblems ?? ((problems) => {
    throw configError(problems).within(file);
  });
  if (report.problems.length > 0) refuse(report.problems);
  // Every string may end up in a system call, where a NUL would cut it. The text is asked first: it is hardly ever there.
  const withNul = text.includes("\\u0000") ? [...nulProblems(result, "")] : [];
  if (withNul.length > 0) refuse(withNul);
  if (report.ignored.length > 0) options.onIgnored?.(report.ignored);
  return result;
}

/** As deep as the table: nothing else is in what was read. */
function* nulProblems(value: unknown, at: string): Iterable<Problem> {
  if (typeof value === "string" && value.includes("\0")) {
    yield { at, found: value, wanted: "no NUL", message: `${show(value)} contains a NUL byte` };
  }
  if (typeof value !== "object" || value === null) return;
  for (const [key, item] of Object.entries(value)) {
    yield* nulProblems(key, at);
    yield* nulProblems(item, at + pointerToken(key));
  }
}

/** One line that names what is ignored. */
export function ignoredText(ignored: readonly Problem[]): string {
  // 20: a line of the log that can still be read.
  const named = ignored.slice(0, 20).map(({ at, message }) => at || message).join(", ");
  return `ignored: ${named}${ignored.length > 20 ? ` and ${ignored.length - 20} more` : ""}`;
}

/** Where problems go, and fields that are not in the table. */
interface Report {
  readonly problems: Problem[];
  readonly ignored: Problem[];
}

/** `value` converted by `rule`. If it has the wrong type, this is reported and the result is the zero value. */
function read(rule: Rule, value: unknown, at: string, report: Report): unknown {
  if (typeof rule !== "string") return readParts(rule, value, at, report);
  if (rule === "string") return typeof value === "string" ? value : refuse(rule, value, at, report, "a string");
  if (rule === "boolean") return typeof value === "boolean" ? value : refuse(rule, value, at, report, "true or false");
  if (rule === "foreign") {
    return isObject(value) ? ignoreForeign(at, value, report) : refuse(rule, value, at, report, "an object");
  }
  if (isInteger(rule, value)) return value;
  return refuse(rule, value, at, report, `a whole number from ${integerRanges[rule].join(" to ")}`);
}

function readParts(rule: Exclude<Rule, string>, value: unknown, at: string, report: Report): unknown {
  if ("list" in rule) {
    if (!Array.isArray(value)) return refuse(rule, value, at, report, "a list");
    return value.map((item, index) => read(rule.list, item, `${at}/${index}`, report));
  }
  if (!isObject(value)) return refuse(rule, value, at, report, "an object");
  return "fields" in rule ? readFields(rule.fields, value, at, report) : readMap(rule.map, value, at, report);
}

/** Reports a value of the wrong type. Returns what stands for it. */
function refuse(rule: Rule, value: unknown, at: string, report: Report, wanted: string): unknown {
  const message = `${at && `${at} `}must be ${wanted}, not ${show(value)}`;
  report.problems.push({ at, found: value, wanted, message });
  return rule === "foreign" ? undefined : zero(rule);
}

function readFields(fields: FieldRules, object: JsonObject, at: string, report: Report): unknown {
  const result: Record<string, unknown> = {};
  for (const key in object) {
    const value = object[key];
    const name = Object.hasOwn(fields, key) ? key : foldedName(fields, key);
    const rule = name === undefined ? undefined : fields[name];
    if (name === undefined || rule === undefined) reportUnknown(fields, key, value, at, report);
    else if (value !== null) {
      const wanted = typeof rule !== "string" && "required" in rule ? rule.required : rule;
      const kept = read(wanted, value, `${at}/${name}`, report);
      if (kept !== undefined) result[name] = kept;
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
  if (typeof rule === "string") return 0;
  if ("list" in rule) return [];
  return "map" in rule ? {} : readFields(rule.fields, {}, "", { problems: [], ignored: [] });
}

function ignoreForeign(at: string, value: unknown, { ignored }: Report): undefined {
  ignored.push({ at, found: value, wanted: "nothing", message: `${at} is for another platform` });
}

function reportUnknown(fields: FieldRules, key: string, value: unknown, at: string, report: Report): void {
  const field = at + pointerToken(key);
  report.ignored.push({
    at: field,
    found: value,
    wanted: `a field of runtime-spec ${OCI_VERSION}`,
    get message() {
      const similar = similarName(Object.keys(fields), key);
      return `${field} is not a field of runtime-spec ${OCI_VERSION}` +
        (similar === undefined ? "" : `, did you mean ${JSON.stringify(similar)}?`);
    },
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
    .filter((name) => Math.abs(name.length - key.length) <= limit)
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
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  // 60: a value that fits into one line together with its pointer. No more levels can be seen in it.
  const text = JSON.stringify(
    upperLevels(value, 60),
    (_key, inner) => typeof inner === "bigint" ? String(inner) : inner,
  );
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
