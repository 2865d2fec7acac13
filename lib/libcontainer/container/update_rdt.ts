/**
 * What `update` makes of a container's `linux.intelRdt`. Pure.
 *
 * @see runc 1.5.1, update.go
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { IntelRdt } from "../../specs/config.ts";

/** The part of `linux.intelRdt` that can be changed. An empty text is not given. */
export type RdtSchemas = Pick<IntelRdt, "l3CacheSchema" | "memBwSchema">;

/**
 * `stored` with `given` in its place. `features`: what this host can limit.
 *
 * @throws {RuncError} `host-lacks` for what the host cannot limit, `unsupported` for a container that was created without a group.
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
  return new RuncError("host-lacks", message, { hint: "mount resctrl, where the processor and the kernel have it" });
}
