/**
 * How a container's first process ended: the file in the state directory, and what is printed of it. Pure.
 *
 * The file has words that the monitor can write without decimal digits, little-endian:
 *
 * - 0: 4 bytes, the status as wait4(2) returns it
 * - 4: 4 bytes, who wrote the record: {@link RECORD_BY_MONITOR} or {@link RECORD_BY_KERNEL}
 * - 8: 8 and 8 bytes, the time of the end as a `struct timespec` of CLOCK_REALTIME; 0 if it is not known
 * - 24: the cgroup's file that counts OOM kills, as text; nothing if there was none
 *
 * An empty file stands for a process that has not ended, or whose monitor was killed.
 *
 * @module
 */

import { formatUtc } from "../../ffi/clock.ts";
import { signalNames } from "../../ffi/constants.ts";

/** The record's name in the state directory. */
export const EXIT_RECORD = "exit";
/** The size of a record before its text, and the largest text. */
export const RECORD_HEAD = 24, RECORD_TEXT = 1024;
/** The offsets of the fields in a record. */
export const recordOffsets = { status: 0, by: 4, time: 8, oom: RECORD_HEAD } as const;
/** The process's parent wrote the record: a monitor. */
export const RECORD_BY_MONITOR = 1;
/** Somebody else did, who has learned the status from the kernel. */
export const RECORD_BY_KERNEL = 2;

/** How a process ended. */
export interface Exit {
  /**
   * Who knows it: the `monitor`, which was its parent; the `kernel`, which keeps the status of a process for those that
   * watch it; `unknown`: nobody knows it any more, and all other fields are absent.
   */
  readonly source: "monitor" | "kernel" | "unknown";
  /** As a shell reports it: the exit code, or 128 + the signal's number. */
  readonly status?: number;
  /** The code that it exited with. */
  readonly code?: number;
  /** The name of the signal that ended it. */
  readonly signal?: string;
  /** Whether a signal made it dump its core. */
  readonly coreDumped?: boolean;
  /** How many processes of the container were killed for lack of memory. Absent without a memory cgroup. */
  readonly oomKills?: number;
  /** When it ended: RFC 3339, UTC. */
  readonly endedAt?: string;
}

/** What a record says. */
export interface ExitFacts {
  /** As wait4(2) returns it. */
  readonly waitStatus: number;
  readonly by: typeof RECORD_BY_MONITOR | typeof RECORD_BY_KERNEL;
  /** Since 1970. */
  readonly time?: { readonly seconds: number; readonly nanoseconds: number };
  readonly oomKills?: number;
}

/** Nobody knows how the process ended. */
export const UNKNOWN_EXIT: Exit = { source: "unknown" };

/** WIFSIGNALED, WTERMSIG, WEXITSTATUS and WCOREDUMP of wait(2). */
export function exitOf({ waitStatus, by, time, oomKills }: ExitFacts): Exit {
  const signal = waitStatus & 0x7f;
  const code = (waitStatus >> 8) & 0xff;
  return {
    source: by === RECORD_BY_MONITOR ? "monitor" : "kernel",
    ...(signal === 0 ? { status: code, code } : {
      status: 128 + signal,
      signal: signalNames[signal] ?? `SIG${signal}`,
      coreDumped: (waitStatus & 0x80) !== 0,
    }),
    ...(oomKills === undefined ? {} : { oomKills }),
    ...(time === undefined ? {} : { endedAt: formatUtc(time) }),
  };
}

/** The bytes of a record. */
export function encodeExit({ waitStatus, by, time, oomKills }: ExitFacts): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(oomKills === undefined ? "" : `oom_kill ${oomKills}\n`);
  const bytes = new Uint8Array(RECORD_HEAD + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(recordOffsets.status, waitStatus, true);
  view.setUint32(recordOffsets.by, by, true);
  view.setBigInt64(recordOffsets.time, BigInt(time?.seconds ?? 0), true);
  view.setBigInt64(recordOffsets.time + 8, BigInt(time?.nanoseconds ?? 0), true);
  bytes.set(text, recordOffsets.oom);
  return bytes;
}

/** The facts of a record. Undefined if it is not complete, or no record. */
export function decodeExit(bytes: Uint8Array<ArrayBuffer>): ExitFacts | undefined {
  if (bytes.length < RECORD_HEAD) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const by = view.getUint32(recordOffsets.by, true);
  if (by !== RECORD_BY_MONITOR && by !== RECORD_BY_KERNEL) return undefined;
  const seconds = Number(view.getBigInt64(recordOffsets.time, true));
  const nanoseconds = Number(view.getBigInt64(recordOffsets.time + 8, true));
  const isTime = seconds > 0 && seconds < 1e11 && nanoseconds >= 0 && nanoseconds < 1e9;
  const text = new TextDecoder().decode(bytes.subarray(recordOffsets.oom));
  const kills = /^oom_kill (\d+)$/m.exec(text)?.[1];
  return {
    waitStatus: view.getUint32(recordOffsets.status, true) & 0xffff,
    by,
    ...(isTime ? { time: { seconds, nanoseconds } } : {}),
    ...(kills === undefined ? {} : { oomKills: Number(kills) }),
  };
}
