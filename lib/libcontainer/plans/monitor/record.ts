/**
 * What a monitor does besides copying and reaping: it records how its process ended, and it leaves its caller. Pure.
 *
 * @module
 */

import { AT_FDCWD, Clock, openFlag } from "../../../ffi/constants.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { at, buffer, bytes, call, fixedFd, set, slot, step, store, whenFailed } from "../../../plan/build.ts";
import type { Op, Operand, Step } from "../../../plan/op.ts";
import { RECORD_BY_MONITOR, RECORD_HEAD, RECORD_TEXT, recordOffsets } from "../../state/exit_record.ts";

/** A record to write. The file is open as the fixed descriptor `exit record`. */
export interface RecordRequest {
  /** The cgroup's file that counts OOM kills. */
  readonly oomFile?: string;
}

/** Writes the record of a process that has just been reaped. `status`: from wait4(2). Every failure is tolerated. */
export function recordExit(arch: Arch, { oomFile }: RecordRequest, status: Operand): readonly Op[] {
  const record = buffer("exit record", RECORD_HEAD + RECORD_TEXT);
  const length = slot("length of the record");
  const file = fixedFd("exit record");
  return [
    store(at(record, recordOffsets.status), 4, status),
    store(at(record, recordOffsets.by), 4, RECORD_BY_MONITOR),
    call("clock_gettime", [Clock.CLOCK_REALTIME, at(record, recordOffsets.time)], { tolerate: ["*"] }),
    set(length, 0),
    ...(oomFile === undefined ? [] : readInto(arch, oomFile)),
    { op: "add", left: length, right: RECORD_HEAD, out: length },
    // One write: a reader sees all of it, or an empty file.
    call("write", [file, record, length], { tolerate: ["*"] }),
    // The lock on it ends here: no more will come.
    call("close", [file], { tolerate: ["*"] }),
  ];

  function readInto(arch: Arch, path: string): readonly Op[] {
    const O = openFlag(arch);
    const opened = slot("OOM file");
    return [
      call("openat", [AT_FDCWD, path, O.O_CLOEXEC, 0], { out: opened, tolerate: ["*"] }),
      ...whenFailed(opened, [], [
        call("read", [opened, at(record, recordOffsets.oom), RECORD_TEXT], { out: length, tolerate: ["*"] }),
        ...whenFailed(length, [set(length, 0)]),
        call("close", [opened], { tolerate: ["*"] }),
      ]),
    ];
  }
}

/**
 * Makes the monitor a process of its own: its caller does not wait for it, the caller's terminal does not reach it, and
 * it keeps neither its caller's streams nor its directory. Then tells the caller, by the eventfd that is the fixed
 * descriptor `started`, that the container has a supervisor.
 */
export function leaveCaller(arch: Arch): Step {
  const O = openFlag(arch);
  const nothing = slot("/dev/null");
  const started = fixedFd("started");
  const one = bytes(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), "1");
  return step("leave the caller: begin a session, in /, with /dev/null as streams, and tell it", "", [
    call("setsid", [], { tolerate: ["*"] }),
    call("chdir", ["/"], { tolerate: ["*"] }),
    call("openat", [AT_FDCWD, "/dev/null", O.O_RDWR | O.O_CLOEXEC, 0], { out: nothing, tolerate: ["*"] }),
    ...whenFailed(nothing, [0, 1, 2].map((fd) => call("close", [fd], { tolerate: ["*"] })), [
      ...[0, 1, 2].map((fd) => call("dup3", [nothing, fd, 0], { tolerate: ["*"] })),
      call("close", [nothing], { tolerate: ["*"] }),
    ]),
    call("write", [started, one, 8], { tolerate: ["*"] }),
    call("close", [started], { tolerate: ["*"] }),
  ]);
}
