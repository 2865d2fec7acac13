/**
 * A turn of the event loop, without a time to wait.
 *
 * @module
 */

/** After what has become ready meanwhile: input, output, and timers. */
export function immediate(): Promise<void> {
  return new Promise((resolve) => void globalThis.setImmediate(resolve));
}
