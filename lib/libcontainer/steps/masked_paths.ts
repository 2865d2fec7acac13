/**
 * Paths that the container may not see or not write. Runs in: init, after pivot_root.
 *
 * @module
 */

import {
  AT_FDCWD,
  AtFlag,
  FsConfig,
  FsMount,
  FsOpen,
  MountAttr,
  MountFlag,
  MoveMount,
  openFlag,
  OpenTree,
} from "../../ffi/constants.ts";
import { call, slot, step, struct, when } from "../../plan/build.ts";
import type { Op, Slot, Step } from "../../plan/op.ts";
import type { Config } from "../../specs/config.ts";
import { fillsDev, openNullOps } from "./devices.ts";
import { cleanPath, isFileOp } from "./in_root.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { withContext } from "./mounts/mount_options.ts";
import { lacksMountCalls, mountOn } from "./mounts/old_mounts.ts";

const target = slot("target");
const copy = slot("copy");
/** Descriptor of the masking tmpfs. */
const mask = slot("mask");
/** Whether it lies on some directory already. */
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
 * An empty read-only tmpfs, which has no place yet. It is known by its descriptor from the first moment on: looked up by the name of a
 * masked directory it could be another one by then, and what every further directory shows (CVE-2025-31133's kind).
 */
function makeMaskOps(label: string | undefined): readonly Op[] {
  const context = slot("file system");
  const set = (name: string, value: string): Op =>
    call("fsconfig", [context, FsConfig.FSCONFIG_SET_STRING, name, value, 0]);
  return [
    call("fsopen", ["tmpfs", FsOpen.FSOPEN_CLOEXEC], { out: context }),
    call("fsconfig", [context, FsConfig.FSCONFIG_SET_FLAG, "ro", 0, 0]),
    set("source", "tmpfs"),
    set("nr_blocks", "1"),
    set("nr_inodes", "1"),
    ...(label ? [set("context", label)] : []),
    call("fsconfig", [context, FsConfig.FSCONFIG_CMD_CREATE, 0, 0, 0]),
    call("fsmount", [context, FsMount.FSMOUNT_CLOEXEC, MountAttr.MOUNT_ATTR_RDONLY], { out: mask }),
    call("close", [context]),
    { op: "add", left: 0, right: 0, out: used },
  ];
}

/** A tmpfs for each directory, on its descriptor. */
function maskByMount(label: string | undefined, { arch }: HostFacts): readonly Op[] {
  const data = withContext("nr_blocks=1,nr_inodes=1", label);
  return mountOn(target, { type: "tmpfs", flags: MountFlag.MS_RDONLY, data }, arch);
}

/** linux.maskedPaths: files show the container's /dev/null, directories nothing. */
export function maskedPathSteps(config: Config, facts: HostFacts): readonly Step[] {
  const paths = (config.linux?.maskedPaths ?? []).map((path, index) => ({ path, index, clean: cleanPath(path) }));
  const seen = new Set<string>();
  const distinct = paths.filter(({ clean }) => !seen.has(clean) && seen.add(clean));
  if (distinct.length === 0) return [];
  const O = openFlag(facts.arch);
  const old = lacksMountCalls(facts.refused);
  const isFile = slot("is file");
  const masks = distinct.map(({ path, index, clean }) =>
    step(`mask ${path}`, `/linux/maskedPaths/${index}`, [
      // The usual list names files that many kernels lack.
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
          // A mount is copied only where it has a place: further directories show copies of the first one's.
          when(used, "!=", 0, placeCopyOf(mask), [place(mask), { op: "add", left: 1, right: 0, out: used }]),
        ],
      ),
      call("close", [target]),
    ])
  );
  return [
    // Open and verified already where stdio was looked at.
    ...(fillsDev(config) ? [] : [
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

/** linux.readonlyPaths: a read-only copy of each over itself. What the config mounts below it stays as the config says. */
export function readonlyPathSteps(config: Config, facts: HostFacts): readonly Step[] {
  const O = openFlag(facts.arch);
  const attributes = struct("{attr_set: MOUNT_ATTR_RDONLY}", 32, [
    { at: 0, size: 8, value: MountAttr.MOUNT_ATTR_RDONLY },
  ]);
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | OpenTree.AT_RECURSIVE | OpenTree.AT_EMPTY_PATH;
  return (config.linux?.readonlyPaths ?? []).map((path, index) =>
    step(`make ${path} read-only`, `/linux/readonlyPaths/${index}`, [
      call("openat", [AT_FDCWD, cleanPath(path), O.O_PATH | O.O_CLOEXEC, 0], { out: target, endStepOn: ["ENOENT"] }),
      // From here by descriptor: the name may mean another file by now.
      call("open_tree", [target, "", flags], { out: copy }),
      // Before it is placed: there is no moment at which it can be written through.
      call("mount_setattr", [copy, "", AtFlag.AT_EMPTY_PATH, attributes, 32], {
        meaning: { "*": `can't make ${JSON.stringify(path)} read-only` },
      }),
      place(copy),
      call("close", [copy]),
      call("close", [target]),
    ])
  );
}
