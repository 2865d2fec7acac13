/**
 * The container's terminal: a pty of the container's devpts. The master is sent to the caller. Runs in: init, after
 * pivot_root.
 *
 * @module
 */

import { FsMagic, Ioctl, MoveMount, MsgFlag, openFlag, OpenTree } from "../../ffi/constants.ts";
import { at, buffer, call, fail, fixedFd, load, slot, step, store, struct, text, when } from "../../plan/build.ts";
import type { Op, Operand, Step } from "../../plan/op.ts";
import type { Process } from "../../specs/config.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { deviceNumber } from "./devices.ts";
import { ensureFile, openInside } from "./root/in_root.ts";
import { rightsControl, rightsHeader } from "./rights_message.ts";
import { loadStat, statBuffer } from "./stat.ts";

const master = slot("master");
const peer = slot("peer");

/**
 * Sends one descriptor with a text over a connected socket; both are fixed when the plan is encoded. @see unix(7),
 * SCM_RIGHTS
 */
export function sendFdOps(socket: Operand, fd: Operand, payload: string): readonly Op[] {
  const control = rightsControl(1);
  const header = rightsHeader(JSON.stringify(payload), text(payload), payload.length, control);
  return [
    store(at(control, 16), 4, fd),
    call("sendmsg", [socket, header, MsgFlag.MSG_NOSIGNAL]),
  ];
}

const statfs = buffer("statfs", 120);

/**
 * Fails for files other than the ptmx of a devpts: 5:2, inode 2 (CVE-2025-52565). Documentation/filesystems/devpts.rst
 */
function verifyMaster(arch: Arch): readonly Op[] {
  const refuse = fail(
    0,
    "/dev/pts/ptmx is not the multiplexor of a devpts",
    "mount devpts on /dev/pts (mounts[] of type devpts)",
  );
  const must = (field: "ino" | "rdev", value: number): readonly Op[] => [
    loadStat(field, slot("type"), arch),
    when(slot("type"), "!=", value, [refuse]),
  ];
  return [
    call("fstatfs", [master, statfs]),
    load(statfs, 4, slot("type")),
    when(slot("type"), "!=", FsMagic.DEVPTS, [refuse]),
    call("fstat", [master, statBuffer]),
    ...must("ino", 2),
    ...must("rdev", deviceNumber(5, 2)),
  ];
}

/** Mounts the terminal on /dev/console too, over a file created for it. */
function bindConsole(arch: Arch): readonly Op[] {
  const O = openFlag(arch);
  const dev = slot("dev");
  const place = slot("node");
  const copy = slot("copy");
  return [
    openInside("/dev", dev, O.O_PATH | O.O_DIRECTORY, arch),
    ...ensureFile(dev, "console", place, 0o666, arch),
    call("close", [dev]),
    call("open_tree", [peer, "", OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | OpenTree.AT_EMPTY_PATH], {
      out: copy,
    }),
    call("move_mount", [copy, "", place, "", MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH]),
    call("close", [copy]),
    call("close", [place]),
  ];
}

/**
 * Opens a pty, sends its master over the fixed descriptor `console`, and makes the slave stdio and the controlling
 * terminal.
 */
export function consoleSteps(process: Process, arch: Arch, options: { devConsole: boolean }): readonly Step[] {
  if (!process.terminal) return [];
  const O = openFlag(arch);
  // struct winsize has 16 bits for each value.
  const height = (process.consoleSize?.height ?? 0) & 0xffff;
  const width = (process.consoleSize?.width ?? 0) & 0xffff;
  const hasSize = height !== 0 && width !== 0;
  const size = struct(`{ws_row: ${height}, ws_col: ${width}}`, 8, [
    { at: 0, size: 2, value: height },
    { at: 2, size: 2, value: width },
  ]);
  const unlock = struct("[0]", 4, [{ at: 0, size: 4, value: 0 }]);
  const steps = [
    step(`open a pty and unlock it${hasSize ? ", and set its size" : ""}`, "/process/terminal", [
      openInside("/dev/pts/ptmx", master, O.O_RDWR | O.O_NOCTTY | O.O_NOFOLLOW, arch, {
        hint: { ENOENT: "process.terminal requires a devpts mounted on /dev/pts" },
      }),
      ...verifyMaster(arch),
      call("ioctl", [master, Ioctl.TIOCSPTLCK, unlock]),
      // The slave is opened by its master, never by name.
      call("ioctl", [master, Ioctl.TIOCGPTPEER, O.O_RDWR | O.O_NOCTTY | O.O_CLOEXEC], { out: peer }),
      ...(hasSize ? [call("ioctl", [peer, Ioctl.TIOCSWINSZ, size])] : []),
    ]),
    ...(options.devConsole
      ? [step("make /dev/console and bind the terminal on it", "/process/terminal", bindConsole(arch))]
      : []),
    step("send the terminal's master to the caller and close it", "/process/terminal", [
      ...sendFdOps(fixedFd("console"), master, "/dev/ptmx"),
      call("close", [fixedFd("console")]),
      call("close", [master]),
    ]),
    step("make the terminal stdio and the controlling terminal", "/process/terminal", [
      ...[0, 1, 2].map((fd) => call("dup3", [peer, fd, 0])),
      call("close", [peer]),
      call("ioctl", [0, Ioctl.TIOCSCTTY, 0]),
    ]),
  ];
  return steps;
}
