/**
 * Output that goes on until nobody reads it any more.
 *
 * @module
 */

import { RuncError } from "../errors.ts";

/** Runs `action`. Its end is also that of whoever reads standard output (`runc events web | head`), which is no error. */
export function untilReaderLeaves(action: () => void): void {
  try {
    action();
  } catch (error) {
    // SIGPIPE, by which other programs end here, is ignored.
    if (!(error instanceof RuncError) || error.errnoName !== "EPIPE") throw error;
  }
}
