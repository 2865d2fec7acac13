/**
 * The places of a container's mounts before a restore: CRIU mounts, but does not make them. Runs in: parent.
 *
 * `create` made them, but the rootfs can be another copy by now, and so can the sources of bind mounts. runc mounts the
 * sources in the rootfs for a moment to make the places below them. Here a place below a bind mount is made in its
 * source, so nothing is mounted on the host.
 *
 * @module
 */

import { inContext } from "../../errors.ts";
import { openPath } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { makeTarget } from "../launch/make_target.ts";
import type { RuncMount, RuncState } from "../state/runc_state.ts";
import { rootfsOf } from "../state/runc_state.ts";
import { criuName, type MountFacts } from "./external.ts";

/** A mount whose place is needed. Paths in the container are resolved. */
export interface MountPoint {
  /** The path in the container. */
  readonly destination: string;
  /** The directory of the host in which it is made. */
  readonly base: string;
  /** The place below `base`. */
  readonly path: string;
  /** A bind mount's source, which may be a file; absent: a directory. */
  readonly source?: string;
}

/** Where CRIU puts the old root while it changes the root, if it is there. criu/mount.c, cr_pivot_root() */
const CRIU_PLACE = "/tmp";

/**
 * The places, in the order of the mounts. CRIU itself restores the content of tmpfs, and the cgroups' mounts.
 * Pure. @throws {RuncError} as {@link criuName} does, before anything is made.
 */
export function mountPoints(state: RuncState, { resolve }: Pick<MountFacts, "resolve">): readonly MountPoint[] {
  const mounts = (state.config.mounts ?? []).map((mount) => ({
    mount,
    destination: criuName(resolve(insideOf(state, mount))),
  }));
  const points: MountPoint[] = [];
  for (const { mount: { device, source }, destination } of mounts) {
    const isRestored = mounts.some((other) =>
      other.mount.device === "tmpfs" && isBelow(destination, other.destination)
    );
    if (device === "cgroup" || isRestored) continue;
    const around = points.findLast((point) => point.source !== undefined && isBelow(destination, point.destination));
    points.push({
      destination,
      ...(around === undefined
        ? { base: rootfsOf(state), path: destination }
        : { base: around.source!, path: destination.slice(around.destination.length) }),
      ...(device === "bind" ? { source } : {}),
    });
  }
  // Without it CRIU makes a directory in the root, to which it cannot write.
  const lacksPlace = state.config.readonlyfs && !points.some(({ destination }) => destination === CRIU_PLACE);
  return lacksPlace ? [...points, { destination: CRIU_PLACE, base: rootfsOf(state), path: CRIU_PLACE }] : points;
}

function insideOf(state: RuncState, { destination }: RuncMount): string {
  const rootfs = rootfsOf(state);
  return destination.startsWith(`${rootfs}/`) ? destination.slice(rootfs.length) : destination;
}

function isBelow(path: string, directory: string): boolean {
  return path.startsWith(`${directory}/`);
}

/** Makes the places that do not exist. `owner`: the host's ids of the container's root. @throws {RuncError} */
export function makeMountPoints(
  kernel: Kernel,
  points: readonly MountPoint[],
  owner: { readonly uid: number; readonly gid: number },
): void {
  for (const { destination, base, path, source } of points) {
    inContext(`create criu restore mountpoint for ${destination} mount`, () => {
      const isFile = source !== undefined && !Deno.statSync(source).isDirectory;
      using root = openPath(kernel, base);
      makeTarget(kernel, root, { path, isFile, ...owner });
    });
  }
}
