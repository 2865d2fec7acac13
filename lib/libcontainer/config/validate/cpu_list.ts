/**
 * Lists of CPUs or memory nodes in config.json: `0-3,7`.
 *
 * @module
 */

/** The largest number that runc accepts. Linux has at most 8,192 processors and 1,024 memory nodes. */
const LARGEST = 65536;

/**
 * The members of a list, in order. Spaces and empty elements are allowed.
 *
 * @throws {RangeError} if it is not a list, with the reason.
 */
export function parseCpuList(list: string): readonly number[] {
  const elements = list.split(",").map((element) => element.trim()).filter((element) => element !== "");
  if (elements.length === 0 && list !== "") throw new RangeError(`no members found in set ${JSON.stringify(list)}`);
  const members: number[] = [];
  let next = 0;
  for (const [first, last] of elements.map(rangeOf).sort(([one], [other]) => one - other)) {
    for (next = Math.max(next, first); next <= last; next++) members.push(next);
  }
  return members;
}

/** The error in a list; undefined if it is valid. An empty text is an empty list. */
export function cpuListError(list: string): string | undefined {
  try {
    parseCpuList(list);
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

function rangeOf(element: string): readonly [first: number, last: number] {
  const [first = "", last = first] = element.split(/-(.*)/s, 2);
  const [start, end] = [parseMember(first), parseMember(last)];
  if (start > end) throw new RangeError(`invalid range: ${element}`);
  return [start, end];
}

function parseMember(text: string): number {
  if (!/^\d+$/.test(text)) throw new RangeError(`invalid number ${JSON.stringify(text)}`);
  if (Number(text) > LARGEST) throw new RangeError(`values larger than ${LARGEST} are not supported`);
  return Number(text);
}
