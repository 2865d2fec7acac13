/**
 * How much of a room's lines the unit tests run. Pure.
 *
 * @module
 */

/**
 * The rooms that are measured: those that act on the host, where a test would be easy to leave out. A folder in a room
 * is another room.
 */
export const measuredRooms: readonly string[] = ["lib/libcontainer/launch", "lib/libcontainer/container"];

/** At least this much of the lines of each room, in percent. */
export const LEAST_PERCENT = 85;

/** The lines of one file that have code. */
export interface Covered {
  /** Relative to the project. */
  readonly path: string;
  readonly lines: number;
  readonly hit: number;
}

/** What is known of one room. */
export interface RoomCoverage {
  readonly room: string;
  readonly percent: number;
  /** Files that no unit test loads. Their lines are not known. */
  readonly missing: readonly string[];
}

/**
 * The files in an LCOV report, as `deno coverage --lcov` writes it: `SF` is the path, `LF` and `LH` are the numbers of
 * lines and of those that were run. @see geninfo(1) `root`: the project's directory.
 */
export function parseLcov(text: string, root: string): readonly Covered[] {
  return text.split("end_of_record").filter((record) => record.includes("SF:")).map((record) => {
    const field = (name: string) => new RegExp(`^${name}:(.*)$`, "m").exec(record)?.[1] ?? "";
    return { path: field("SF").replace(`${root}/`, ""), lines: Number(field("LF")), hit: Number(field("LH")) };
  });
}

/** Sums up the rooms. `files`: all files of the project, relative to it. */
export function coverageOf(
  rooms: readonly string[],
  { covered, files }: { readonly covered: readonly Covered[]; readonly files: readonly string[] },
): readonly RoomCoverage[] {
  return rooms.map((room) => {
    const isInside = (path: string) => path.startsWith(`${room}/`) && !path.slice(room.length + 1).includes("/");
    const inside = covered.filter(({ path }) => isInside(path));
    const sum = (of: (file: Covered) => number) => inside.reduce((total, file) => total + of(file), 0);
    const lines = sum((file) => file.lines);
    return {
      room,
      percent: lines === 0 ? 0 : 100 * sum((file) => file.hit) / lines,
      missing: files.filter((path) => isInside(path) && !inside.some((file) => file.path === path)),
    };
  });
}

/** What is wrong, a sentence each. Empty is right. */
export function coverageProblems(rooms: readonly RoomCoverage[], leastPercent = LEAST_PERCENT): readonly string[] {
  return rooms.flatMap(({ room, percent, missing }) => [
    ...(percent < leastPercent
      ? [`unit tests run ${percent.toFixed(1)} % of the lines in ${room}; at least ${leastPercent} % are required`]
      : []),
    ...missing.map((path) => `no unit test loads ${path}`),
  ]);
}
