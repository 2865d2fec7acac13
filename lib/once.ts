/**
 * Values that are made when they are needed for the first time. Pure.
 *
 * @module
 */

/** `make`, which is called at most once. */
export function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => (made ??= { value: make() }).value;
}
