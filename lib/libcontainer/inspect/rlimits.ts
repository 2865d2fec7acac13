/**
 * Compares resource limits. Pure.
 *
 * @see getrlimit(2)
 * @module
 */

import { rlimitNames } from "../../ffi/constants.ts";
import type { Integer64, Rlimit } from "../../specs/config.ts";
import { compare, type InspectFinding, withoutConfig } from "./finding.ts";
import type { KernelView } from "./kernel_view.ts";

const INFINITY = 2n ** 64n - 1n;

/** `rlimits`: process.rlimits of config.json, which state.json does not keep; undefined if the file cannot be read. */
export function rlimitFindings(rlimits: readonly Rlimit[] | undefined, view: KernelView): readonly InspectFinding[] {
  return rlimitNames.flatMap((name) => {
    const kernel = view.process?.limits?.[name];
    if (rlimits === undefined) return kernel === undefined ? [] : [withoutConfig({ topic: "rlimits", name, kernel })];
    const index = rlimits.findLastIndex(({ type }) => type === name);
    if (index < 0 && kernel === undefined) return [];
    const limit = rlimits[index];
    return [compare({
      topic: "rlimits",
      name,
      field: limit && `/process/rlimits/${index}`,
      config: limit && `${limitText(limit.soft)} ${limitText(limit.hard)}`,
      kernel,
    })];
  });
}

function limitText(value: Integer64): string {
  return BigInt.asUintN(64, BigInt(value)) === INFINITY ? "unlimited" : String(value);
}
