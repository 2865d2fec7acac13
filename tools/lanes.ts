/**
 * Which test files run side by side, and the loop that runs them. Pure: the caller runs a file.
 *
 * @module
 */

/** Files whose tests count what the machine does meanwhile. */
const alone: readonly RegExp[] = [/\/event_loop_test\.ts$/, /\/stress_test\.ts$/];

/** Files that take long. They start first, so that no lane is left with one at the end. */
const long: readonly RegExp[] = [
  /\/callers\//,
  /\/(install|release)_test\.ts$/,
  /\/snapshot_test\.ts$/,
  /\/mounts_test\.ts$/,
  /^tests\/fuzz\//,
];

/** The order in which files run: those that run side by side, and those that run afterwards, one at a time. */
export function ordered(
  files: readonly string[],
): { readonly together: readonly string[]; readonly alone: readonly string[] } {
  const matches = (file: string, patterns: readonly RegExp[]) => patterns.some((pattern) => pattern.test(file));
  const sorted = files.toSorted();
  const others = sorted.filter((file) => !matches(file, alone));
  return {
    together: [...others.filter((file) => matches(file, long)), ...others.filter((file) => !matches(file, long))],
    alone: sorted.filter((file) => matches(file, alone)),
  };
}

/** Runs `items`, at most `lanes` at a time, in their order. `run` returns whether it succeeded. Returns those that failed. */
export async function inLanes<Item>(
  items: readonly Item[],
  lanes: number,
  run: (item: Item) => Promise<boolean>,
): Promise<readonly Item[]> {
  const waiting = [...items];
  const failed: Item[] = [];
  const work = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      if (!await run(item)) failed.push(item);
    }
  };
  await Promise.all(Array.from({ length: lanes }, work));
  return failed;
}
