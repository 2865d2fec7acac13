/**
 * Lists of CPUs or memory nodes as config.json writes them: `0-3,7`.
 *
 * @module
 */

/** Sets of more than 1024 members do not fit into glibc's and Go's `cpu_set_t`, sched_setaffinity(2). */
const LIMIT = 1024;

/**
 * The members of a list, in order. Spaces and empty elements are allowed.
 *
 * @throws {RangeError} Not a list; the message says why.
 */
export function parseCpuList(list: string): readonly number[] {
  const elements = list.split(",").map((element) => element.trim()).filter((element) => element !== "");
  if (elements.length === 0 && list !== "") throw new RangeError(`no members found in set ${JSON.stringify(list)}`);
  return [...new Set(elements.flatMap(members))].sort((one, other) => one - other);
}

/** What is wrong with a list; undefined if it is one. An empty text is an empty list. */
export function cpuListError(list: string): string | undefined {
  try {
    parseCpuList(list);
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

function members(element: string): readonly number[] {
  const [first = "", last = first] = element.split(/-(.*)/s, 2);
  const [start, end] = [parseMember(first), parseMember(last)];
  if (start > end) throw new RangeError(`invalid range: ${element}`);
  return Array.from({ length: end - start + 1 }, (_, index) => start + index);
}

function parseMember(text: string): number {
  if (!/^\d+$/.test(text)) throw new RangeError(`invalid number ${JSON.stringify(text)}`);
  if (Number(text) >= LIMIT) throw new RangeError(`values larger than ${LIMIT - 1} are not supported`);
  return Number(text);
}
