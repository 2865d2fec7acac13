/**
 * A root made of read-only layers, with a tmpfs for all changes. Runs in: init.
 *
 * Both file systems are mounted in the container's own mount namespace. When its last process has ended, the kernel
 * removes them, and the changes with them: nobody has to clean up, and nothing appears in the host's mounts.
 *
 * mount(2) takes one page of options, which is room for some 60 layers with their digests as names. So the tmpfs has a
 * symlink with a short name for each layer, itself so short that it takes no memory of the tmpfs. fsconfig(2) with `lowerdir+` would do without, but only since Linux 6.5.
 *
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 * @module
 */

import { AT_FDCWD, MountFlag } from "../../../ffi/constants.ts";
import { RuncError } from "../../../errors.ts";
import { call, step } from "../../../plan/build.ts";
import type { Step } from "../../../plan/op.ts";
import type { RootLayers } from "../../config/launch_request.ts";

/** OVL_MAX_STACK, fs/overlayfs/params.h. Their symlinks' names have 1890 bytes. */
const MOST_LAYERS = 500;

/** Mounts the layers on `rootfs`, a directory that is only their place. The mount namespace is the container's own. */
export function rootLayerSteps(layers: RootLayers | undefined, rootfs: string): readonly Step[] {
  if (layers === undefined) return [];
  const { directory, names, maximumBytes, userXattrs } = layers;
  if (names.length > MOST_LAYERS) {
    throw new RuncError(
      "unsupported",
      `${names.length} layers are too many for an overlay: ${MOST_LAYERS} is the limit`,
      {
        hint: "make an image with fewer layers, for example with `buildah build --squash-all`",
      },
    );
  }
  // Nothing in an image is a device or gives rights, also before the process has no_new_privs.
  const flags = MountFlag.MS_NOSUID | MountFlag.MS_NODEV;
  const lower = names.map((_, index) => index).toReversed().join(":");
  const options = `lowerdir=${lower},upperdir=upper,workdir=work${userXattrs ? ",userxattr" : ""}`;
  return [
    step(`mount a tmpfs for changes on ${rootfs}`, "/root/path", [
      call("mount", ["tmpfs", rootfs, "tmpfs", flags, `mode=0755,size=${maximumBytes}`]),
      // The working directory is the root's later.
      call("chdir", [rootfs]),
      call("mkdirat", [AT_FDCWD, "upper", 0o755]),
      call("mkdirat", [AT_FDCWD, "work", 0o700]),
    ]),
    step(`mount ${names.length} layers of ${directory} on ${rootfs}`, "/root/path", [
      call("symlinkat", [directory, AT_FDCWD, "layers"]),
      ...names.map((name, index) => call("symlinkat", [`layers/${name}`, AT_FDCWD, `${index}`])),
      // Over the tmpfs: only the overlay reaches it from now on.
      call("mount", ["overlay", rootfs, "overlay", flags, options]),
    ]),
  ];
}
