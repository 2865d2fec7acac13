/**
 * Leaves out of state.json what runc leaves out. Pure.
 *
 * @module
 */

/**
 * `object` without the fields that Go's omitempty omits: false, 0, "", empty lists and maps. `keep`: fields without
 * omitempty.
 */
export function omitEmpty<Type extends object>(object: Type, keep: readonly (keyof Type)[] = []): Type {
  const kept = Object.entries(object).filter(([key, value]) =>
    value !== undefined && (keep.includes(key as keyof Type) || !isEmpty(value))
  );
  return Object.fromEntries(kept) as Type;
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null ? Object.keys(value).length === 0 : !value;
}
