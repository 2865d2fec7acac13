/**
 * The sd_notify proxy as ops of the monitor. ../../launch/notify.ts does the same for a container started in the
 * background. Pure.
 *
 *     container ──READY=1──▶ <state directory>/notify/notify.sock
 *     monitor   ──READY=1, MAINPID=<pid>, BARRIER=1 with a pipe's write end──▶ the manager's $NOTIFY_SOCKET
 *     manager   ──closes the pipe: everything before is done──▶ monitor
 *
 * @see sd_notify(3), sd_notify_barrier(3)
 * @module
 */

import { MsgFlag, openFlag } from "../../../ffi/constants.ts";
import { Errno } from "../../../ffi/errno.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import {
  at,
  buffer,
  bytes,
  call,
  fixedFd,
  load,
  set,
  slot,
  store,
  text,
  when,
  whenFailed,
} from "../../../plan/build.ts";
import type { CallOp, Op } from "../../../plan/op.ts";
import { sendFdOps } from "../../steps/console.ts";
import { errnoOf, type Reexec, say } from "./reexec.ts";
import { PollEvent, type Row } from "./poll_table.ts";

/**
 * How long the manager may take, in ms: notify_socket.go @ runc v1.5.1. A manager that does not know barriers never
 * answers.
 */
export const BARRIER_TIMEOUT_MS = 30_000;

/** A longer datagram is cut, like in runc: a valid one is a few short assignments. */
export const DATAGRAM_LIMIT = 4096;

/** The message to the manager. */
export interface NotifyRequest {
  /** The manager's `struct sockaddr_un`. */
  readonly address: Uint8Array;
  /** The address as text, for messages. */
  readonly name: string;
  /** The process that the manager supervises from READY on: the monitor's own pid. */
  readonly mainPid: number;
}

const AF_UNIX = 1, SOCK_DGRAM = 2, SOCK_CLOEXEC = 0o2000000;
const NEWLINE = 0x0a;
/** `READ` and `Y=` as little-endian numbers. */
const READ = 0x44414552, Y_EQUALS = 0x3d59;

const result = slot("result");
const from = slot("line"), end = slot("line end"), last = slot("datagram end");
const length = slot("length");
const isTold = slot("manager is told");
const byte = slot("byte");
const manager = slot("manager");
const problem = slot("problem");
const barrier = slot("barrier");
const writeEnd = slot("barrier write end");

/**
 * The address of the time left for the manager to confirm, or 0 if nothing is outstanding. The monitor waits for the
 * confirmation before it ends.
 */
export const awaited = slot("awaited");

/** Space for a newline after a datagram, and for reading six bytes at its end. */
const datagram = buffer("datagram", DATAGRAM_LIMIT + 8);
/** `struct timespec`; ppoll(2) updates it with the time left. */
const barrierTime = buffer("time for the barrier", 16);
const pair = buffer("barrier pipe", 8);

/**
 * Searches all lines for one that begins with `READY=`: sd_notify(3). If there is one, runs `found` with the line
 * between `line` and `line end`.
 */
function findReady(found: readonly Op[]): readonly Op[] {
  const second = slot("second half");
  const isOver = slot("search is over");
  const over = set(isOver, 1);
  return [
    set(from, datagram),
    { op: "add", left: from, right: length, out: last },
    // So that the last line ends with a newline too.
    store(last, 1, NEWLINE),
    set(isOver, 0),
    {
      op: "repeat",
      body: [
        set(end, from),
        {
          op: "repeat",
          body: [load(end, 1, byte), { op: "add", left: end, right: 1, out: end }],
          until: { left: byte, right: NEWLINE },
        },
        load(from, 4, result),
        { op: "add", left: from, right: 4, out: second },
        load(second, 2, second),
        when(result, "==", READ, [when(second, "==", Y_EQUALS, [over, ...found])]),
        set(from, end),
        { op: "add", left: last, right: 1, out: second },
        when(from, "==", second, [over]),
      ],
      until: { left: isOver, right: 1 },
    },
  ];
}

/** Makes the calls in order, then `then`. If one fails, the rest is skipped and `problem` becomes −errno. */
function inOrder(calls: readonly CallOp[], then: readonly Op[]): readonly Op[] {
  const [first, ...rest] = calls;
  if (first === undefined) return then;
  const out = first.out ?? result;
  return [{ ...first, out, tolerate: ["*"] }, ...whenFailed(out, [set(problem, out)], inOrder(rest, then))];
}

