/**
 * What few containers need is not loaded for the others: start-up time grows with every line that is.
 *
 * @module
 */

import type { RdtGroup } from "../../cgroups/rdt/group.ts";
import { hasLimits, type LimitCode } from "../../cgroups/limits/limited.ts";
import { RuncError } from "../../errors.ts";
import type { Config } from "../../specs/config.ts";
import { isBind, needsHelp } from "../steps/mounts/mounts.ts";
import { hasNetworkDevices } from "../steps/namespaces.ts";
import type { Runtime } from "../runtime.ts";

/** The parts that a config asks for; absent where it does not. */
export interface Parts {
  /** Opens sources of bind mounts with the host's rights. */
  readonly mountSources?: typeof import("../steps/mounts/mount_sources.ts");
  /** A tmpfs that begins with what it covers: init's part. */
  readonly copyUp?: typeof import("../steps/mounts/copy_up.ts");
  /** The parent's part. */
  readonly copyTree?: typeof import("../launch/copy_tree.ts");
  /** Moves linux.netDevices into the network namespace of a process. */
  readonly moveNetworkDevices?: (
    runtime: Runtime,
    devices: NonNullable<NonNullable<Config["linux"]>["netDevices"]>,
    pid: number,
  ) => void;
  /** Sets what linux.resources limits. */
  readonly limits?: LimitCode;
  /** linux.intelRdt. */
  readonly RdtGroup?: typeof RdtGroup;
}

/** Loads what `config` needs. */
export async function loadParts(config: Config): Promise<Parts> {
  const { mounts = [] } = config;
  // The sd_notify proxy's directory is a bind mount too, which the config does not tell of.
  const user = config.linux?.namespaces?.some(({ type }) => type === "user") ?? false;
  const { moveNetworkDevices } = hasNetworkDevices(config) ? await import("../launch/network_devices.ts") : {};
  const { RdtGroup } = config.linux?.intelRdt ? await import("../../cgroups/rdt/group.ts") : {};
  return {
    ...(user || mounts.some((mount) => isBind(mount) && needsHelp(mount, config, 0))
      ? { mountSources: await import("../steps/mounts/mount_sources.ts") }
      : {}),
    ...(mounts.some(({ options }) => options?.includes("tmpcopyup"))
      ? { copyUp: await import("../steps/mounts/copy_up.ts"), copyTree: await import("../launch/copy_tree.ts") }
      : {}),
    ...(hasLimits(config.linux?.resources) ? { limits: await import("../../cgroups/limits/limits.ts") } : {}),
    moveNetworkDevices,
    RdtGroup,
  };
}

/** A part that has been loaded. @throws {RuncError} `usage` where it has not. */
export function partOf<Name extends keyof Parts>(parts: Parts | undefined, name: Name): NonNullable<Parts[Name]> {
  const part = parts?.[name];
  if (part === undefined) {
    throw new RuncError("usage", `the config needs ${name}, which has not been loaded`, {
      hint: "give it the parts that loadParts() returns",
    });
  }
  return part;
}
