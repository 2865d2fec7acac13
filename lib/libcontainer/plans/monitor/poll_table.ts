/**
 * What the monitor waits for: rows of poll(2), which its ops change as they go on. Pure.
 *
 * @module
 */

import { at, load, slot, store, struct, when } from "../../../plan/build.ts";
import type { FixedFd, Op, Operand, Struct } from "../../../plan/op.ts";

/** Events of poll(2) that are waited for. Errors and the other side's end are told without being asked for. */
export const PollEvent = { POLLIN: 1, POLLOUT: 4 } as const;

/** One `struct pollfd`: int fd, short events, short revents. A negative descriptor is not looked at. */
export interface Row {
  /** From now on this is waited for. */
  watch(fd: Operand, events: number): readonly Op[];
  /** From now on nothing is, and what happened in this turn is forgotten. */
  ignore(): readonly Op[];
  /** Runs `ops` where what was waited for has happened. */
  whenReady(ops: readonly Op[]): readonly Op[];
}

const ROW_SIZE = 8, EVENTS = 4, REVENTS = 6;
const revents = slot("revents");

/** `struct pollfd[]`. Pure: two tables share nothing. */
export class PollTable {
  readonly data: Struct;
  readonly count: number;

  /** `fds`: what is waited for to be readable in the beginning, a row each; none of its own where undefined. */
  constructor(fds: readonly (FixedFd | undefined)[]) {
    this.count = fds.length;
    this.data = struct(
      "{rows of what is waited for}",
      ROW_SIZE * fds.length,
      fds.flatMap((fd, index) => [
        { at: ROW_SIZE * index, size: 4, value: fd ?? -1 },
        { at: ROW_SIZE * index + EVENTS, size: 2, value: PollEvent.POLLIN },
      ]),
    );
  }

  row(index: number): Row {
    const field = (offset: number) => at(this.data, ROW_SIZE * index + offset);
    // Four bytes: the revents behind the events become 0.
    const set = (fd: Operand, events: number) => [store(field(0), 4, fd), store(field(EVENTS), 4, events)];
    return {
      watch: set,
      ignore: () => set(-1, 0),
      whenReady: (ops) => [load(field(REVENTS), 2, revents), when(revents, "!=", 0, ops)],
    };
  }
}
