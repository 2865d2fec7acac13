/**
 * Bind mounts that need the helper of ./mount_sources.ts: with other ids, and all of root's in a user namespace. Pure.
 *
 * @module
 */

import type { CallOp } from "../../../plan/op.ts";
import type { Config } from "../../../specs/config.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { BindMount, MountIds, ParsedMount } from "../../config/mounts.ts";
import { hasNamespace } from "../../config/namespaces.ts";
import { lookupOf } from "./calls.ts";
import { mountMeaning, mountPrefix } from "./messages.ts";

/** A bind mount whose source the helper opens. */
export interface HelpedMount {
  /** JSON pointer of the mount. */
  readonly from: string;
  /** Absolute, in init's mount namespace. */
  readonly path: string;
  /** With the mounts below. */
  readonly recursive: boolean;
  /** AT_SYMLINK_NOFOLLOW, or 0. */
  readonly lookup: number;
  readonly ids?: MountIds;
  /** Texts of errors when the source cannot be opened. */
  readonly meaning: CallOp["meaning"];
  /** Begins the text of any other error: `error mounting … to rootfs at …`. */
  readonly prefix: string;
}

/** Whether the helper takes this bind mount's source. Without root it has no more rights than init. */
export function needsHelp({ ids }: BindMount, config: Config, euid: number): boolean {
  return ids !== undefined || (euid === 0 && hasNamespace(config, "user"));
}

/** The bind mounts whose sources init cannot take by itself, in the config's order. */
export function helpedMounts(
  mounts: readonly ParsedMount[],
  config: Config,
  facts: HostFacts,
): readonly HelpedMount[] {
  return mounts.flatMap((parsed) => {
    if (parsed.kind !== "bind" || !needsHelp(parsed, config, facts.euid)) return [];
    const { from, source, recursive, options, ids, mount } = parsed;
    return [{
      from,
      path: source,
      recursive,
      lookup: lookupOf(options),
      ids,
      meaning: mountMeaning(parsed, options.flags, ""),
      prefix: mountPrefix(mount),
    }];
  });
}
