/**
 * Sources of bind mounts that init cannot take by itself: in a user namespace a directory above them may be closed to it, and to give a
 * mount other ids needs the rights of the host.
 *
 * A helper does it, forked by the stage before that enters a user namespace. It joins init's mount namespace, where earlier mounts of the
 * config may be part of a later one's source, and hands over copies of mounts, one for each that init asks for, in the config's order.
 *
 *     helper (host's user namespace)              init
 *       | <----- its mount namespace ------------- |
 *       | <----- its user namespace -------------- |   where a mount takes its ids from there
 *       | <----- next ---------------------------- |
 *       | ------ copy of a mount ----------------> |   and so on; the helper leaves after the last one
 *
 * Both report errors to the parent; where one is gone, the end of the stream ends the other.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, CloneFlag, MountAttr, MsgFlag, openFlag, OpenTree } from "../../../ffi/constants.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { at, buffer, call, fail, fixedFd, load, slot, step, store, struct, text, when } from "../../../plan/build.ts";
import type { Data, Op, Operand, Slot, Step, Struct } from "../../../plan/op.ts";
import { sendFdOps } from "../console.ts";
import { mapText } from "../../config/id_mappings.ts";
import type { MountIds } from "../../config/mounts.ts";
import type { HelpedMount } from "./helped_mounts.ts";
import { tellValue } from "../protocol.ts";

const inits = fixedFd("sources-init");
const helpers = fixedFd("sources-helper");
const reply = slot("reply");
const helper = slot("helper");
const source = slot("source");

/** Receives one descriptor into `out`; `gone` runs where the peer is no more. @see unix(7), SCM_RIGHTS */
function receiveFdOps(socket: Operand, out: Slot, gone: readonly Op[]): readonly Op[] {
  const control = buffer("received control", 24);
  const vector = struct("{1 byte}", 16, [
    { at: 0, size: 8, value: buffer("received byte", 8) },
    { at: 8, size: 8, value: 1 },
  ]);
  const header = struct("{iov: 1 byte, control: SCM_RIGHTS}", 56, [
    { at: 16, size: 8, value: vector },
    { at: 24, size: 8, value: 1 },
    { at: 32, size: 8, value: control },
    { at: 40, size: 8, value: 24 },
  ]);
  return [
    // What the kernel does not write must not be an older answer: -1 is no descriptor.
    store(at(control, 16), 4, -1),
    store(at(header, 40), 8, 24),
    call("recvmsg", [socket, header, MsgFlag.MSG_CMSG_CLOEXEC], { out: reply }),
    when(reply, "==", 0, gone),
    load(at(control, 16), 4, out),
  ];
}

const leave: readonly Op[] = [call("exit_group", [0])];

/** A step that only the helper carries out: it and the stage come from one fork. */
function helperStep(label: string, from: string, ops: readonly Op[]): Step {
  return step(label, from, [when(helper, "==", 0, ops)]);
}

/** Equal texts are the same mappings. */
const mappingsKey = ({ uid, gid }: NonNullable<MountIds["mappings"]>) => `${mapText(uid)}/${mapText(gid)}`;

/** `struct mount_attr` that sets ids; the user namespace's descriptor is written at 24 when it is known. @see mount_setattr(2) */
function idAttributes(): Struct {
  return struct("{attr_set: MOUNT_ATTR_IDMAP, userns_fd}", 32, [{ at: 0, size: 8, value: MountAttr.MOUNT_ATTR_IDMAP }]);
}

const USERNS_FD = 24;

/**
 * Makes a user namespace with these mappings and writes its descriptor to `userns`: a child is born in it, and lives until it is open.
 * The child tells its pid as text, by which the host's /proc shows it.
 */
function makeUserNamespaceOps(
  mappings: NonNullable<MountIds["mappings"]>,
  userns: Data,
  names: { number: number; prefix: string },
  arch: Arch,
): readonly Op[] {
  const O = openFlag(arch);
  const pid = buffer(`pid of mapped process ${names.number}`, PID_SIZE);
  const pair = buffer("socket pair", 8);
  const [ours, theirs, child, directory, file] = ["ours", "theirs", "mapped", "directory", "file"].map(slot) as [
    Slot,
    Slot,
    Slot,
    Slot,
    Slot,
  ];
  const failed = `${names.prefix}: failed to create userns for id-mapping`;
  const meaning = { "*": failed };
  const write = (name: string, content: string): readonly Op[] => [
    call("openat", [directory, name, O.O_WRONLY | O.O_CLOEXEC, 0], { out: file, meaning }),
    call("write", [file, content, content.length], { meaning }),
    call("close", [file]),
  ];
  return [
    call("socketpair", [AF_UNIX, SOCK_SEQPACKET, 0, pair]),
    load(pair, 4, ours),
    load(at(pair, 4), 4, theirs),
    {
      op: "fork",
      flags: CloneFlag.CLONE_NEWUSER | CloneFlag.SIGCHLD,
      out: child,
      child: [
        call("close", [ours]),
        call("readlinkat", [fixedFd("proc"), "self", pid, PID_SIZE - 1]),
        call("sendto", [theirs, pid, PID_SIZE, MsgFlag.MSG_NOSIGNAL, 0, 0]),
        call("recvfrom", [theirs, pid, 1, 0, 0, 0]),
        ...leave,
      ],
      parent: [
        call("close", [theirs]),
        call("recvfrom", [ours, pid, PID_SIZE, 0, 0, 0], { out: reply }),
        when(reply, "==", 0, [fail(0, failed)]),
        call("openat", [fixedFd("proc"), pid, O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC, 0], { out: directory, meaning }),
        ...write("uid_map", mapText(mappings.uid)),
        ...write("gid_map", mapText(mappings.gid)),
        call("openat", [directory, "ns/user", O.O_CLOEXEC, 0], { out: file, meaning }),
        store(userns, 8, file),
        call("close", [directory]),
        // It has waited for this.
        call("close", [ours]),
        call("wait4", [child, 0, 0, 0]),
      ],
    },
  ];
}

