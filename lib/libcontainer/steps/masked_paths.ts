/**
 * Paths that the container may not read or not write. Runs in: init, after pivot_root.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, MountAttr, MountFlag, MoveMount, openFlag, OpenTree } from "../../ffi/constants.ts";
import { call, slot, step, struct, when } from "../../plan/build.ts";
import type { Op, Slot, Step } from "../../plan/op.ts";
import type { Config } from "../../specs/config.ts";
import { openNullOps } from "./devices.ts";
import { cleanPath, isFileOp } from "./root/in_root.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { withContext } from "../config/mount_options.ts";
import { newMountOps } from "./mounts/new_mount.ts";
import { lacksMountCalls, mountOn } from "./mounts/old_mounts.ts";

const target = slot("target");
const copy = slot("copy");
/** Descriptor of the masking tmpfs. */
const mask = slot("mask");
/** Whether it is already mounted on some directory. */
const used = slot("mask is used");

function place(fd: Slot): Op {
  const flags = MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH;
  return call("move_mount", [fd, "", target, "", flags]);
}

function placeCopyOf(fd: Slot): readonly Op[] {
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | OpenTree.AT_EMPTY_PATH;
  return [call("open_tree", [fd, "", flags], { out: copy }), place(copy), call("close", [copy])];
}

/**
 * An empty read-only tmpfs that is not mounted yet. It is used by its descriptor from the start: looked up by the name
 * of a masked directory, it could be another mount by then, which all further directories would show (similar to
 * CVE-2025-31133).
 */
function makeMaskOps(label: string | undefined): readonly Op[] {
  const options = [["source", "tmpfs"], ["nr_blocks", "1"], ["nr_inodes", "1"]] as const;
  const labelled = label ? [...options, ["context", label] as const] : options;
  const attributes = MountAttr.MOUNT_ATTR_RDONLY;
  return [
    ...newMountOps({ type: "tmpfs", flags: ["ro"], options: labelled, attributes }, mask),
    { op: "add", left: 0, right: 0, out: used },
  ];
}

/** A separate tmpfs for each directory, by its descriptor. */
function maskByMount(label: string | undefined, { arch }: HostFacts): readonly Op[] {
  const data = withContext("nr_blocks=1,nr_inodes=1", label);
  return mountOn(target, { type: "tmpfs", flags: MountFlag.MS_RDONLY, data }, arch);
}

/**
 * linux.maskedPaths: files show the container's /dev/null, directories are empty. `isNullOpen`: the slot `null` holds it,
 * verified.
 */
export function maskedPathSteps(config: Config, facts: HostFacts, isNullOpen: boolean): readonly Step[] {
  const paths = (config.linux?.maskedPaths ?? []).map((path, index) => ({ path, index, clean: cleanPath(path) }));
  const seen = new Set<string>();
  const distinct = paths.filter(({ clean }) => !seen.has(clean) && seen.add(clean));
  if (distinct.length === 0) return [];
  const O = openFlag(facts.arch);
  const old = lacksMountCalls(facts.refused);
  const isFile = slot("is file");
  const masks = distinct.map(({ path, index, clean }) =>
    step(`mask ${path}`, `/linux/maskedPaths/${index}`, [
      // The default list has files that many kernels lack.
      call("openat", [AT_FDCWD, clean, O.O_PATH | O.O_CLOEXEC, 0], {
        out: target,
        endStepOn: ["ENOENT"],
        meaning: { "*": `can't mask path ${JSON.stringify(path)}: open ${path}` },
      }),
      isFileOp(target, isFile),
      when(
        isFile,
        "!=",
        0,
        placeCopyOf(slot("null")),
        old ? maskByMount(config.linux?.mountLabel, facts) : [
          // Only a mounted file system can be copied: further directories get copies of the first one's mount.
          when(used, "!=", 0, placeCopyOf(mask), [place(mask), { op: "add", left: 1, right: 0, out: used }]),
        ],
      ),
      call("close", [target]),
    ])
  );
  return [
    ...(isNullOpen ? [] : [
      step(
        "open the container's /dev/null, to mask files with, and verify its device number",
        "/linux/maskedPaths",
        openNullOps(facts, O.O_PATH, "can't mask paths"),
      ),
    ]),
    ...(old ? [] : [
      step(
        "make an empty read-only tmpfs, to mask directories with",
        "/linux/maskedPaths",
        makeMaskOps(config.linux?.mountLabel),
      ),
    ]),
    ...masks,
    step("enter / and close what masks paths", "/linux/maskedPaths", [
      call("chdir", ["/"]),
      call("close", [slot("null")]),
      ...(old ? [] : [call("close", [mask])]),
    ]),
  ];
}

/** linux.readonlyPaths: a read-only copy of each path over itself. Mounts of the config below it stay unchanged. */
export function readonlyPathSteps(config: Config, facts: HostFacts): readonly Step[] {
  const O = openFlag(facts.arch);
  const attributes = struct("{attr_set: MOUNT_ATTR_RDONLY}", 32, [
    { at: 0, size: 8, value: MountAttr.MOUNT_ATTR_RDONLY },
  ]);
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | OpenTree.AT_RECURSIVE | OpenTree.AT_EMPTY_PATH;
  return (config.linux?.readonlyPaths ?? []).map((path, index) =>
    step(`make ${path} read-only`, `/linux/readonlyPaths/${index}`, [
      call("openat", [AT_FDCWD, cleanPath(path), O.O_PATH | O.O_CLOEXEC, 0], { out: target, endStepOn: ["ENOENT"] }),
      // From here on by descriptor: the name may mean another file by now.
      call("open_tree", [target, "", flags], { out: copy }),
      // Before it is mounted, so that it is never writable.
      call("mount_setattr", [copy, "", AtFlag.AT_EMPTY_PATH, attributes, 32], {
        meaning: { "*": `can't make ${JSON.stringify(path)} read-only` },
      }),
      place(copy),
      call("close", [copy]),
      call("close", [target]),
    ])
  );
}
