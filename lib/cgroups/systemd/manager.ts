/**
 * The drivers for `--systemd-cgroup`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { CgroupLayout } from "../layout.ts";
import { type CgroupManager, type CgroupOptions, UNIFIED_MOUNT, unifiedMountOf } from "../manager.ts";
import { cgroupPaths, type CgroupRequest, parseSystemdPath, type SystemdPath } from "../path.ts";
import { annotationProperties } from "./annotations.ts";
import { Systemd } from "./connection.ts";
import { systemdUnit, unitCgroup } from "./unit.ts";
import type { SystemdDriverOptions } from "./driver.ts";
import { SystemdV1 } from "./v1.ts";
import { SystemdV2 } from "./v2.ts";

/** What the drivers need beside what the others do. */
export interface SystemdOptions extends CgroupOptions {
  /** The caller's environment, which has the address of a user's bus. */
  readonly environment: Readonly<Record<string, string>>;
  readonly warn: (message: string) => void;
}

/** What config.json says of the container's unit beside `linux.cgroupsPath`. */
export interface UnitRequest extends CgroupRequest {
  readonly annotations: Readonly<Record<string, string>>;
  /** Who is to own the cgroup; host id. */
  readonly ownerUid?: number;
}

/**
 * The unit that a new container is to have. Makes nothing yet.
 *
 * @throws {RuncError} `config-invalid` for a path or an annotation that cannot be, `host-lacks` for what this host cannot do.
 */
export function createSystemdManager(
  layout: CgroupLayout,
  request: UnitRequest,
  options: SystemdOptions,
): CgroupManager {
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
  // An absolute path is cleaned: an odd name in it cannot lead out of the hierarchy.
  const paths = cgroupPaths(layout, {
    id: request.id,
    cgroupsPath: unitCgroup(unit, {
      managerCgroup: rootless ? systemd.controlGroupFor(unit.name) : "/",
      systemdVersion: () => systemd.versionFor(unit.name),
    }),
  });
  return managerFor(paths, settled);
}

/**
 * The unit of an existing container: its cgroups by controller, and what its config calls it. `below`: a cgroup below the unit's, absolute
 * from there, where `paths` are that one's.
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

/** v2 has one directory for all controllers. */
function managerFor(paths: Record<string, string>, options: SystemdDriverOptions): CgroupManager {
  const [only, ...others] = Object.entries(paths);
  if (only?.[0] === "" && others.length === 0) return new SystemdV2(only[1], options);
  return new SystemdV1(paths, options);
}

function connection({ kernel, rootless, environment, tracer }: SystemdOptions): Systemd {
  return new Systemd(kernel, rootless ? { kind: "user", environment } : { kind: "system" }, tracer);
}
