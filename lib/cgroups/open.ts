/**
 * The drivers of a container's cgroups that use the cgroup file system, for new and existing containers. Runs in:
 * parent.
 *
 * @module
 */

import { resolve } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import { leaveOutForbidden } from "./driver.ts";
import type { CgroupLayout } from "./layout.ts";
import { type CgroupManager, type CgroupOptions, UNIFIED_MOUNT, unifiedMountOf } from "./manager.ts";
import { cgroupPaths, type CgroupRequest } from "./path.ts";
import { CgroupV1 } from "./v1/fs.ts";
import { CgroupV2 } from "./v2/fs.ts";

/**
 * The cgroups of a new container. Creates nothing yet. `layout`: of this host.
 *
 * @throws {RuncError} as {@link cgroupPaths}.
 */
export function createCgroupManager(
  layout: CgroupLayout,
  request: CgroupRequest,
  options: CgroupOptions,
): CgroupManager {
  const explicitPath = (request.cgroupsPath ?? "") !== "";
  const unifiedMount = unifiedMountOf(layout);
  const Driver = layout.mode === "v2" ? CgroupV2 : CgroupV1;
  const paths = cgroupPaths(layout, request);
  const refused = options.rootless && !explicitPath && leaveOutForbidden(options.kernel, paths);
  return new Driver(paths, { ...options, explicitPath, unifiedMount, loaded: false, refused });
}

/**
 * The cgroups of an existing container. `paths`: `cgroup_paths` of its state.json, which runc may have written.
 *
 * @throws {RuncError} `cgroup-failed` for a path that is not absolute and clean.
 */
export function loadCgroupManager(paths: Readonly<Record<string, string>>, options: CgroupOptions): CgroupManager {
  for (const path of Object.values(paths)) {
    if (path !== resolve("/", path) || path === "/") {
      throw new RuncError("cgroup-failed", `invalid path: ${JSON.stringify(path)}`);
    }
  }
  const Driver = Object.keys(paths).every((controller) => controller === "") ? CgroupV2 : CgroupV1;
  return new Driver({ ...paths }, {
    ...options,
    explicitPath: false,
    unifiedMount: UNIFIED_MOUNT,
    loaded: true,
    refused: false,
  });
}
