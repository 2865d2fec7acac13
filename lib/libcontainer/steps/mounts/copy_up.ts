/**
 * The option `tmpcopyup`: a tmpfs that starts with the content of the directory that it covers. Runs in: init, before
 * pivot_root.
 *
 * Init makes the tmpfs without a place. The parent can recurse: it makes the directory's tree in the tmpfs. Then init
 * moves the tmpfs to its place. Init copies the content of files, because a tmpfs uses memory: the kernel must charge
 * it to the container's cgroup, not to the host.
 *
 * @module
 */

import { FsConfig, FsMount, FsOpen, MountFlag, MsgFlag } from "../../../ffi/constants.ts";
import { at, buffer, call, fixedFd, load, set, slot, store, struct, when } from "../../../plan/build.ts";
import type { CallOp, Op, Operand, Slot } from "../../../plan/op.ts";
import { splitData } from "../../config/mount_options.ts";
import { MESSAGE_SIZE, MessageKind, tellValue } from "../protocol.ts";
import { CONTROL_SIZE, rightsControl, rightsHeader } from "../rights_message.ts";

/** A tmpfs to be made. */
export interface CopiedTmpfs {
  /** Number of the mount in the config: identifies it to the parent. */
  readonly index: number;
  readonly source: string;
  /** MS_* flags without MS_RDONLY. */
  readonly flags: number;
  /** MOUNT_ATTR_* of the same meaning. */
  readonly attributes: number;
  /** Mount data: `size=64k,mode=755`. */
  readonly data: string;
  /** Sets `mode` to the mode of the covered directory; no ops if the data have a mode. */
  readonly inheritMode: (set: (mode: Operand) => Op) => readonly Op[];
  readonly meaning: CallOp["meaning"];
}

/** MS_* flags that belong to the file system rather than to the mount, and their names for fsconfig(2). */
const fileSystemFlags: readonly (readonly [flag: number, name: string])[] = [
  [MountFlag.MS_SYNCHRONOUS, "sync"],
  [MountFlag.MS_DIRSYNC, "dirsync"],
  [MountFlag.MS_MANDLOCK, "mand"],
  [MountFlag.MS_LAZYTIME, "lazytime"],
];

/** Makes the tmpfs with its content in the slot `source`. `target`: the open directory that it will cover. */
export function copyUpOps(tmpfs: CopiedTmpfs, target: Operand, source: Slot): readonly Op[] {
  const { meaning } = tmpfs;
  const context = slot("file system");
  const set = (name: string, value: Operand | string): Op =>
    call("fsconfig", [context, FsConfig.FSCONFIG_SET_STRING, name, value, 0], { meaning });
  const setFlag = (name: string): Op =>
    call("fsconfig", [context, FsConfig.FSCONFIG_SET_FLAG, name, 0, 0], { meaning });
  const options = splitData(tmpfs.data).map((option) => {
    const [name = "", ...value] = option.split("=");
    // Quotes protect commas in mount data. fsconfig(2) takes one option per call and needs no quotes.
    return value.length === 0 ? setFlag(name) : set(name, value.join("=").replace(/^"(.*)"$/, "$1"));
  });
  return [
    call("fsopen", ["tmpfs", FsOpen.FSOPEN_CLOEXEC], { out: context, meaning }),
    set("source", tmpfs.source),
    ...tmpfs.inheritMode((mode) => set("mode", mode)),
    ...options,
    ...fileSystemFlags.filter(([flag]) => tmpfs.flags & flag).map(([, name]) => setFlag(name)),
    call("fsconfig", [context, FsConfig.FSCONFIG_CMD_CREATE, 0, 0, 0], { meaning }),
    call("fsmount", [context, FsMount.FSMOUNT_CLOEXEC, tmpfs.attributes], { out: source, meaning }),
    call("close", [context]),
    ...sendPair(tmpfs.index, target, source),
    ...fillOps(),
  ];
}

/** The most that sendfile(2) copies in one call. */
const CHUNK = 0x7ffff000;

/** Copies between two descriptors from the parent and answers 0 or −errno. First byte 0, without descriptors: end. */
function fillOps(): readonly Op[] {
  const wish = buffer("wish", 8);
  const control = buffer("pair of descriptors", CONTROL_SIZE);
  const header = rightsHeader("1 byte", wish, 8, control);
  const [got, more, from, to, length] = [slot("reply"), slot("more"), slot("from"), slot("to"), slot("length")];
  const copied = slot("copied");
  const copy: readonly Op[] = [
    load(at(control, 16), 4, from),
    load(at(control, 20), 4, to),
    set(copied, 0),
    {
      op: "repeat",
      body: [
        call("sendfile", [to, from, 0, CHUNK], {
          out: length,
          onError: [{ errnos: ["*"], ops: [set(copied, length), set(length, 0)] }],
        }),
      ],
      until: { left: length, right: 0 },
    },
    call("close", [from]),
    call("close", [to]),
    ...tellValue("copied", copied),
  ];
  return [{
    op: "repeat",
    body: [
      store(at(header, 40), 8, CONTROL_SIZE),
      call("recvmsg", [fixedFd("sync"), header, MsgFlag.MSG_CMSG_CLOEXEC], { out: got }),
      // The parent has exited.
      when(got, "==", 0, [call("exit_group", [1])]),
      load(wish, 1, more),
      when(more, "!=", 0, copy),
    ],
    until: { left: more, right: 0 },
  }];
}

/** Asks the parent to copy what is in `from` into `to`. @see unix(7), SCM_RIGHTS */
function sendPair(index: number, from: Operand, to: Operand): readonly Op[] {
  const control = rightsControl(2);
  const message = struct(`{copyUp, mount ${index}}`, MESSAGE_SIZE, [
    { at: 0, size: 4, value: MessageKind.copyUp },
    { at: 8, size: 4, value: index },
  ]);
  const header = rightsHeader("copyUp", message, MESSAGE_SIZE, control);
  return [
    store(at(control, 16), 4, from),
    store(at(control, 20), 4, to),
    call("sendmsg", [fixedFd("sync"), header, MsgFlag.MSG_NOSIGNAL]),
  ];
}
