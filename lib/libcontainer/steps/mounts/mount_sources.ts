/**
 * Sources of bind mounts that init cannot open. In a user namespace init may have no access to a parent directory.
 * Other ids for a mount need rights on the host.
 *
 * The stage forks a helper before it enters a user namespace. The helper joins init's mount namespace, because a source
 * may be below an earlier mount of the config. It sends init a copy of a mount per request, in the config's order.
 *
 *     helper (host's user namespace)              init
 *       | <----- its mount namespace ------------- |
 *       | <----- its user namespace -------------- |   if a mount takes its ids from it
 *       | <----- next ---------------------------- |
 *       | ------ copy of a mount ----------------> |   repeated; the helper exits after the last mount
 *
 * Both report errors to the parent. If one exits, the other reads the end of the stream and exits.
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
import { CONTROL_SIZE, rightsHeader } from "../rights_message.ts";

const inits = fixedFd("sources-init");
const helpers = fixedFd("sources-helper");
const reply = slot("reply");
const helper = slot("helper");
const source = slot("source");

/** Receives one descriptor into `out`; `gone` runs if the peer has exited. @see unix(7), SCM_RIGHTS */
function receiveFdOps(socket: Operand, out: Slot, gone: readonly Op[]): readonly Op[] {
  const control = buffer("received control", CONTROL_SIZE);
  const header = rightsHeader("1 byte", buffer("received byte", 8), 1, control);
  return [
    // If the kernel writes no descriptor, the buffer must not have an old one: -1 is not a descriptor.
    store(at(control, 16), 4, -1),
    store(at(header, 40), 8, CONTROL_SIZE),
    call("recvmsg", [socket, header, MsgFlag.MSG_CMSG_CLOEXEC], { out: reply }),
    when(reply, "==", 0, gone),
    load(at(control, 16), 4, out),
  ];
}

const leave: readonly Op[] = [call("exit_group", [0])];

/** A step that only the helper runs: after the fork the stage has the same steps. */
function helperStep(label: string, from: string, ops: readonly Op[]): Step {
  return step(label, from, [when(helper, "==", 0, ops)]);
}

/** Equal texts are the same mappings. */
const mappingsKey = ({ uid, gid }: NonNullable<MountIds["mappings"]>) => `${mapText(uid)}/${mapText(gid)}`;

/** `struct mount_attr` that sets ids. The plan writes the user namespace's descriptor at 24. @see mount_setattr(2) */
function idAttributes(): Struct {
  return struct("{attr_set: MOUNT_ATTR_IDMAP, userns_fd}", 32, [{ at: 0, size: 8, value: MountAttr.MOUNT_ATTR_IDMAP }]);
}

const USERNS_FD = 24;

/**
 * Makes a user namespace with these mappings and writes its descriptor to `userns`. A child starts in the namespace and
 * exits when the descriptor is open. The child sends its pid in the host's /proc, as text.
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
        // The child waits for this.
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

/** Waits for init's request and sends a copy of the mount. */
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
      // mount_namespaces(7): files covered in one user namespace stay covered in its descendants.
      hint: recursive ? undefined : { EINVAL: `use rbind, if something is mounted below ${path}` },
    }),
    ...setIds,
    ...sendFdOps(helpers, source, "m"),
    call("close", [source]),
  ];
}

/** Starts the helper for these mounts. Runs in: stage, before it joins or creates namespaces. */
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
    step("start a helper that opens sources of mounts on the host and tell the parent its pid", "/mounts", [
      {
        op: "fork",
        // Like the container's process, the helper is a child of the parent, which reaps it.
        flags: CloneFlag.CLONE_PARENT | CloneFlag.SIGCHLD,
        out: helper,
        child: [call("close", [inits])],
        parent: [...tellValue("helper", helper)],
      },
    ]),
    helperStep("receive the container's namespaces and join its mount namespace", "", [
      ...receiveFdOps(helpers, namespace, leave),
      call("setns", [namespace, CloneFlag.CLONE_NEWNS]),
      call("close", [namespace]),
      ...(own ? [...receiveFdOps(helpers, namespace, leave), store(at(ownAttributes, USERNS_FD), 8, namespace)] : []),
    ]),
    ...make,
    ...mounts.map((mount) =>
      helperStep(
        `open ${mount.path} and send it to init`,
        mount.from,
        serveOps(mount, attributesOf(mount)),
      )
    ),
    helperStep("end the helper", "", leave),
  ];
}

/** Sends init's namespaces to the helper. Runs in: init, before the first mount. */
export function meetHelperSteps(mounts: readonly HelpedMount[], arch: Arch): readonly Step[] {
  const O = openFlag(arch);
  const file = slot("file");
  const own = mounts.some(({ ids }) => ids !== undefined && ids.mappings === undefined);
  const show = (name: string): readonly Op[] => [
    call("openat", [fixedFd("proc"), `self/ns/${name}`, O.O_CLOEXEC, 0], { out: file }),
    ...sendFdOps(inits, file, "n"),
    call("close", [file]),
  ];
  return [step("send the container's namespaces to the helper", "", [
    call("close", [helpers]),
    ...show("mnt"),
    ...(own ? show("user") : []),
  ])];
}

/** Puts the helper's next copy of a mount in `out`. Runs in: init. */
export function askHelperOps(out: Slot): readonly Op[] {
  return [
    // EPIPE: the helper has failed and reported the error.
    call("sendto", [inits, text("m"), 1, MsgFlag.MSG_NOSIGNAL, 0, 0], { tolerate: ["EPIPE", "ECONNRESET"] }),
    ...receiveFdOps(inits, out, [call("exit_group", [1])]),
  ];
}

/** Closes the socket after the last mount. Runs in: init. */
export function leaveHelperSteps(): readonly Step[] {
  return [step("close the socket to the helper", "", [call("close", [inits])])];
}