/** The ops for one service manager. */
export class NotifySteps {
  readonly #request: NotifyRequest;
  readonly #again: Reexec;
  readonly #arch: Arch;
  readonly #rows: { readonly container: Row; readonly barrier: Row };

  /** `rows`: those of the descriptor `notify` and of the barrier. */
  constructor(
    request: NotifyRequest,
    options: { again: Reexec; arch: Arch; rows: { container: Row; barrier: Row } },
  ) {
    this.#request = request;
    this.#again = options.again;
    this.#arch = options.arch;
    this.#rows = options.rows;
  }

  /**
   * Handles received messages. Passes on the first READY; reads and drops the rest, so that the container does not
   * block.
   */
  react(): readonly Op[] {
    const { container, barrier: row } = this.#rows;
    const confirmed = [
      call("read", [barrier, pair, 1], { out: result, tolerate: ["*"] }),
      when(result, "==", 1, say(this.#again, "warning", "unexpected read from synchronization pipe")),
      ...this.#lowerBarrier(),
    ];
    return [
      ...row.whenReady(confirmed),
      ...container.whenReady([
        // Received descriptors are the container's own barrier. No buffer takes them, so the kernel closes them.
        call("recvfrom", [fixedFd("notify"), datagram, DATAGRAM_LIMIT, MsgFlag.MSG_DONTWAIT, 0, 0], {
          out: length,
          tolerate: ["*"],
        }),
        // A socket that cannot be read stays ready, so it is not waited for any more.
        ...whenFailed(length, [when(length, "!=", -Errno.EAGAIN, container.ignore())], [
          when(isTold, "==", 0, findReady([set(isTold, 1), ...this.#tell()])),
        ]),
      ]),
    ];
  }

  /** For a manager that does not know barriers and never answers. */
  timedOut(): readonly Op[] {
    return [
      ...say(this.#again, "warning", "Timeout after waiting 30s for barrier. Ignored."),
      ...this.#lowerBarrier(),
    ];
  }

  #lowerBarrier(): readonly Op[] {
    return [call("close", [barrier], { tolerate: ["*"] }), ...this.#rows.barrier.ignore(), set(awaited, 0)];
  }

  #tell(): readonly Op[] {
    const { address, mainPid } = this.#request;
    const mainPidLine = `MAINPID=${mainPid}\n`;
    const O = openFlag(this.#arch);
    const size = slot("line length");
    const tell = [
      call("socket", [AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0], { out: manager }),
      call("connect", [manager, bytes(address, JSON.stringify(this.#request.name)), address.length]),
      call("sendto", [manager, from, size, MsgFlag.MSG_NOSIGNAL, 0, 0]),
      call("sendto", [manager, text(mainPidLine), mainPidLine.length, MsgFlag.MSG_NOSIGNAL, 0, 0]),
      call("pipe2", [pair, O.O_CLOEXEC]),
    ];
    return [
      { op: "sub", left: end, right: from, out: size },
      ...inOrder(tell, this.#raiseBarrier()),
      ...whenFailed(problem, this.#complain()),
      call("close", [manager], { tolerate: ["*"] }),
    ];
  }

  #raiseBarrier(): readonly Op[] {
    const [store, send] = sendFdOps(manager, writeEnd, "BARRIER=1") as [Op, CallOp];
    return [
      load(pair, 4, barrier),
      load(at(pair, 4), 4, writeEnd),
      store,
      ...inOrder([send], [
        ...this.#rows.barrier.watch(barrier, PollEvent.POLLIN),
        set(awaited, barrierTime),
        ...limitTime(),
      ]),
      ...whenFailed(problem, [call("close", [barrier], { tolerate: ["*"] })]),
      call("close", [writeEnd], { tolerate: ["*"] }),
    ];
  }

  /** An unreachable manager is only logged: the container works without it. */
  #complain(): readonly Op[] {
    const { ops, errno } = errnoOf(problem);
    const message = `cannot tell the service manager at ${JSON.stringify(this.#request.name)}: {errno}`;
    return [...ops, ...say(this.#again, "warning", message, errno)];
  }
}

function limitTime(): readonly Op[] {
  return [store(barrierTime, 8, BARRIER_TIMEOUT_MS / 1000), store(at(barrierTime, 8), 8, 0)];
}
