/**
 * The forms in which cgroup files hold numbers. Parsing is pure; reading takes a directory and a name, and an absent file is
 * `undefined`.
 *
 * All counters are bigint: limits reach 2^64 - 1.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { readIfThere } from "../file.ts";

/** What stands for "max": no limit. */
export const UNLIMITED: bigint = 2n ** 64n - 1n;

/** Whether a limit of bytes is one. None is 0, {@link UNLIMITED}, or what cgroup v1 shows: 2^63 rounded down to pages, whatever their size. */
export function isLimit(bytes: bigint): boolean {
  return bytes > 0n && bytes < 2n ** 62n;
}

/** A number, or `max`. Negative ones, which some kernels show by mistake, are 0. @throws {RuncError} for anything else. */
export function parseCount(text: string): bigint {
  const word = text.trim();
  if (word === "max") return UNLIMITED;
  if (!/^-?\d+$/.test(word)) throw new RuncError("cgroup-failed", `parsing ${JSON.stringify(word)}: invalid syntax`);
  const value = BigInt(word);
  return value < 0n ? 0n : value;
}

/** Lines of `key value`. */
export function parseKeyed(text: string): Record<string, bigint> {
  return Object.fromEntries(
    linesOf(text).map((line) => {
      const space = line.indexOf(" ");
      if (space <= 0) throw new RuncError("cgroup-failed", `line ${JSON.stringify(line)} is not in "key value" format`);
      return [line.slice(0, space), parseCount(line.slice(space + 1))];
    }),
  );
}

/** The lines of a file, without empty ones. */
export function linesOf(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** A list such as `0-2,5`, as its members. */
export function parseIdList(text: string): readonly number[] {
  return text.trim().split(",").filter((part) => part !== "").flatMap((part) => {
    const [from = 0, to = from] = part.split("-").map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

/** The count in `directory`'s file `name`. @throws {RuncError} for content that is no count. */
export function readCount(directory: string, name: string): bigint | undefined {
  return readAs(directory, name, parseCount);
}

/** The lines of `key value` in `directory`'s file `name`. @throws {RuncError} for other content. */
export function readKeyed(directory: string, name: string): Record<string, bigint> | undefined {
  return readAs(directory, name, parseKeyed);
}

/** The content of `directory`'s file `name` after `parse`, whose errors get the file's path. */
export function readAs<Result>(
  directory: string,
  name: string,
  parse: (text: string) => Result,
): Result | undefined {
  const text = readIfThere(directory, name);
  if (text === undefined) return undefined;
  try {
    return parse(text);
  } catch (error) {
    throw error instanceof RuncError ? error.within(`unable to parse ${directory}/${name}`) : error;
  }
}
