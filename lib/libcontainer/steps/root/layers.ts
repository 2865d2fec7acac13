/**
 * A root made of read-only layers, with a tmpfs for all changes. Runs in: init.
 *
 * Both file systems are mounted in the container's own mount namespace. When its last process has ended, the kernel
 * removes them, and the changes with them: nobody has to clean up, and nothing appears in the host's mounts.
 *
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 * @module
 */

import { AT_FDCWD, MountFlag } from "../../../ffi/constants.ts";
import { RuncError } from "../../../errors.ts";
import { call, step } from "../../../plan/build.ts";
import type { Step } from "../../../plan/op.ts";
import type { RootLayers } from "../../config/launch_request.ts";

/** mount(2) takes one page. */
const OPTIONS_LIMIT = 4095;

/** A path as an option of overlayfs. */
const escaped = (path: string) => path.replace(/[\\:,]/g, "\\$&");

/**
 * The options of the overlay. The layers' names are relative: the working directory is theirs. `place`: the tmpfs.
 *
 * @throws {RuncError} `unsupported` if they are too long for the kernel.
 */
export function overlayOptions({ names, userXattrs }: RootLayers, place: string): string {
  const lower = names.toReversed().map(escaped).join(":");
  const options = [`lowerdir=${lower}`, `upperdir=${escaped(place)}/upper`, `workdir=${escaped(place)}/work`];
  const text = [...options, ...(userXattrs ? ["userxattr"] : [])].join(",");
  if (new TextEncoder().encode(text).length <= OPTIONS_LIMIT) return text;
  throw new RuncError("unsupported", `${names.length} layers are too many for an overlay`, {
    hint: "make an image with fewer layers",
  });
}

/** Mounts the layers on `rootfs`, a directory that is only their place. The mount namespace is the container's own. */
export function rootLayerSteps(layers: RootLayers | undefined, rootfs: string): readonly Step[] {
  if (layers === undefined) return [];
  // Nothing in an image is a device or gives rights, also before the process has no_new_privs.
  const flags = MountFlag.MS_NOSUID | MountFlag.MS_NODEV;
  return [
    step(`mount a tmpfs for changes on ${rootfs}`, "/root/path", [
      call("mount", ["tmpfs", rootfs, "tmpfs", flags, `mode=0755,size=${layers.maximumBytes}`]),
      call("mkdirat", [AT_FDCWD, `${rootfs}/upper`, 0o755]),
      call("mkdirat", [AT_FDCWD, `${rootfs}/work`, 0o700]),
    ]),
    step(`mount ${layers.names.length} layers of ${layers.directory} on ${rootfs}`, "/root/path", [
      // Names that are relative to it leave room for more layers. The working directory is the root's later.
      call("chdir", [layers.directory]),
      // Over the tmpfs: only the overlay reaches it from now on.
      call("mount", ["overlay", rootfs, "overlay", flags, overlayOptions(layers, rootfs)]),
    ]),
  ];
}