/** sys/socket.h */
const AF_UNIX = 1, SOCK_SEQPACKET = 5;
/** A pid has at most 10 digits. */
const PID_SIZE = 16;

/** Waits for init's word, and answers with a copy of the mount. */
function serveOps(mount: HelpedMount, attributes: Struct | undefined): readonly Op[] {
  const { path, recursive, lookup, ids, meaning, prefix } = mount;
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | (recursive ? OpenTree.AT_RECURSIVE : 0) |
    lookup;
  const failed = `${prefix}: failed to set MOUNT_ATTR_IDMAP on ${path}`;
  const below = ids?.recursive ? AtFlag.AT_RECURSIVE : 0;
  const setIds = attributes === undefined ? [] : [
    call("mount_setattr", [source, "", AtFlag.AT_EMPTY_PATH | below, attributes, 32], {
      meaning: {
        EINVAL: `${failed}: invalid argument (maybe the filesystem used doesn't support idmap mounts on this kernel?)`,
        "*": failed,
      },
    }),
  ];
  return [
    call("recvfrom", [helpers, buffer("received byte", 8), 1, 0, 0, 0], { out: reply }),
    when(reply, "==", 0, leave),
    call("open_tree", [AT_FDCWD, path, flags], {
      out: source,
      meaning,
      // mount_namespaces(7): what mounts cover for one user namespace stays covered for those below it.
      hint: recursive ? undefined : { EINVAL: `use rbind, if something is mounted below ${path}` },
    }),
    ...setIds,
    ...sendFdOps(helpers, source, "m"),
    call("close", [source]),
  ];
}

/** Starts the helper, where there is something to help with. Runs in: stage, before it joins or creates namespaces. */
export function helperSteps(mounts: readonly HelpedMount[], arch: Arch): readonly Step[] {
  const mapped = mounts.filter((mount) => mount.ids !== undefined);
  const own = mapped.some(({ ids }) => ids!.mappings === undefined);
  const ownAttributes = idAttributes();
  const namespace = slot("namespace");
  const known = new Map<string, Struct>();
  const make: Step[] = [];
  for (const { ids, from, prefix } of mapped) {
    const { mappings } = ids!;
    if (mappings === undefined || known.has(mappingsKey(mappings))) continue;
    const attributes = idAttributes();
    known.set(mappingsKey(mappings), attributes);
    const names = { number: known.size, prefix };
    make.push(helperStep(
      `make a user namespace for the ids of ${from}`,
      `${from}/uidMappings`,
      makeUserNamespaceOps(mappings, at(attributes, USERNS_FD), names, arch),
    ));
  }
  const attributesOf = ({ ids }: HelpedMount) =>
    ids === undefined ? undefined : ids.mappings === undefined ? ownAttributes : known.get(mappingsKey(ids.mappings));
  return [
    step("start a helper that opens sources of mounts on the host", "/mounts", [
      {
        op: "fork",
        // As the container's process it is the parent's child, who reaps it.
        flags: CloneFlag.CLONE_PARENT | CloneFlag.SIGCHLD,
        out: helper,
        child: [call("close", [inits])],
        parent: [...tellValue("helper", helper)],
      },
    ]),
    helperStep("join the container's mount namespace", "", [
      ...receiveFdOps(helpers, namespace, leave),
      call("setns", [namespace, CloneFlag.CLONE_NEWNS]),
      call("close", [namespace]),
      ...(own ? [...receiveFdOps(helpers, namespace, leave), store(at(ownAttributes, USERNS_FD), 8, namespace)] : []),
    ]),
    ...make,
    ...mounts.map((mount) => helperStep(`open ${mount.path}`, mount.from, serveOps(mount, attributesOf(mount)))),
    helperStep("let the helper go", "", leave),
  ];
}

/** Init's first words to the helper: what it needs to know of init. Runs in: init, before the first mount. */
export function meetHelperSteps(mounts: readonly HelpedMount[], arch: Arch): readonly Step[] {
  const O = openFlag(arch);
  const file = slot("file");
  const own = mounts.some(({ ids }) => ids !== undefined && ids.mappings === undefined);
  const show = (name: string): readonly Op[] => [
    call("openat", [fixedFd("proc"), `self/ns/${name}`, O.O_CLOEXEC, 0], { out: file }),
    ...sendFdOps(inits, file, "n"),
    call("close", [file]),
  ];
  return [step("show the helper the container's namespaces", "", [
    call("close", [helpers]),
    ...show("mnt"),
    ...(own ? show("user") : []),
  ])];
}

/** Puts the helper's next copy of a mount in `out`. Runs in: init. */
export function askHelperOps(out: Slot): readonly Op[] {
  return [
    // EPIPE: it has failed, and reported that.
    call("sendto", [inits, text("m"), 1, MsgFlag.MSG_NOSIGNAL, 0, 0], { tolerate: ["EPIPE", "ECONNRESET"] }),
    ...receiveFdOps(inits, out, [call("exit_group", [1])]),
  ];
}

/** After the last mount. Runs in: init. */
export function leaveHelperSteps(): readonly Step[] {
  return [step("let go of the helper", "", [call("close", [inits])])];
}
