/**
 * The log: records with a level, a message and fields, as text or JSON. The formats are those of logrus, because
 * callers of the runtime parse them.
 *
 * Errors have their details (`code`, `field`, `step`, `call`, `errno`, `hint`) as fields.
 *
 * @see https://github.com/sirupsen/logrus/blob/v1.9.4/text_formatter.go
 * @module
 */

import type { RuncError } from "../errors.ts";
import type { StandardStream } from "../ffi/stdio.ts";
import type { Log } from "../libcontainer/runtime.ts";
import { goJson } from "../specs/go_json.ts";
import { goQuote, rfc3339 } from "./output/go_text.ts";
import { systemError } from "./system_error.ts";

/** A record's severity. */
export type Level = "error" | "warning" | "info" | "debug";

/** A record's details besides its message. */
export type Fields = Readonly<Record<string, string | number>>;

/** The place in the source where a record was made. */
export interface Place {
  readonly func: string;
  readonly file: string;
}

/** One line of the log. */
export interface LogRecord {
  readonly level: Level;
  readonly message: string;
  readonly time: Date;
  /** Offset of local time from UTC at that time. */
  readonly offsetMinutes: number;
  readonly fields: Fields;
  readonly place?: Place;
}

/** The format of records. */
export type LogFormat = "text" | "json";

/** Where records go. */
export interface LogTarget {
  readonly isStderr: boolean;
  readonly isTerminal: () => boolean;
  readonly write: (text: string) => void;
}

/** Formats a record as logfmt: `time="..." level=error msg="..." key=value`. */
export function formatText({ level, message, time, offsetMinutes, fields, place }: LogRecord): string {
  const fixed: [string, string | number][] = [["time", rfc3339(time, offsetMinutes)], ["level", level]];
  if (message !== "") fixed.push(["msg", message]);
  if (place !== undefined) fixed.push(["func", place.func], ["file", place.file]);
  return [...fixed, ...sorted(fields)].map(([key, value]) => `${key}=${quoteIfNeeded(value)}`).join(" ") + "\n";
}

/** Formats a record as one JSON object with sorted keys, as Go sorts a map's. */
export function formatJson({ level, message, time, offsetMinutes, fields, place }: LogRecord): string {
  const all = { ...fields, ...place, level, msg: message, time: rfc3339(time, offsetMinutes) };
  return goJson(Object.fromEntries(sorted(all))) + "\n";
}

const colours: Readonly<Record<Level, number>> = { error: 31, warning: 33, info: 36, debug: 37 };

/** Formats a record for a terminal: `ERRO[0000] message  key=value` in colour, with a hint on its own line. */
export function formatTerminal({ level, message, fields, place }: LogRecord, ageSeconds: number): string {
  const paint = (text: string) => `\x1b[${colours[level]}m${text}\x1b[0m`;
  const { hint, ...others } = fields;
  const caller = place === undefined ? "" : `${place.file} ${place.func}`;
  const age = String(Math.floor(ageSeconds)).padStart(4, "0");
  const tail = sorted(others).map(([key, value]) => ` ${paint(key)}=${quoteIfNeeded(value)}`).join("");
  const line = `${paint(level.toUpperCase().slice(0, 4))}[${age}]${caller} ${message.padEnd(44)} ${tail}\n`;
  return hint === undefined ? line : `${line}Hint: ${hint}\n`;
}

function sorted(fields: Fields): readonly [string, string | number][] {
  return Object.entries(fields).sort(([left], [right]) => left < right ? -1 : 1);
}

function quoteIfNeeded(value: string | number): string {
  const text = String(value);
  return /^[A-Za-z0-9\-._\/@^+]*$/.test(text) ? text : goQuote(text);
}

/** Formats an error for stderr when the log goes elsewhere: the message, and a hint on its own line. */
export function formatPlain(error: RuncError): string {
  return `${error.message}\n${error.hint === undefined ? "" : `Hint: ${error.hint}\n`}`;
}

