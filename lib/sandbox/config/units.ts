/**
 * Sizes and durations as options have them. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";

/** Bytes, or a text such as `"256MiB"`, `"1.5GB"`, `"64k"`. */
export type Size = number | string;

/** Milliseconds, or a text such as `"30s"`, `"1.5m"`, `"500ms"`. */
export type Duration = number | string;

/** The error for a value of an option. `name`: the option. */
export function badOption(name: string, value: unknown, wanted: string): RuncError {
  return new RuncError("usage", `${name}: ${shownValue(value)} is not ${wanted}`);
}

/** JSON has no NaN, no bigint, and no circles. */
function shownValue(value: unknown): string {
  if (typeof value === "number") return String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** A path, given as such or as a `file:` URL. @throws {TypeError} for anything else. */
export function pathText(path: string | URL): string {
  if (typeof path === "string") return path;
  if (path instanceof URL && path.protocol === "file:") return decodeURIComponent(path.pathname);
  throw new TypeError(`${path} is neither a path nor a file: URL`);
}

/** As IEC and SI have them. One letter alone is binary, as for Docker and systemd. */
const sizeUnits: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** The bytes of a size, rounded down. `name`: the option, for the error. @throws {RuncError} `usage` */
export function parseSize(name: string, size: Size): number {
  const bytes = typeof size === "number" ? size : Math.floor(scaled(size, sizeUnits) ?? NaN);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw badOption(name, size, 'a size above 0, such as "256MiB" or a number of bytes');
}

/** The milliseconds of a duration. `name`: the option, for the error. @throws {RuncError} `usage` */
export function parseDuration(name: string, duration: Duration): number {
  const ms = typeof duration === "number" ? duration : scaled(duration, durationUnits) ?? NaN;
  // Above 2^31 - 1, timers of JavaScript fire at once.
  if (Number.isFinite(ms) && ms > 0 && ms < 2 ** 31) return ms;
  throw badOption(name, duration, 'a duration above 0 and below 24 days, such as "30s" or a number of milliseconds');
}

/** A number with a unit; undefined if it is none. A duration needs a unit: a bare number in a text could mean any. */
function scaled(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit.toLowerCase()) ? units[unit.toLowerCase()] : undefined;
  return number === undefined || factor === undefined ? undefined : Number(number) * factor;
}

/** A variable of the environment. @throws {RuncError} `usage` */
export function checkVariable(name: string, value: string): void {
  if (name === "" || /[=\0]/.test(name) || value.includes("\0")) throw badOption("env", name, "a variable's name");
}
