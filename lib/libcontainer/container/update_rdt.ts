/**
 * Computes a container's new `linux.intelRdt` for `update`. Pure.
 *
 * @see runc 1.5.1, update.go
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { IntelRdt } from "../../specs/config.ts";

/** The changeable part of `linux.intelRdt`. An empty text means not given. */
export type RdtSchemas = Pick<IntelRdt, "l3CacheSchema" | "memBwSchema">;

/**
 * `stored`, overridden by `given`. `features`: the resctrl features of this host.
 *
 * @throws {RuncError} `host-lacks` for a feature that the host lacks, `unsupported` for a container that was created
 * without a group.
 */
export function updatedRdt(
  stored: IntelRdt | undefined,
  { l3CacheSchema = "", memBwSchema = "" }: RdtSchemas,
  features: { readonly cat: boolean; readonly mba: boolean },
): IntelRdt | undefined {
  if (l3CacheSchema !== "" && !features.cat) throw lacking("Intel RDT/CAT: l3 cache schema is not enabled");
  if (memBwSchema !== "" && !features.mba) throw lacking("Intel RDT/MBA: memory bandwidth schema is not enabled");
  const isGiven = l3CacheSchema !== "" || memBwSchema !== "";
  if (isGiven && stored === undefined) {
    throw new RuncError("unsupported", "updating a non-existent Intel RDT configuration is not supported");
  }
  return stored && {
    ...stored,
    ...(l3CacheSchema === "" ? {} : { l3CacheSchema }),
    ...(memBwSchema === "" ? {} : { memBwSchema }),
  };
}

function lacking(message: string): RuncError {
  return new RuncError("host-lacks", message, { hint: "mount resctrl, if the processor and the kernel support it" });
}
