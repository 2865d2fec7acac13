/**
 * Handles a reader that closes our stdout. Other programs are killed by SIGPIPE then, but Deno ignores it.
 *
 * @module
 */

import { RuncError } from "../errors.ts";

/** A shell's status for a program killed by SIGPIPE. */
export const READER_GONE = 128 + 13;

/** Whether `error` means that the reader of stdout is gone. */
export function isReaderGone(error: unknown): boolean {
  return error instanceof RuncError && error.errnoName === "EPIPE" && error.call === "write(1)";
}

/** Runs `action`. It ends without an error when the reader of stdout goes away (`runc events web | head`). */
export function untilReaderLeaves(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isReaderGone(error)) throw error;
  }
}
