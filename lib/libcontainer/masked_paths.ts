/**
 * Paths that the container may not see or not write. Runs in: init, after pivot_root.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, MountAttr, MountFlag, MoveMount, openFlag, OpenTree } from "../ffi/constants.ts";
import { call, slot, step, struct, when } from "../plan/build.ts";
import type { Op, Step } from "../plan/op.ts";
import type { Config } from "../specs/config.ts";
import { fillsDev, openNullOps } from "./devices.ts";
import { cleanPath } from "./in_root.ts";
import type { HostFacts } from "./launch_request.ts";
import { withContext } from "./mount_options.ts";

const target = slot("target");
const copy = slot("copy");
/** Descriptor of the first masking tmpfs; 0 while there is none. */
const mask = slot("mask");

const moveHere: readonly Op[] = [
  call("move_mount", [copy, "", target, "", MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH]),
  call("close", [copy]),
];

function copyOf(fd: typeof mask): Op {
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | OpenTree.AT_EMPTY_PATH;
  return call("open_tree", [fd, "", flags], { out: copy });
}

/** An empty read-only tmpfs over a directory; further directories get copies of the first. */
function maskDirectory(path: string, facts: HostFacts, label: string | undefined): readonly Op[] {
  const O = openFlag(facts.arch);
  return [when(mask, "!=", 0, [copyOf(mask), ...moveHere], [
    // The working directory is the masked one by now.
    call("mount", ["tmpfs", ".", "tmpfs", MountFlag.MS_RDONLY, withContext("nr_blocks=1,nr_inodes=1", label)]),
    call("openat", [AT_FDCWD, path, O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC, 0], { out: mask }),
  ])];
}

/** linux.maskedPaths: files show the container's /dev/null, directories nothing. */
export function maskedPathSteps(config: Config, facts: HostFacts): readonly Step[] {
  const paths = (config.linux?.maskedPaths ?? []).map((path, index) => ({ path, index, clean: cleanPath(path) }));
  const distinct = paths.filter(({ clean }, index) => paths.findIndex((other) => other.clean === clean) === index);
  if (distinct.length === 0) return [];
  const O = openFlag(facts.arch);
  const masks = distinct.map(({ path, index, clean }) =>
    step(`mask ${path}`, `/linux/maskedPaths/${index}`, [
      // The usual list names files that many kernels lack.
      call("openat", [AT_FDCWD, clean, O.O_PATH | O.O_CLOEXEC, 0], {
        out: target,
        endStepOn: ["ENOENT"],
        meaning: { "*": `can't mask path ${JSON.stringify(path)}: open ${path}` },
      }),
      call("fchdir", [target], {
        out: slot("is file"),
        tolerate: ["ENOTDIR"],
      }),
      when(
        slot("is file"),
        "!=",
        0,
        [copyOf(slot("null") as typeof mask), ...moveHere],
        maskDirectory(clean, facts, config.linux?.mountLabel),
      ),
      call("close", [target]),
    ])
  );
  return [
    step("prepare to mask paths", "/linux/maskedPaths", [
      // Open and verified already where stdio was looked at.
      ...(fillsDev(config) ? [] : openNullOps(facts, O.O_PATH, "can't mask paths")),
      { op: "add", left: 0, right: 0, out: mask },
    ]),
    ...masks,
    step("leave the masked directories", "/linux/maskedPaths", [
      call("chdir", ["/"]),
      call("close", [slot("null")]),
      when(mask, "!=", 0, [call("close", [mask])]),
    ]),
  ];
}

/** linux.readonlyPaths: a read-only copy of each over itself. */
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
      call("mount_setattr", [copy, "", AtFlag.AT_EMPTY_PATH | AtFlag.AT_RECURSIVE, attributes, 32], {
        meaning: { "*": `can't make ${JSON.stringify(path)} read-only` },
      }),
      ...moveHere,
      call("close", [target]),
    ])
  );
}
