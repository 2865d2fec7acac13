/**
 * The pid file of an exec, which the front writes as the snapshot does: to a new file beside it, which is then renamed.
 *
 * @module
 */

import { AT_FDCWD, FileType, openFlag, statOffsets } from "../../../lib/ffi/constants.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import { at, buffer, call, load, set, slot, store, when } from "../../../lib/plan/build.ts";
import type { Op, Slot } from "../../../lib/plan/op.ts";
import { stat } from "./facts.ts";
import { add, advance, and, close, leave, need, repeatUntil, sub, whenLess, writeDigits } from "./ops.ts";
import { pidFile } from "./words.ts";

const O = openFlag("x86_64");
const PATH_LIMIT = 4000, SLASH = 0x2f, DOT = 0x2e;

const temporary = buffer("path of the new pid file", PATH_LIMIT + 96);
export const pidFd: Slot = slot("pid file's descriptor");
const from = slot("from of the path"), to = slot("to of the path"), character = slot("character of the path");
const base = slot("base of the path"), length = slot("length of the path"), found = slot("found");

/** `<directory>/.<name>`. A path with dots may mean something else for the kernel: symlinks. */
const namePath: readonly Op[] = [
  set(from, pidFile),
  set(base, pidFile),
  load(from, 1, character),
  when(character, "==", DOT, [leave]),
  repeatUntil(
    [
      when(character, "==", SLASH, [
        add(from, 1, base),
        load(base, 1, found),
        when(found, "==", DOT, [leave]),
        when(found, "==", SLASH, [leave]),
        // A directory.
        when(found, "==", 0, [leave]),
      ]),
      advance(from, 1),
      advance(length, 1),
      load(from, 1, character),
    ],
    character,
    0,
  ),
  ...whenLess(PATH_LIMIT, length, [leave]),
  set(from, pidFile),
  set(to, temporary),
  repeatUntil(
    [
      when(from, "==", base, [store(to, 1, DOT), advance(to, 1)]),
      load(from, 1, character),
      store(to, 1, character),
      advance(from, 1),
      advance(to, 1),
    ],
    character,
    0,
  ),
];

/** Before anything is started: what can fail is done. An empty path means none. */
export const beginPidFile: readonly Op[] = [
  when(pidFile, "!=", 0, [load(pidFile, 1, character), when(character, "==", 0, [set(pidFile, 0)])]),
  when(pidFile, "!=", 0, [
    ...namePath,
    call("newfstatat", [AT_FDCWD, pidFile, stat, 0], { out: found, tolerate: ["ENOENT"] }),
    when(found, "!=", -Errno.ENOENT, [
      load(at(stat, statOffsets.x86_64.mode), 4, found),
      and(found, FileType.S_IFMT, found),
      need(found, FileType.S_IFREG),
    ]),
    call("openat", [AT_FDCWD, temporary, O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_CLOEXEC, 0o666], { out: pidFd }),
  ]),
];

const digits = buffer("decimal digits", 16);

/** Writes the pid. Before the program is executed: a disk may be full. */
export const writePidFile = (pid: Slot): readonly Op[] => [
  when(pidFile, "!=", 0, [
    ...writeDigits(pid, digits, to),
    sub(to, digits, length),
    call("write", [pidFd, digits, length], { out: found }),
    need(found, length),
  ]),
];

/** Gives the file its name. */
export const endPidFile: readonly Op[] = [
  when(pidFile, "!=", 0, [
    call("renameat", [AT_FDCWD, temporary, AT_FDCWD, pidFile]),
    ...close(pidFd),
  ]),
];

/** Removes the new file, where it was made. */
export const forgetPidFile: readonly Op[] = whenLess(0, pidFd, [
  call("unlinkat", [AT_FDCWD, temporary, 0], { tolerate: ["*"] }),
]);
