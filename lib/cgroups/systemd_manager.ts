/**
 * The drivers for `--systemd-cgroup`. Loaded when a container needs them.
 *
 * @module
 */

import { resolve } from "@std/path";
import { RuncError } from "../errors.ts";
import type { CgroupLayout } from "./layout.ts";
import { type CgroupManager, type CgroupOptions, unifiedMountOf } from "./manager.ts";
import { type CgroupRequest, parseSystemdPath, type SystemdPath } from "./path.ts";
import { annotationProperties } from "./systemd_annotations.ts";
import { Systemd } from "./systemd_connection.ts";
import { type SystemdUnit, systemdUnit, unitCgroup } from "./systemd_unit.ts";
import { SystemdV2 } from "./systemd_v2.ts";

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
  requireV2(layout);
  const systemd = connection(options);
  const unit = systemdUnit(parseSystemdPath(request), rootless);
  const unifiedMount = unifiedMountOf(layout);
  // `resolve`: an odd name in the path must not lead out of the hierarchy.
  const cgroup = resolve("/", unitCgroup(unit, rootless ? systemd.controlGroup : "/"));
  return new SystemdV2(unifiedMount + cgroup, {
    ...options,
    systemd,
    unit,
    unifiedMount,
    ownerUid: request.ownerUid,
    properties: annotationProperties(request.annotations),
    explicitPath: true,
    loaded: false,
    refused: false,
  });
}

/** The unit of an existing container: its cgroup's `directory`, and what its config calls it. */
export function loadSystemdManager(directory: string, path: SystemdPath, options: SystemdOptions): CgroupManager {
  const unit: SystemdUnit = systemdUnit(path, options.rootless);
  const mount = "/sys/fs/cgroup";
  const settled = { unifiedMount: mount, explicitPath: true, loaded: true, refused: false, properties: [] };
  return new SystemdV2(directory, { ...options, ...settled, systemd: connection(options), unit });
}

function connection({ kernel, rootless, environment }: SystemdOptions): Systemd {
  return new Systemd(kernel, rootless ? { kind: "user", environment } : { kind: "system" });
}

function requireV2({ mode }: CgroupLayout): void {
  if (mode === "v2") return;
  throw new RuncError("unsupported", "this version manages cgroup v1 by its files only, not by systemd", {
    hint: "leave out --systemd-cgroup, and give an absolute linux.cgroupsPath",
  });
}
