/**
 * Signal names on the command line.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { signalNames } from "../../ffi/constants.ts";

/** Aliases, kept for compatibility. signal(7) */
const aliases: Readonly<Record<string, number>> = { SIGIOT: 6, SIGPOLL: 29, SIGCLD: 17 };

/**
 * Parses `9`, `KILL`, `SIGKILL` or `sigkill`. Any integer is accepted.
 *
 * @throws {RuncError} `usage`.
 */
export function parseSignal(text: string): number {
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  const upper = text.toUpperCase();
  const name = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  const number = aliases[name] ?? signalNames.indexOf(name);
  if (number <= 0) throw new RuncError("usage", `unknown signal ${JSON.stringify(text)}`);
  return number;
}
