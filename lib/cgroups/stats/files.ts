/**
 * Parsers for the number formats of cgroup files. Parsing is pure. The readers take a directory and a name; a missing
 * file gives `undefined`.
 *
 * All counters are bigint: limits reach 2^64 - 1.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { readIfThere } from "../file.ts";

/** The number for "max": no limit. */
export const UNLIMITED: bigint = 2n ** 64n - 1n;

/**
 * Whether a limit in bytes is set. Not set are 0, {@link UNLIMITED} and v1's value: 2^63 rounded down to a page
 * boundary, for any page size.
 */
export function isLimit(bytes: bigint): boolean {
  return bytes > 0n && bytes < 2n ** 62n;
}

/**
 * Parses a number or `max`. Negative numbers, which some kernels show by mistake, become 0. @throws {RuncError} for
 * anything else.
 */
export function parseCount(text: string): bigint {
  const word = text.trim();
  if (word === "max") return UNLIMITED;
  if (!/^-?\d+$/.test(word)) throw new RuncError("cgroup-failed", `parsing ${JSON.stringify(word)}: invalid syntax`);
  const value = BigInt(word);
  return value < 0n ? 0n : value;
}

/** Parses lines of the form `key value`. */
export function parseKeyed(text: string): Record<string, bigint> {
  return Object.fromEntries(
    linesOf(text).map((line) => {
      const space = line.indexOf(" ");
      if (space <= 0) throw new RuncError("cgroup-failed", `line ${JSON.stringify(line)} is not in "key value" format`);
      return [line.slice(0, space), parseCount(line.slice(space + 1))];
    }),
  );
}

/** The non-empty lines of a file. */
export function linesOf(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** The kernel has at most 8192 processors and 1024 memory nodes: arch/x86/Kconfig, NR_CPUS and NODES_SHIFT. */
const LARGEST_ID = 65535;

/** The members of a list such as `0-2,5`. @throws {RuncError} for anything else. */
export function parseIdList(text: string): readonly number[] {
  return text.trim().split(",").filter((part) => part !== "").flatMap((part) => {
    const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    if (from === undefined || Number(to) < Number(from) || Number(to) > LARGEST_ID) {
      throw new RuncError("cgroup-failed", `parsing ${JSON.stringify(part)}: invalid list of numbers`);
    }
    return Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => Number(from) + index);
  });
}

/** The count in `directory`'s file `name`. @throws {RuncError} for any other content. */
export function readCount(directory: string, name: string): bigint | undefined {
  return readAs(directory, name, parseCount);
}

/** The `key value` lines in `directory`'s file `name`. @throws {RuncError} for any other content. */
export function readKeyed(directory: string, name: string): Record<string, bigint> | undefined {
  return readAs(directory, name, parseKeyed);
}

/** Reads `directory`'s file `name` and parses it. Errors of `parse` get the file's path. */
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
