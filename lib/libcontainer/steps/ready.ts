/**
 * The last exchange with the parent before credentials change: limits are set, the state is saved, HOME is known. Runs
 * in: init.
 *
 * @module
 */

import { AT_FDCWD, MsgFlag, openFlag } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { at, buffer, call, fixedFd, slot, step, store } from "../../plan/build.ts";
import type { Op, Step } from "../../plan/op.ts";
import { awaitGo, HOME_LIMIT, homeEntry, MESSAGE_SIZE, MessageKind, PASSWD_CHUNK, tell } from "./protocol.ts";

const chunk = buffer("passwd", MESSAGE_SIZE + PASSWD_CHUNK);
const file = slot("file");
const length = slot("length");

/** Sends the container's /etc/passwd in pieces, so that the parent can look up HOME. An empty piece ends it. */
function passwdOps(arch: Arch): readonly Op[] {
  const O = openFlag(arch);
  const size = slot("message size");
  const send: readonly Op[] = [
    { op: "add", left: length, right: MESSAGE_SIZE, out: size },
    call("sendto", [fixedFd("sync"), chunk, size, MsgFlag.MSG_NOSIGNAL, 0, 0]),
  ];
  return [
    store(chunk, 4, MessageKind.passwd),
    // Nonblocking, because the file may be a fifo.
    call("openat", [AT_FDCWD, "/etc/passwd", O.O_NONBLOCK | O.O_NOCTTY | O.O_CLOEXEC, 0], {
      out: file,
      endStepOn: ["*"],
    }),
    {
      op: "repeat",
      body: [
        call("read", [file, at(chunk, MESSAGE_SIZE), PASSWD_CHUNK], {
          out: length,
          onError: [{ errnos: ["*"], ops: [{ op: "add", left: 0, right: 0, out: length }] }],
        }),
        ...send,
      ],
      until: { left: length, right: 0 },
    },
    call("close", [file]),
  ];
}

/** `needsHome`: the parent fills in the last entry of the environment. */
export function readySteps(options: { needsHome: boolean; arch: Arch }): readonly Step[] {
  if (!options.needsHome) return [step("tell the parent that all is set up", "", [tell("ready"), ...awaitGo()])];
  // "HOME" as one little-endian word.
  const prefix = [..."HOME"].reduce((sum, letter, index) => sum + (letter.charCodeAt(0) << (8 * index)), 0);
  return [
    step("send /etc/passwd to the parent, who looks for the user's home", "/process/env", passwdOps(options.arch)),
    step("tell the parent that all is set up, get HOME", "/process/env", [
      store(homeEntry, 4, prefix),
      store(at(homeEntry, 4), 1, "=".charCodeAt(0)),
      tell("ready"),
      ...awaitGo(at(homeEntry, 5), HOME_LIMIT),
    ]),
  ];
}
