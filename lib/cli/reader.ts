/**
 * The end of whoever reads our results. Other programs end by SIGPIPE then, which Deno ignores.
 *
 * @module
 */

import { RuncError } from "../errors.ts";

/** What a shell says of a program that SIGPIPE has ended. */
export const READER_GONE = 128 + 13;

/** Whether `error` says that nobody reads standard output any more. */
export function isReaderGone(error: unknown): boolean {
  return error instanceof RuncError && error.errnoName === "EPIPE" && error.call === "write(1)";
}

/** Runs `action`. Its end is also that of whoever reads standard output (`runc events web | head`), which is no error. */
export function untilReaderLeaves(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isReaderGone(error)) throw error;
  }
}
