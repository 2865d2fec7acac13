/**
 * The hidden option by which the runtime knows its auditor.
 *
 * @module
 */

/** The value of the hidden option: the socket to the auditor, and the process whose command line it is. */
export function parseAuditor(text: string): { readonly fd: number; readonly called: number } {
  const [fd = NaN, called = NaN] = text.split(",").map(Number);
  return { fd, called };
}
