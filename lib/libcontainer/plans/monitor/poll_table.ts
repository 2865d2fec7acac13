/**
 * The descriptors that the monitor polls: rows of poll(2), which its ops change at run time. Pure.
 *
 * @module
 */

import { at, load, slot, store, struct, when } from "../../../plan/build.ts";
import type { FixedFd, Op, Operand, Struct } from "../../../plan/op.ts";

/** Events of poll(2) to wait for. Errors and hang-ups are always reported. */
export const PollEvent = { POLLIN: 1, POLLOUT: 4 } as const;

/** One `struct pollfd`: int fd, short events, short revents. poll(2) ignores a negative descriptor. */
export interface Row {
  /** Waits for these events from now on. */
  watch(fd: Operand, events: number): readonly Op[];
  /** Waits for nothing from now on, and drops the events of this turn. */
  ignore(): readonly Op[];
  /** Runs `ops` if an awaited event has occurred. */
  whenReady(ops: readonly Op[]): readonly Op[];
}

const ROW_SIZE = 8, EVENTS = 4, REVENTS = 6;
const revents = slot("revents");

/** `struct pollfd[]`. Two tables share no memory. */
export class PollTable {
  readonly data: Struct;
  readonly count: number;

  /** `fds`: descriptors to wait for until readable at first, one row each; undefined: a row without a descriptor. */
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
    // Four bytes: this also clears the revents, which follow the events.
    const set = (fd: Operand, events: number) => [store(field(0), 4, fd), store(field(EVENTS), 4, events)];
    return {
      watch: set,
      ignore: () => set(-1, 0),
      whenReady: (ops) => [load(field(REVENTS), 2, revents), when(revents, "!=", 0, ops)],
    };
  }
}
