/**
 * The part of `@std/assert` that this project's tests use.
 *
 * @see jsr:@std/assert
 * @module
 */

/** What every failed assertion throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** The type of a class, as `instanceof` accepts it. */
// deno-lint-ignore no-explicit-any -- the constructor's parameters do not matter; the real package spells it so too
type Constructor<T> = abstract new (...args: any[]) => T;

function fail(message: string, extra?: string): never {
  throw new AssertionError(extra === undefined ? message : `${message}: ${extra}`);
}

/** Fails unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Fails if `actual` is null or undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) fail(`Expected actual: "${actual}" to not be null or undefined`, msg);
}

/** Fails unless both are deeply equal: own enumerable properties, array elements, bytes, map and set entries, dates. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) fail(`Values are not equal${suffix(msg)}\n${difference(actual, expected)}`);
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) fail(`Expected actual: ${show(actual)} not to be: ${show(expected)}`, msg);
}

/** Fails unless both are the same value by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  if (!Object.is(actual, expected)) {
    fail(`Values are not strictly equal${suffix(msg)}\n${difference(actual, expected)}`);
  }
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) fail(`Expected actual: ${show(actual)} to contain: ${show(expected)}`, msg);
}

/** Fails unless `expected` matches `actual`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fail(`Expected actual: ${show(actual)} to match: ${expected}`, msg);
}

/** Fails unless `actual` is an instance of `expectedType`. */
export function assertInstanceOf<T>(actual: unknown, expectedType: Constructor<T>, msg?: string): asserts actual is T {
  if (actual instanceof expectedType) return;
  fail(`Expected object to be an instance of "${expectedType.name}" but was ${show(actual)}`, msg);
}

/** Fails unless `fn` throws. Returns the error, which must be an `ErrorClass` whose message includes `msgIncludes`. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  ErrorClass: Constructor<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(
  fn: () => unknown,
  errorClassOrMsg?: Constructor<Error> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const wanted = wantedError(errorClassOrMsg, msgIncludes, msg);
  try {
    fn();
  } catch (error) {
    return checkError(error, wanted);
  }
  return fail("Expected function to throw", wanted.msg);
}

/** Fails unless the promise of `fn` rejects. Resolves to the rejection's error. See {@link assertThrows}. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
export function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: Constructor<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  errorClassOrMsg?: Constructor<Error> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const wanted = wantedError(errorClassOrMsg, msgIncludes, msg);
  let returned: PromiseLike<unknown> | undefined;
  try {
    returned = fn();
    await returned;
  } catch (error) {
    // Throwing before returning a promise is a different mistake from rejecting.
    if (returned === undefined) fail("Function throws when expected to reject", wanted.msg);
    return checkError(error, wanted);
  }
  return fail("Expected function to reject", wanted.msg);
}

interface WantedError {
  readonly type?: Constructor<Error>;
  readonly includes?: string;
  readonly msg?: string;
}

function wantedError(first?: Constructor<Error> | string, includes?: string, msg?: string): WantedError {
  return typeof first === "string" ? { msg: first } : { type: first, includes, msg };
}

function checkError(error: unknown, { type, includes, msg }: WantedError): unknown {
  if (type === undefined) return error;
  if (!(error instanceof type)) fail(`Expected error to be instance of "${type.name}", but was ${show(error)}`, msg);
  if (includes !== undefined && !error.message.includes(includes)) {
    fail(`Expected error message to include ${show(includes)}, but got ${show(error.message)}`, msg);
  }
  return error;
}

/**
 * Deep equality as in {@link assertEquals}. A key whose value is undefined counts as a key. Cycles are followed once.
 */
function equal(left: unknown, right: unknown, seen: Map<unknown, unknown> = new Map()): boolean {
  if (Object.is(left, right) || left === right && typeof left === "number") return true;
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return false;
  if (Object.getPrototypeOf(left) !== Object.getPrototypeOf(right)) return samePlainShape(left, right, seen);
  if (seen.get(left) === right) return true;
  seen.set(left, right);
  if (left instanceof Date && right instanceof Date) return Object.is(left.getTime(), right.getTime());
  if (left instanceof RegExp || left instanceof URL) return String(left) === String(right);
  if (left instanceof Set && right instanceof Set) return equalSets(left, right, seen);
  if (left instanceof Map && right instanceof Map) return equalMaps(left, right, seen);
  return equalProperties(left, right, seen);
}

