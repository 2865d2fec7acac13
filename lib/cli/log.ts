/**
 * The log: records with a level, a message and fields, as text or JSON. The forms are those of logrus, because callers of the
 * runtime parse them.
 *
 * Errors carry their details (`code`, `field`, `step`, `call`, `errno`, `hint`) as fields.
 *
 * @see https://github.com/sirupsen/logrus/blob/v1.9.4/text_formatter.go
 * @module
 */

import type { RuncError } from "../errors.ts";
import type { StandardStream } from "../ffi/stdio.ts";
import type { Log } from "../libcontainer/runtime.ts";
import { goJson, goQuote, rfc3339 } from "./output/go_text.ts";
import { systemError } from "./system_error.ts";

/** How grave a record is. */
export type Level = "error" | "warning" | "info" | "debug";

/** What a record says besides its message. */
export type Fields = Readonly<Record<string, string | number>>;

/** Where in the program a record was made. */
export interface Place {
  readonly func: string;
  readonly file: string;
}

/** One line of the log. */
export interface LogRecord {
  readonly level: Level;
  readonly message: string;
  readonly time: Date;
  /** How much local time is ahead of UTC then. */
  readonly offsetMinutes: number;
  readonly fields: Fields;
  readonly place?: Place;
}

/** How records are written. */
export type LogFormat = "text" | "json";

/** Where records go. */
export interface LogTarget {
  readonly isStderr: boolean;
  readonly isTerminal: () => boolean;
  readonly write: (text: string) => void;
}

/** As logfmt: `time="..." level=error msg="..." key=value`. */
export function formatText({ level, message, time, offsetMinutes, fields, place }: LogRecord): string {
  const fixed: [string, string | number][] = [["time", rfc3339(time, offsetMinutes)], ["level", level]];
  if (message !== "") fixed.push(["msg", message]);
  if (place !== undefined) fixed.push(["func", place.func], ["file", place.file]);
  return [...fixed, ...sorted(fields)].map(([key, value]) => `${key}=${quoteIfNeeded(value)}`).join(" ") + "\n";
}

/** As one JSON object, with its keys sorted as Go sorts a map's. */
export function formatJson({ level, message, time, offsetMinutes, fields, place }: LogRecord): string {
  const all = { ...fields, ...place, level, msg: message, time: rfc3339(time, offsetMinutes) };
  return goJson(Object.fromEntries(sorted(all))) + "\n";
}

const colours: Readonly<Record<Level, number>> = { error: 31, warning: 33, info: 36, debug: 37 };

/** For a person at a terminal: `ERRO[0000] message  key=value` in colour, a hint on a line of its own. */
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

/** An error for somebody who sees standard error and not the log: the message, and a hint on a line of its own. */
export function formatPlain(error: RuncError): string {
  return `${error.message}\n${error.hint === undefined ? "" : `Hint: ${error.hint}\n`}`;
}

/** Writes records to one target in one form. */
export class Logger {
  readonly #target: LogTarget;
  readonly #format: LogFormat;
  readonly #debug: boolean;
  readonly #utcOffset: (date: Date) => number;
  readonly #start = Date.now();

  /**
   * `debug`: debug records are written too, and every record says where it was made. `utcOffset`: minutes by which local time is ahead of UTC at that
   * moment; JavaScript's are those of the zone that it found when it started.
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

  /** Whether a person or program that reads standard error sees the records. */
  get isStderr(): boolean {
    return this.#target.isStderr;
  }

  /** Whether debug records are written. */
  get isDebug(): boolean {
    return this.#debug;
  }

  /** Steps on the way, for whoever searches a fault. */
  debug(message: string, fields: Fields = {}): void {
    if (this.#debug) this.#write("debug", message, fields);
  }

  /** Something worth knowing. */
  info(message: string, fields: Fields = {}): void {
    this.#write("info", message, fields);
  }

  /** Something is not as it should be, and the work goes on. */
  warning(message: string, fields: Fields = {}): void {
    this.#write("warning", message, fields);
  }

  /** The work ends here. */
  error(message: string, fields: Fields = {}): void {
    this.#write("error", message, fields);
  }

  /** What the library is given to log by; a record's place is that of whoever calls it. */
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

/** Four lines of the stack are this file's own: the error, this function, `#write` and the method that was called. */
const STACK_DEPTH = 4;

function callerPlace(): Place | undefined {
  const line = new Error().stack?.split("\n")[STACK_DEPTH] ?? "";
  const [, name = "main", file, lineNumber] = /at (?:async )?(?:(\S+) \()?.*?([^\/]+):(\d+):\d+\)?$/.exec(line) ?? [];
  return file === undefined ? undefined : { func: `${name}()`, file: `${file}:${lineNumber}` };
}

/** Standard error as a target. Where writing fails there is nobody left to tell, so that is no error. */
export function stderrTarget(stderr: StandardStream): LogTarget {
  return { isStderr: true, isTerminal: () => stderr.isTerminal(), write: (text) => stderr.tryWrite(text) };
}

/**
 * A file as a target: appended to, and made where it is missing. A record that it does not take is told of on `stderr`: that a disk is full is no
 * reason for containers to fail.
 *
 * @throws {Deno.errors.NotFound} and others of open(2).
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

/** Writes all of `text`: one write may take less, to a pipe or a full disk. */
export function writeAll(file: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(file.writeSync(bytes));
}
