/**
 * Copies bytes from one descriptor to another, a limited number at a time, as ops of the monitor. Pure.
 *
 * A stream loses no bytes and does not block. A sink that accepts nothing stops only the reading of its own source.
 *
 * @module
 */

import type { IoMode } from "../../../ffi/channel.ts";
import { MsgFlag, SpliceFlag } from "../../../ffi/constants.ts";
import { Errno } from "../../../ffi/errno.ts";
import { buffer, call, set, slot, when, whenFailed } from "../../../plan/build.ts";
import type { FixedFd, Op, Slot } from "../../../plan/op.ts";
import { PollEvent, type Row } from "./poll_table.ts";

/** One end of a stream. */
export interface End {
  readonly fd: FixedFd;
  readonly manner: IoMode;
}

/** One direction of a process's stdio. */
export interface Stream {
  readonly name: string;
  readonly source: End;
  readonly sink: End;
  /** Run when no more bytes can pass: the source has ended, or the sink rejects bytes. */
  readonly finish: readonly Op[];
  /** A counter, reduced by the bytes read. */
  readonly left?: Slot;
}

/**
 * How many bytes to copy at once. A sink that may block gets only what a pipe that polls as writable accepts without
 * blocking (PIPE_BUF, pipe(7)). Each stream's memory counts, because the monitor lives as long as its container.
 */
const chunkSize = ({ sink }: Stream) => sink.manner === "blocking" ? 4096 : 8192;
/** Splicing between pipes copies no bytes: the default capacity of a pipe. */
const SPLICE_SIZE = 64 * 1024;

const result = slot("result");
const last = slot("last");
const how = { out: result, tolerate: ["*"] } as const;

/** Number of bytes waiting for the sink. */
const pendingOf = ({ name }: Stream) => slot(`${name} pending`);
/** 1 if bytes in a source pipe wait for the sink pipe. */
const atSinkOf = ({ name }: Stream) => slot(`${name} waits for sink`);

const memoryOf = (stream: Stream) => buffer(`${stream.name} bytes`, chunkSize(stream));

function readOp(stream: Stream): Op {
  const { fd, manner } = stream.source;
  const [memory, size] = [memoryOf(stream), chunkSize(stream)];
  return manner === "socket"
    ? call("recvfrom", [fd, memory, size, MsgFlag.MSG_DONTWAIT, 0, 0], how)
    : call("read", [fd, memory, size], how);
}

function writeOp(stream: Stream): Op {
  const { sink: { fd, manner } } = stream;
  const bytes = [slot(`${stream.name} from`), pendingOf(stream)];
  return manner === "socket"
    ? call("sendto", [fd, ...bytes, MsgFlag.MSG_DONTWAIT | MsgFlag.MSG_NOSIGNAL, 0, 0], how)
    : call("write", [fd, ...bytes], how);
}

/** Reduces the counter by the bytes read, `result`. */
const countDown = ({ left }: Stream): readonly Op[] =>
  left === undefined ? [] : [{ op: "sub", left, right: result, out: left }];

/** Reads once. 0 is the end of the stream, and so is an error. */
function fill(stream: Stream, row: Row): readonly Op[] {
  const { name, sink } = stream;
  const filled = [set(pendingOf(stream), result), set(slot(`${name} from`), memoryOf(stream))];
  return [
    readOp(stream),
    when(result, "!=", -Errno.EAGAIN, [
      { op: "add", left: result, right: -1, out: last },
      ...whenFailed(last, stream.finish, [
        ...filled,
        ...countDown(stream),
        ...(sink.manner === "blocking" ? row.watch(sink.fd, PollEvent.POLLOUT) : []),
      ]),
    ]),
  ];
}

/** Writes once. An error, mostly EPIPE, means that the reader is gone. */
function flush(stream: Stream, row: Row): readonly Op[] {
  const { name, source, sink } = stream;
  const [pending, from] = [pendingOf(stream), slot(`${name} from`)];
  const wait = row.watch(sink.fd, PollEvent.POLLOUT);
  return [
    writeOp(stream),
    when(result, "==", -Errno.EAGAIN, wait, [
      ...whenFailed(result, [set(pending, 0), ...stream.finish], [
        { op: "sub", left: pending, right: result, out: pending },
        { op: "add", left: from, right: result, out: from },
        when(pending, "==", 0, row.watch(source.fd, PollEvent.POLLIN), wait),
      ]),
    ]),
  ];
}

/**
 * Moves bytes from pipe to pipe. EAGAIN can come from the source or the sink: the one not polled this time is polled
 * next.
 */
function splice(stream: Stream, row: Row): readonly Op[] {
  const { source, sink, finish } = stream;
  const atSink = atSinkOf(stream);
  const waitForSource = [set(atSink, 0), ...row.watch(source.fd, PollEvent.POLLIN)];
  const flags = SpliceFlag.SPLICE_F_MOVE | SpliceFlag.SPLICE_F_NONBLOCK;
  return [
    call("splice", [source.fd, 0, sink.fd, 0, SPLICE_SIZE, flags], how),
    when(result, "==", -Errno.EAGAIN, [
      when(atSink, "==", 0, [set(atSink, 1), ...row.watch(sink.fd, PollEvent.POLLOUT)], waitForSource),
    ], [
      { op: "add", left: result, right: -1, out: last },
      ...whenFailed(last, finish, [...countDown(stream), ...waitForSource]),
    ]),
  ];
}

/** Whether both ends are pipes. */
const isSpliced = ({ source, sink }: Stream) => source.manner === "pipe" && sink.manner === "pipe";

/**
 * If the row's descriptor is ready, reads or writes as much as possible now. The row polls the source, or the sink
 * while bytes are pending.
 */
export function advance(stream: Stream, row: Row): readonly Op[] {
  if (isSpliced(stream)) return row.whenReady(splice(stream, row));
  const pending = pendingOf(stream);
  const ops = stream.sink.manner === "blocking"
    ? [when(pending, "==", 0, fill(stream, row), flush(stream, row))]
    : [when(pending, "==", 0, fill(stream, row)), when(pending, "!=", 0, flush(stream, row))];
  return row.whenReady(ops);
}

/** Runs `ops` if no bytes wait for the sink. */
export const whenFlushed = (stream: Stream, ops: readonly Op[]): Op =>
  when(isSpliced(stream) ? atSinkOf(stream) : pendingOf(stream), "==", 0, ops);