/** `Object.create(null)` and `{}` may be equal. Otherwise the prototypes must be the same. */
function samePlainShape(left: object, right: object, seen: Map<unknown, unknown>): boolean {
  const plain = [left, right].every((value) => [null, Object.prototype].includes(Object.getPrototypeOf(value)));
  return plain && equalProperties(left, right, seen);
}

function equalProperties(left: object, right: object, seen: Map<unknown, unknown>): boolean {
  if (ArrayBuffer.isView(left) && ArrayBuffer.isView(right) && left.byteLength !== right.byteLength) return false;
  if (left instanceof Error && right instanceof Error && left.message !== right.message) return false;
  const keys = Reflect.ownKeys(left).filter((key) => isEnumerable(left, key));
  const count = Reflect.ownKeys(right).filter((key) => isEnumerable(right, key)).length;
  return keys.length === count &&
    keys.every((key) => Object.hasOwn(right, key) && equal(Reflect.get(left, key), Reflect.get(right, key), seen));
}

function isEnumerable(value: object, key: string | symbol): boolean {
  return Object.prototype.propertyIsEnumerable.call(value, key);
}

function equalSets(left: Set<unknown>, right: Set<unknown>, seen: Map<unknown, unknown>): boolean {
  if (left.size !== right.size) return false;
  return [...left].every((value) => right.has(value) || [...right].some((other) => equal(value, other, seen)));
}

function equalMaps(left: Map<unknown, unknown>, right: Map<unknown, unknown>, seen: Map<unknown, unknown>): boolean {
  if (left.size !== right.size) return false;
  return [...left].every(([key, value]) =>
    [...right].some(([otherKey, other]) => equal(key, otherKey, seen) && equal(value, other, seen))
  );
}

function suffix(msg: string | undefined): string {
  return msg === undefined ? "" : `: ${msg}`;
}

function show(value: unknown): string {
  return Deno.inspect(value, {
    depth: Infinity,
    sorted: true,
    trailingComma: true,
    compact: false,
    iterableLimit: Infinity,
    strAbbreviateSize: Infinity,
  });
}

/** The lines of both values: `-` for lines only in `actual`, `+` for lines only in `expected`. */
function difference(actual: unknown, expected: unknown): string {
  return ["", "    [Diff] -Actual / +Expected", "", ...lineDifference(lines(actual), lines(expected)), ""].join("\n");
}

function lines(value: unknown): readonly string[] {
  return (typeof value === "string" && value.includes("\n") ? value : show(value)).split("\n");
}

/** Skips equal lines at both ends and compares the lines between. */
function lineDifference(left: readonly string[], right: readonly string[]): readonly string[] {
  let head = 0;
  while (head < left.length && head < right.length && left[head] === right[head]) head++;
  let tail = 0;
  while (tail < left.length - head && tail < right.length - head && left.at(-1 - tail) === right.at(-1 - tail)) tail++;
  return [
    ...left.slice(0, head).map(unchanged),
    ...middleDifference(left.slice(head, left.length - tail), right.slice(head, right.length - tail)),
    ...left.slice(left.length - tail).map(unchanged),
  ];
}

const unchanged = (line: string) => `    ${line}`;
const removed = (line: string) => `-   ${line}`;
const added = (line: string) => `+   ${line}`;

/** Compares by longest common subsequence of lines. */
function middleDifference(left: readonly string[], right: readonly string[]): readonly string[] {
  // The table is quadratic: 4 million cells take some 50 ms, and no message is worth more.
  if (left.length * right.length > 4_000_000) return [...left.map(removed), ...right.map(added)];
  const common = commonLengths(left, right);
  const result: string[] = [];
  let j = 0;
  for (const [i, line] of left.entries()) {
    while (j < right.length && line !== right[j] && common(i, j + 1) > common(i + 1, j)) {
      result.push(added(right[j++] ?? ""));
    }
    if (line === right[j]) j++, result.push(unchanged(line));
    else result.push(removed(line));
  }
  return [...result, ...right.slice(j).map(added)];
}

/** Returns a function of i and j: the length of the longest common subsequence of `left` from i and `right` from j. */
function commonLengths(left: readonly string[], right: readonly string[]): (i: number, j: number) => number {
  const width = right.length + 1;
  const table = new Uint32Array((left.length + 1) * width);
  const at = (i: number, j: number) => table[i * width + j] ?? 0;
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      table[i * width + j] = left[i] === right[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  return at;
}
