/**
 * A turn of the event loop, without a time to wait.
 *
 * @module
 */

/** After what has become ready meanwhile: input, output, and timers. */
export function immediate(): Promise<void> {
  // Programs with the types of browsers, such as those of Fresh, have no type for it.
  const { setImmediate } = globalThis as unknown as { setImmediate(callback: () => void): void };
  return new Promise((resolve) => setImmediate(resolve));
}
