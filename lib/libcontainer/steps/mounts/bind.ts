/**
 * Bind mounts: a copy of a mount gets its options before it is visible. Runs in: init, before pivot_root.
 *
 * @module
 */

import { AT_FDCWD } from "../../../ffi/constants.ts";
import { buffer, call, fail, slot, step, when } from "../../../plan/build.ts";
import type { Op, Step } from "../../../plan/op.ts";
import type { Config } from "../../../specs/config.ts";
import { RuncError } from "../../../errors.ts";
import { Errno } from "../../../ffi/errno.ts";
import { ensureDirectory, ensureTarget, isFileOp, openInRoot } from "../root/in_root.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { BindMount, RemountMount } from "../../config/mounts.ts";
import { askHelperOps } from "./mount_sources.ts";
import { bindAttributes, propagation } from "./attributes.ts";
import { cloneMount, lookupOf, placeMount, source, target } from "./calls.ts";
import { needsHelp } from "./helped_mounts.ts";
import { mountMeaning, mountPrefix } from "./messages.ts";
import { placeOptions, procOnly, refuseTarget } from "./place.ts";

/** Refuses options that a bind mount would ignore, and options that exclude each other. */
export function refuseBindOptions({ mount, from, options: { data, extensions } }: BindMount | RemountMount): void {
  if (data !== "") {
    throw new RuncError(
      "config-invalid",
      `${mountPrefix(mount)}: bind mounts cannot have any filesystem-specific options applied (${data})`,
      { field: `${from}/options` },
    );
  }
  if (extensions.includes("copy-symlink") && extensions.some((name) => name.endsWith("-nofollow"))) {
    const message = `${mountPrefix(mount)}: copy-symlink goes with neither src-nofollow nor dest-nofollow`;
    throw new RuncError("config-invalid", message, { field: `${from}/options` });
  }
}

/** Copies the source, in the helper if init cannot, and moves the copy to its place. */
export function bindStep(parsed: BindMount, config: Config, facts: HostFacts): Step {
  const { source: path, recursive, destination, options, from } = parsed;
  const meaning = mountMeaning(parsed, options.flags, "");
  const take = needsHelp(parsed, config, facts.euid) ? askHelperOps(source) : [
    cloneMount(AT_FDCWD, path, recursive, { meaning }, lookupOf(options)),
  ];
  const mountOps: Op[] = [
    // The type of the target, if it must be made.
    isFileOp(source, slot("is file")),
    ...ensureTarget(destination, target, slot("is file"), placeOptions(parsed, facts)),
    ...(destination === "/proc" ? procOnly(parsed, source, facts.arch) : refuseTarget(parsed, facts)),
    ...bindAttributes(parsed, source),
    placeMount(target, { meaning }),
    call("close", [target]),
    ...propagation(parsed, source),
    call("close", [source]),
  ];
  const ops = options.extensions.includes("copy-symlink") ? unlessSymlink(parsed, mountOps, facts) : mountOps;
  return step(`bind ${path} on ${destination}`, from, [...take, ...ops]);
}

/**
 * crun's `copy-symlink`: if the source is a symlink, makes the same symlink instead of a mount. An existing file must
 * be a symlink of the same length. The plan cannot compare the texts of symlinks.
 */
function unlessSymlink(parsed: BindMount, otherwise: readonly Op[], facts: HostFacts): readonly Op[] {
  const { destination, index } = parsed;
  // The buffer is zeroed: a NUL ends the text.
  const text = buffer(`symlink of mount ${index}`, PATH_MAX + 1);
  const length = slot("length");
  const found = slot("length of what is there");
  const there = `${mountPrefix(parsed.mount)}: ${JSON.stringify(parsed.mount.destination)} is there already and is`;
  const isSame: readonly Op[] = [
    call("readlinkat", [
      target,
      destination.slice(destination.lastIndexOf("/") + 1),
      buffer("symlink", PATH_MAX),
      PATH_MAX,
    ], {
      out: found,
      meaning: { EINVAL: `${there} no symlink` },
    }),
    when(found, "!=", length, [fail(0, `${there} a symlink to somewhere else`)]),
  ];
  const end = destination.lastIndexOf("/");
  const place = { ...placeOptions(parsed, facts), noFollow: false };
  const copy: readonly Op[] = [
    ...(end === 0
      ? [openInRoot("/", target, { ...place, directory: true })]
      : ensureDirectory(destination.slice(0, end), target, place)),
    call("symlinkat", [text, target, destination.slice(end + 1)], {
      onError: [{ errnos: ["EEXIST"], ops: isSame }],
    }),
    call("close", [target]),
    call("close", [source]),
  ];
  return [
    // Reads the copy: the source may be another file now. ENOENT: not a symlink. readlink(2), "empty string"
    call("readlinkat", [source, "", text, PATH_MAX], { out: length, tolerate: ["ENOENT"] }),
    when(length, "==", -Errno.ENOENT, otherwise, copy),
  ];
}

/** limits.h */
const PATH_MAX = 4096;
