/**
 * Output that goes on until nobody reads it any more.
 *
 * @module
 */

/** Runs `action`. Its end is also that of whoever reads standard output (`runc events web | head`), which is no error. */
export async function untilReaderLeaves(action: () => void | Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    // Deno ignores SIGPIPE, by which other programs end here.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
