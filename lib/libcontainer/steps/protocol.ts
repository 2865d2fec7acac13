/**
 * The messages between parent, stage and init, on one SOCK_SEQPACKET pair.
 *
 *     parent                     stage                       init
 *       | ------- go ------------> |   the cgroups exist; for init if init enters them
 *       | <------ helper pid ----- |   (if ./mounts/mount_sources.ts needs a helper)
 *       | <------ mapping -------- |   (new user namespace)
 *       | ------- go ------------> |
 *       | <------ child pid ------ |  forks ----------------> |
 *       |                          x  exits
 *       | <------ network ------------------------------------ |   only if linux.netDevices is not empty
 *       | ------- go ----------------------------------------> |
 *       | <------ target, root ------------------------------- |   a mount or device target behind a dangling symlink
 *       | ------- go ----------------------------------------> |
 *       | <------ copyUp, directory, tmpfs ------------------- |   for each tmpfs with `tmpcopyup`
 *       | ------- two descriptors ---------------------------> |   for each file in the directory
 *       | <------ copied, errno ------------------------------ |
 *       | ------- go ----------------------------------------> |
 *       | <------ hooks ------------------------------------- |   mounts done, old root; limits, device rules
 *       | ------- go ----------------------------------------> |   without hooks, init waits for it later
 *       | <------ passwd * ----------------------------------- |   only if env has no HOME
 *       | <------ ready -------------------------------------- |   all done except credentials
 *       | ------- go, home directory ------------------------> |
 *       | <------ seccomp, number of the listener ------------ |   with an agent; maybe after created (noNewPrivileges)
 *       | ------- go ----------------------------------------> |
 *       | <------ created ------------------------------------ |   the command was found
 *       | ------- go ----------------------------------------> |   for run; create exits, and start opens the exec fifo
 *
 * With a filter that is loaded early, `exec` sends no `created`; it closes the socket.
 *
 * Instead of each message a report may come (kind error or warning, see ../../plan/native/format.ts), and from a traced
 * plan also the time of a step. The end of the stream means that the peer has died. The parent does not trust any of
 * it.
 *
 * @module
 */

import { at, buffer, call, fixedFd, slot, store, struct, when } from "../../plan/build.ts";
import type { Data, Op } from "../../plan/op.ts";

/** First u32 of each message; 1 and 2 are the interpreter's own reports. */
export const MessageKind = {
  error: 1,
  warning: 2,
  mapping: 3,
  child: 4,
  hooks: 5,
  passwd: 6,
  ready: 7,
  created: 8,
  network: 9,
  seccomp: 10,
  helper: 16,
  target: 17,
  copyUp: 18,
  copied: 19,
  time: 20,
} as const;

/** The value of `target`: an index of `mounts`, or from this number on an index of `linux.devices`. */
export const FIRST_DEVICE = 0x1000000;

/** A message is u32 kind, u32 zero, i64 value; `passwd` is followed by up to {@link PASSWD_CHUNK} bytes. */
export const MESSAGE_SIZE = 16;
/** `time` is u32 kind, u32 number of the mark, struct timespec; see traced_plan.ts. */
export const TIME_SIZE = 24;
/** Small, because a buffer of this size is allocated for each message. */
export const PASSWD_CHUNK = 4096;
/** The longest `HOME=` value that the parent sends, with its NUL: PATH_MAX. */
export const HOME_LIMIT = 4096;

/** The `NAME=value` entry of HOME, filled in from the parent's answer to `ready`. */
export const homeEntry = buffer("HOME entry", HOME_LIMIT + 5);

const reply = slot("reply");

/**
 * Uses write(2) and read(2), which runc calls too, because a seccomp filter may be in force that does not allow
 * sendto(2) and recvfrom(2). If the parent is gone, SIGPIPE ends this process, as it should.
 */
const send = (message: Data): Op => call("write", [fixedFd("sync"), message, MESSAGE_SIZE]);

/** Sends a message without a value. */
export function tell(kind: keyof typeof MessageKind): Op {
  const message = struct(`{${kind}}`, MESSAGE_SIZE, [{ at: 0, size: 4, value: MessageKind[kind] }]);
  return send(message);
}

/** Sends `kind` with the value of a slot. */
export function tellValue(kind: keyof typeof MessageKind, value: { slot: string }): readonly Op[] {
  const message = struct(`{${kind}, ${value.slot}}`, MESSAGE_SIZE, [{ at: 0, size: 4, value: MessageKind[kind] }]);
  return [
    store(at(message, 8), 8, value),
    send(message),
  ];
}

/** Waits for the parent's message; ends the process if the parent is gone. */
export function awaitGo(into = at(buffer("reply", 8), 0), limit = 8): readonly Op[] {
  return [
    call("read", [fixedFd("sync"), into, limit], { out: reply }),
    when(reply, "==", 0, [call("exit_group", [1])]),
  ];
}
