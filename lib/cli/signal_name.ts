/**
 * Signals as the command line names them.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { signalNames } from "../ffi/constants.ts";

/** Names with two numbers' worth of history. signal(7) */
const aliases: Readonly<Record<string, number>> = { SIGIOT: 6, SIGPOLL: 29, SIGCLD: 17 };

/**
 * A signal's number from `9`, `KILL`, `SIGKILL` or `sigkill`. Any integer is taken as it is.
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