/** Writes records to one target in one format. */
export class Logger {
  readonly #target: LogTarget;
  readonly #format: LogFormat;
  readonly #debug: boolean;
  readonly #utcOffset: (date: Date) => number;
  readonly #start = Date.now();

  /**
   * `debug`: debug records are written too, and every record has its place in the source. `utcOffset`: the offset of
   * local time from UTC in minutes at a given time. JavaScript's own offset is that of the time zone when Deno started.
   */
  constructor(
    target: LogTarget,
    options: { readonly format: LogFormat; readonly debug: boolean; readonly utcOffset?: (date: Date) => number },
  ) {
    this.#target = target;
    this.#utcOffset = options.utcOffset ?? ((date) => -date.getTimezoneOffset());
    this.#format = options.format;
    this.#debug = options.debug;
  }

  /** Whether the records go to stderr. */
  get isStderr(): boolean {
    return this.#target.isStderr;
  }

  /** Whether debug records are written. */
  get isDebug(): boolean {
    return this.#debug;
  }

  /** Logs a step, for debugging. */
  debug(message: string, fields: Fields = {}): void {
    if (this.#debug) this.#write("debug", message, fields);
  }

  /** Logs information. */
  info(message: string, fields: Fields = {}): void {
    this.#write("info", message, fields);
  }

  /** Logs a problem that does not stop the work. */
  warning(message: string, fields: Fields = {}): void {
    this.#write("warning", message, fields);
  }

  /** Logs an error that ends the work. */
  error(message: string, fields: Fields = {}): void {
    this.#write("error", message, fields);
  }

  /** The log function for the library. A record's place is that of the caller. */
  readonly listen: Log = (level, message) => {
    if (level !== "debug" || this.#debug) this.#write(level, message, {});
  };

  #write(level: Level, message: string, fields: Fields): void {
    const place = this.#debug ? callerPlace() : undefined;
    const time = new Date();
    this.#target.write(this.#text({ level, message, fields, place, time, offsetMinutes: this.#utcOffset(time) }));
  }

  #text(record: LogRecord): string {
    if (this.#format === "json") return formatJson(record);
    if (!this.#target.isTerminal()) return formatText(record);
    return formatTerminal(record, (record.time.getTime() - this.#start) / 1000);
  }
}

/** The first four lines of the stack belong to this file: the error, this function, `#write` and the called method. */
const STACK_DEPTH = 4;

function callerPlace(): Place | undefined {
  const line = new Error().stack?.split("\n")[STACK_DEPTH] ?? "";
  const [, name = "main", file, lineNumber] = /at (?:async )?(?:(\S+) \()?.*?([^\/]+):(\d+):\d+\)?$/.exec(line) ?? [];
  return file === undefined ? undefined : { func: `${name}()`, file: `${file}:${lineNumber}` };
}

/** Standard error as a target. A failed write is ignored: it cannot be reported anywhere. */
export function stderrTarget(stderr: StandardStream): LogTarget {
  return { isStderr: true, isTerminal: () => stderr.isTerminal(), write: (text) => stderr.tryWrite(text) };
}

/**
 * A file as a target. It is appended to, and created if missing. A failed write is reported on `stderr`: a full disk
 * should not make containers fail.
 *
 * @throws {Deno.errors.NotFound} and other errors of open(2).
 */
export function fileTarget(path: string, stderr: Pick<StandardStream, "tryWrite">): LogTarget {
  const file = Deno.openSync(path, { append: true, create: true, mode: 0o644 });
  const write = (text: string) => {
    try {
      writeAll(file, text);
    } catch (error) {
      stderr.tryWrite(`Failed to write to log, ${systemError(`write ${path}`, error).message}\n`);
    }
  };
  return { isStderr: false, isTerminal: () => file.isTerminal(), write };
}

/** Writes all of `text`. A single write may write less, for example to a pipe or a full disk. */
export function writeAll(file: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(file.writeSync(bytes));
}
