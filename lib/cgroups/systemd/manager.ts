/**
 * The drivers for `--systemd-cgroup`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { CgroupLayout } from "../layout.ts";
import { type CgroupManager, type CgroupOptions, UNIFIED_MOUNT, unifiedMountOf } from "../manager.ts";
import { cgroupPaths, type CgroupRequest, parseSystemdPath, type SystemdPath } from "../path.ts";
import { annotationProperties } from "./annotations.ts";
import { Systemd } from "./connection.ts";
import { dependsOnVersion, systemdUnit, unitCgroup } from "./unit.ts";
import type { SystemdDriverOptions } from "./driver.ts";
import { SystemdV1 } from "./v1.ts";
import { SystemdV2 } from "./v2.ts";

/** The options of the systemd drivers, in addition to the others. */
export interface SystemdOptions extends CgroupOptions {
  /** The caller's environment, which has the address of the user's bus. */
  readonly environment: Readonly<Record<string, string>>;
  readonly warn: (message: string) => void;
}

/** What config.json requests for the container's unit, in addition to `linux.cgroupsPath`. */
export interface UnitRequest extends CgroupRequest {
  readonly annotations: Readonly<Record<string, string>>;
  /** The owner of the cgroup; a host id. */
  readonly ownerUid?: number;
}

/**
 * The unit of a new container. Creates nothing yet, but may have to ask systemd where its cgroup will be.
 *
 * @throws {RuncError} `config-invalid` for an impossible path or annotation, `host-lacks` if this host does not support
 * it.
 */
export function* createSystemdManager(
  layout: CgroupLayout,
  request: UnitRequest,
  options: SystemdOptions,
): Waits<CgroupManager> {
  const { rootless } = options;
  const isV2 = layout.mode === "v2";
  if (rootless && !isV2) {
    throw new RuncError("host-lacks", "cannot use rootless systemd cgroups manager on cgroup v1", {
      hint: "leave out --systemd-cgroup, or boot with unified cgroup v2",
    });
  }
  const systemd = connection(options);
  const properties = annotationProperties(request.annotations);
  const unit = systemdUnit(parseSystemdPath(request), rootless, properties);
  const settled: SystemdDriverOptions = {
    ...options,
    systemd,
    unit,
    unifiedMount: unifiedMountOf(layout),
    ownerUid: request.ownerUid,
    properties,
    explicitPath: true,
    loaded: false,
    refused: false,
  };
  // Making the path absolute cleans it, so that a name with `..` cannot leave the hierarchy.
  const paths = cgroupPaths(layout, {
    id: request.id,
    cgroupsPath: unitCgroup(unit, {
      managerCgroup: rootless ? yield* systemd.controlGroupFor(unit.name) : "/",
      systemdVersion: dependsOnVersion(unit) ? yield* systemd.versionFor(unit.name) : 0,
    }),
  });
  return managerFor(paths, settled);
}

/**
 * The unit of an existing container, from its cgroups by controller and its config. `below`: if `paths` are a cgroup
 * below the unit's, the path from the unit's cgroup to it, with a leading slash.
 */
export function loadSystemdManager(
  paths: Readonly<Record<string, string>>,
  path: SystemdPath,
  options: SystemdOptions & { readonly below?: string },
): CgroupManager {
  const unit = systemdUnit(path, options.rootless);
  const settled = { unifiedMount: UNIFIED_MOUNT, explicitPath: true, loaded: true, refused: false, properties: [] };
  return managerFor({ ...paths }, { ...options, ...settled, systemd: connection(options), unit });
}

/** Chooses the driver: v2 has one directory for all controllers. */
function managerFor(paths: Record<string, string>, options: SystemdDriverOptions): CgroupManager {
  const [only, ...others] = Object.entries(paths);
  if (only?.[0] === "" && others.length === 0) return new SystemdV2(only[1], options);
  return new SystemdV1(paths, options);
}

function connection({ kernel, rootless, environment, tracer }: SystemdOptions): Systemd {
  return new Systemd(kernel, rootless ? { kind: "user", environment } : { kind: "system" }, tracer);
}
