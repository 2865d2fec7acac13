/**
 * The monitor: what a foreground `run` or `exec` becomes as soon as its process runs, as a plan. Pure.
 *
 * It looks after the process until it has ended and its output has been passed on: forwards signals, copies the streams of its stdio, passes
 * READY on to the service manager, reaps, removes the container, ends with the process's status. One loop around one ppoll(2);
 * nothing else waits, so that a slow reader delays neither signals nor the other streams, but for the lock at the end.
 *
 * Nobody hears what it could report, so every call in the loop says what happens where it fails.
 *
 * @module
 */

import type { IoMode } from "../../../ffi/channel.ts";
import { AT_FDCWD, AtFlag, Flock, Ioctl, Prctl } from "../../../ffi/constants.ts";
import { Errno } from "../../../ffi/errno.ts";
import { Signal } from "../../../ffi/process/signals.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import {
  buffer,
  bytes,
  call,
  fixedFd,
  load,
  set,
  slot,
  step,
  store,
  struct,
  when,
  whenFailed,
} from "../../../plan/build.ts";
import type { Op, Plan, Slot } from "../../../plan/op.ts";
import { errnoOf, type Reexec, runAgain, say } from "./reexec.ts";
import { awaited, type NotifyRequest, NotifySteps } from "./notify.ts";
import { PollTable, type Row } from "./poll_table.ts";
import { advance, type End, type Stream, whenFlushed } from "./streams.ts";

/** How our own standard streams are read and written; a terminal has no stderr beside its stdout. */
type Manners<Name extends string> = Readonly<Record<Name, IoMode>>;

type Output = "stdout" | "stderr";

/**
 * The process's stdio, by fixed descriptors: our ends are `stdin`, `stdout` and `stderr`. `pipes`: its ends are `stdin pipe`, `stdout pipe` and
 * `stderr pipe`. `terminal`: its master is `master`, `slave` keeps it from hanging up, and ours is `host terminal`, raw by now, to be given back
 * `attributes` (the kernel's `struct termios`).
 */
export type MonitorStdio =
  | { readonly kind: "inherited" }
  | { readonly kind: "pipes"; readonly manners: Manners<"stdin" | "stdout" | "stderr"> }
  | {
    readonly kind: "terminal";
    readonly manners: Manners<"stdin" | "stdout">;
    readonly attributes: Uint8Array;
  };

/** What is to be done as soon as the process has been reaped; its last output may still be on the way. */
export type Removal =
  | { readonly kind: "none" }
  /** Directories of cgroups, and the state directory, which is open as the fixed descriptor `state directory`. Where one resists, the runtime is executed again. */
  | { readonly kind: "directories"; readonly cgroups: readonly string[]; readonly state: string }
  /** There is more to it: the runtime is executed again, with `options` beside its global ones. */
  | { readonly kind: "runtime"; readonly options?: readonly string[] };

/** What the monitor looks after. Signals that it forwards are blocked; `signals` is a signalfd(2) of them, `caught signals` has those that came before. */
export interface MonitorRequest {
  readonly arch: Arch;
  /** Our child, not reaped yet: until then the number is its own. */
  readonly pid: number;
  readonly stdio: MonitorStdio;
  /** The container's socket is the fixed descriptor `notify`. */
  readonly notify?: NotifyRequest;
  readonly removal: Removal;
  /** Its name below the runtime's root. */
  readonly id: string;
  readonly again: Reexec;
  /** Every forwarded signal is logged. */
  readonly debug: boolean;
}

const WNOHANG = 1;
/** include/uapi/linux/signalfd.h: `struct signalfd_siginfo` begins with the number. */
const SIGNAL_INFO_SIZE = 128;

const result = slot("result");
/** −errno where waiting or reading signals failed as it never does; 0 otherwise. */
const broken = slot("broken");
/** 1 once the process has been reaped. */
const hasEnded = slot("process has ended");
/** 1 where nothing was ready the last time that ppoll(2) did not wait. */
const isIdle = slot("nothing is ready");
/** 1 where a stream of output is at its end: nothing more of it is passed on. */
const isOver = (name: Output) => slot(`${name} is over`);
/** How many bytes of the process are in a pipe of output still: known once it has ended. */
const leftOf = (name: Output) => slot(`${name} left`);
/** The monitor's own. */
const status = slot("exit status");
/** Open since the container was made: by it the directory is told from another one of its name that is made after its removal. */
const stateDirectory = fixedFd("state directory");

const noTime = struct("{0, 0}", 16, []);

/** Rows of the poll table. Signals first: whatever happened before the process's end is then seen with that end, or before. */
const RowIndex = { signals: 0, notify: 1, barrier: 2, streams: 3 } as const;

/** The plan of a monitor. Its only process is the `stage`. */
export function planMonitor(request: MonitorRequest): Plan {
  return new Monitor(request).plan();
}

class Monitor {
  readonly #request: MonitorRequest;
  readonly #table: PollTable;
  readonly #streams: readonly Stream[];
  readonly #notify?: NotifySteps;

  constructor(request: MonitorRequest) {
    this.#request = request;
    const notify = request.notify === undefined ? undefined : fixedFd("notify");
    const streams = sources[request.stdio.kind];
    // The third row gets its descriptor when a barrier is raised.
    this.#table = new PollTable([fixedFd("signals"), notify, undefined, ...streams.map(fixedFd)]);
    this.#streams = streamsOf(request.stdio, streams.map((_, index) => this.#row(RowIndex.streams + index)));
    if (request.notify !== undefined) {
      const rows = { container: this.#row(RowIndex.notify), barrier: this.#row(RowIndex.barrier) };
      this.#notify = new NotifySteps(request.notify, { ...request, rows });
    }
  }

  #row(index: number): Row {
    return this.#table.row(index);
  }

  plan(): Plan {
    const { debug, pid, stdio, notify, removal } = this.#request;
    const duties = [
      `forward signals to process ${pid}`,
      debug && "log them",
      stdio.kind !== "inherited" && "copy its streams",
      notify !== undefined && "pass READY on",
      "reap it",
      removal.kind !== "none" && "remove its container",
      "exit with its status",
    ];
    return {
      stage: [
        step("take the process name runc", "", [
          call("prctl", [Prctl.PR_SET_NAME, "runc", 0, 0, 0], { tolerate: ["*"] }),
        ]),
        step(
          "raise again the signals that the runtime has caught, close their pipe and raise SIGCHLD",
          "",
          raiseAgain(),
        ),
        step(duties.filter((duty) => duty !== false).join(", "), "", [
          { op: "repeat", body: this.#turn(), until: { left: 0, right: 1 } },
        ]),
      ],
      init: [],
    };
  }

  /** Waits once, and deals with all that was there. */
  #turn(): readonly Op[] {
    return [
      ...this.#wait(),
      ...whenFailed(result, [when(result, "!=", -Errno.EINTR, [set(broken, result)])], this.#react()),
      when(broken, "!=", 0, this.#giveUp()),
    ];
  }

  /** READY and output count before the end. */
  #react(): readonly Op[] {
    return [
      ...this.#row(RowIndex.signals).whenReady(this.#takeSignal()),
      ...this.#notify?.react() ?? [],
      ...this.#streams.flatMap((stream, index) => advance(stream, this.#row(RowIndex.streams + index))),
      when(hasEnded, "==", 1, [...this.#finishOutput(), when(isIdle, "==", 1, this.#endIfOver())]),
    ];
  }

  /** After the process's end what is still there is taken first, without waiting, until nothing is. */
  #wait(): readonly Op[] {
    const timeout = slot("timeout");
    return [
      set(timeout, awaited),
      when(hasEnded, "==", 1, [when(isIdle, "==", 0, [set(timeout, noTime)])]),
      call("ppoll", [this.#table.data, this.#table.count, timeout, 0, 0], { out: result, tolerate: ["*"] }),
      set(isIdle, 0),
      when(result, "==", 0, [
        set(isIdle, 1),
        // Only the manager has a limit, and it counts only where it was waited for.
        ...(this.#notify === undefined
          ? []
          : [when(awaited, "!=", 0, [when(timeout, "==", awaited, this.#notify.timedOut())])]),
      ]),
    ];
  }

  /** Ends after an unexpected errno, −`broken`: another try could go on for ever. The process is left as it is. */
  #giveUp(): readonly Op[] {
    const { pid, again } = this.#request;
    const { ops, errno } = errnoOf(broken);
    return [
      ...ops,
      ...this.#restore(),
      ...say(again, "error", `cannot monitor process ${pid} any more, it goes on alone: {errno}`, errno),
      call("exit_group", [1]),
    ];
  }

  #takeSignal(): readonly Op[] {
    const info = buffer("signal", SIGNAL_INFO_SIZE);
    const signal = slot("signal");
    const terminal = this.#request.stdio.kind === "terminal";
    return [
      call("read", [fixedFd("signals"), info, SIGNAL_INFO_SIZE], { out: result, tolerate: ["*"] }),
      when(result, "==", SIGNAL_INFO_SIZE, [
        load(info, 4, signal),
        when(signal, "==", Signal.SIGCHLD, this.#reap(), [
          when(signal, "==", Signal.SIGWINCH, terminal ? this.#resize() : [], [
            when(hasEnded, "==", 0, this.#forward()),
            ...(terminal ? [when(signal, "==", Signal.SIGINT, this.#interrupted())] : []),
          ]),
        ]),
      ], [when(result, "!=", -Errno.EAGAIN, [set(broken, result)])]),
    ];
  }

  #forward(): readonly Op[] {
    const { pid, again, debug } = this.#request;
    const signal = slot("signal");
    const { ops, errno } = errnoOf(result);
    return [
      ...(debug ? say(again, "debug", `forwarding signal {signal} to ${pid}`, signal) : []),
      call("kill", [pid, signal], { out: result, tolerate: ["*"] }),
      ...whenFailed(result, [
        ...ops,
        ...say(again, "error", `cannot send signal {signal} to process ${pid}: {errno}`, signal, errno),
      ]),
    ];
  }

  /** As runc does it (tty.go @ v1.5.1, handleInterrupt): the terminal is restored, the process has got the signal and may live on. */
  #interrupted(): readonly Op[] {
    return [...this.#restore(), call("exit_group", [0])];
  }

  /** Either terminal may be gone (SIGHUP comes then too); a wrong size is no reason to end. */
  #resize(): readonly Op[] {
    const size = buffer("window size", 8);
    const { again, debug } = this.#request;
    const { ops, errno } = errnoOf(result);
    const complain = debug
      ? [...ops, ...say(again, "debug", "cannot resize the container's terminal: {errno}", errno)]
      : [];
    return [
      call("ioctl", [fixedFd("host terminal"), Ioctl.TIOCGWINSZ, size], { out: result, tolerate: ["*"] }),
      ...whenFailed(result, complain, [
        call("ioctl", [fixedFd("master"), Ioctl.TIOCSWINSZ, size], { out: result, tolerate: ["*"] }),
        ...(debug ? whenFailed(result, complain) : []),
      ]),
    ];
  }

  #restore(): readonly Op[] {
    const { stdio } = this.#request;
    if (stdio.kind !== "terminal") return [];
    // A terminal that is gone has nothing to restore.
    const attributes = bytes(stdio.attributes, "{as before}");
    return [call("ioctl", [fixedFd("host terminal"), Ioctl.TCSETS, attributes], { tolerate: ["*"] })];
  }

  /** Reaps every child that has ended: ours, and as a subreaper the container's orphans. */
  #reap(): readonly Op[] {
    const child = slot("ended child");
    const wait = buffer("status", 8);
    return [{
      op: "repeat",
      body: [
        call("wait4", [-1, wait, WNOHANG, 0], { out: child, onError: [{ errnos: ["*"], ops: [set(child, 0)] }] }),
        when(child, "==", this.#request.pid, [
          load(wait, 4, result),
          ...shellStatus(),
          set(hasEnded, 1),
          set(isIdle, 0),
          ...this.#stopInput(),
          ...this.#remove(),
          ...this.#countOutput(),
        ]),
      ],
      until: { left: child, right: 0 },
    }];
  }

  /** Bytes for the process, which nobody reads any more. */
  #stopInput(): readonly Op[] {
    return this.#streams.find(({ name }) => name === "stdin")?.finish ?? [];
  }

  /**
   * How much is in the pipes of output: all that the process has written is passed on, and nobody who has inherited a pipe from it is waited for.
   * A pipe that is closed by now has nothing.
   */
  #countOutput(): readonly Op[] {
    const count = buffer("bytes in a pipe", 8);
    return this.#outputPipes().flatMap(({ source, left }) => [
      call("ioctl", [source.fd, Ioctl.FIONREAD, count], { tolerate: ["*"] }),
      load(count, 4, left),
    ]);
  }

  /** Once the process has ended: a pipe of output is over as soon as as many bytes have come through as it left, or no more come. */
  #finishOutput(): readonly Op[] {
    return this.#outputPipes().map(({ isOver, left, stream }) =>
      when(isOver, "==", 0, [
        whenFlushed(stream, [
          when(isIdle, "==", 1, [set(left, 0)]),
          { op: "add", left, right: -1, out: result },
          ...whenFailed(result, stream.finish),
        ]),
      ])
    );
  }

  #outputPipes(): readonly {
    readonly isOver: Slot;
    readonly left: Slot;
    readonly source: End;
    readonly stream: Stream;
  }[] {
    if (this.#request.stdio.kind !== "pipes") return [];
    return outputs.pipes.map((name, index) => {
      const stream = this.#streams[index]!;
      return { isOver: isOver(name), left: leftOf(name), source: stream.source, stream };
    });
  }

  #remove(): readonly Op[] {
    const { removal, again, id, pid } = this.#request;
    const left = slot("something is left");
    const options = removal.kind === "runtime" ? removal.options ?? [] : [];
    // What goes wrong there is logged, and the process's status stays, as in runc.
    const byRuntime = runAgain(again, ["monitor", ...options, task, id, String(pid)], slot("removal failed"));
    switch (removal.kind) {
      case "none":
        return [];
      case "runtime":
        return byRuntime;
      case "directories":
        return [...removeAll(removal, left, this.#notify !== undefined), when(left, "==", 1, byRuntime)];
    }
  }

  /** Nothing is ready any more, and the process has ended. */
  #endIfOver(): readonly Op[] {
    const { kind } = this.#request.stdio;
    const end: readonly Op[] = [when(awaited, "==", 0, [...this.#restore(), call("exit_group", [status])])];
    return [
      // What is in a terminal by now is all.
      ...(kind === "terminal" ? [whenFlushed(this.#streams[0]!, [set(isOver("stdout"), 1)])] : []),
      ...outputs[kind].reduce((ops, name) => [when(isOver(name), "==", 1, ops)], end),
    ];
  }
}

/** Signals that came to other threads of the runtime are numbers in a pipe. Blocked by now, they wait for the descriptor. */
function raiseAgain(): readonly Op[] {
  const number = buffer("number", 8);
  const [self, signal] = [slot("own pid"), slot("signal")];
  return [
    call("getpid", [], { out: self }),
    {
      op: "repeat",
      body: [
        call("read", [fixedFd("caught signals"), number, 1], {
          out: result,
          onError: [{ errnos: ["*"], ops: [set(result, 0)] }],
        }),
        when(result, "==", 1, [load(number, 1, signal), call("kill", [self, signal], { tolerate: ["*"] })]),
      ],
      until: { left: result, right: 0 },
    },
    call("close", [fixedFd("caught signals")], { tolerate: ["*"] }),
    // A thread that has taken a signal and has been ended before it could tell of it is all that loses one. Losing this one would be for ever.
    call("kill", [self, Signal.SIGCHLD], { tolerate: ["*"] }),
  ];
}

/** From a wait status in `result` to what a shell reports: the code, or 128 + the signal's number. WIFSIGNALED, WTERMSIG, wait(2) */
function shellStatus(): readonly Op[] {
  const signal = slot("signal");
  return [
    { op: "and", left: result, right: 0x7f, out: signal },
    { op: "shr", left: result, right: 8, out: status },
    { op: "and", left: status, right: 0xff, out: status },
    when(signal, "!=", 0, [{ op: "add", left: signal, right: 128, out: status }]),
  ];
}

/**
 * Removes cgroups, then the state, unless somebody else has done so: under the lock of state_store.ts, and only as long as there is a state.
 * `left` becomes 1 where something is left; missing is fine.
 */
function removeAll(
  { cgroups, state }: Removal & { kind: "directories" },
  left: Slot,
  hasNotify: boolean,
): readonly Op[] {
  const unlink = (path: string, flags: number) =>
    call("unlinkat", [AT_FDCWD, path, flags], {
      tolerate: ["ENOENT"],
      onError: [{ errnos: ["*"], ops: [set(left, 1)] }],
    });
  const removeDirectory = (path: string) => unlink(path, AtFlag.AT_REMOVEDIR);
  return [
    call("flock", [stateDirectory, Flock.LOCK_EX], { tolerate: ["*"] }),
    call("faccessat", [stateDirectory, "state.json", 0], { out: result, tolerate: ["*"] }),
    when(result, "==", 0, [
      ...cgroups.map(removeDirectory),
      ...(hasNotify ? [unlink(`${state}/notify/notify.sock`, 0), removeDirectory(`${state}/notify`)] : []),
      // Not before the rest is gone: without its state nobody could go on.
      when(left, "==", 0, [
        unlink(`${state}/state.json`, 0),
        // From here on nothing says whose it is but that we are at it.
        store(task, 4, TASK_DIRECTORY),
        removeDirectory(state),
      ]),
    ]),
    // With it the lock goes, which the runtime needs for what is left.
    call("close", [stateDirectory], { tolerate: ["*"] }),
  ];
}

/** What the runtime is executed again for: `end`, to remove the container; `dir`, to remove its directory, which has no state any more. */
const task = bytes(Uint8Array.of(0x65, 0x6e, 0x64, 0), "end");
/** `dir` as a little-endian word. */
const TASK_DIRECTORY = 0x00726964;

/** Where the bytes of each stream come from, in the order of {@link streamsOf}. */
const sources = {
  inherited: [],
  pipes: ["stdout pipe", "stderr pipe", "stdin"],
  terminal: ["master", "stdin"],
} as const satisfies Record<MonitorStdio["kind"], readonly string[]>;

/** Its streams of output: the first of its streams. */
const outputs = { inherited: [], pipes: ["stdout", "stderr"], terminal: ["stdout"] } as const satisfies Record<
  MonitorStdio["kind"],
  readonly Output[]
>;

/** The streams of a process's stdio. `rows`: of their sources. stdin is not waited for: it may never end. */
function streamsOf(stdio: MonitorStdio, rows: readonly Row[]): readonly Stream[] {
  const close = (name: string) => call("close", [fixedFd(name)], { tolerate: ["*"] });
  const end = (name: string, manner: IoMode) => ({ fd: fixedFd(name), manner });
  if (stdio.kind === "inherited") return [];
  if (stdio.kind === "pipes") {
    const { manners } = stdio;
    const output = (name: Output, index: number): Stream => ({
      name,
      left: leftOf(name),
      source: end(`${name} pipe`, "pipe"),
      sink: end(name, manners[name]),
      // Its next write raises SIGPIPE.
      finish: [...rows[index]!.ignore(), close(`${name} pipe`), set(isOver(name), 1)],
    });
    const isClosed = slot("stdin is closed");
    const input: Stream = {
      name: "stdin",
      source: end("stdin", manners.stdin),
      sink: end("stdin pipe", "pipe"),
      finish: [...rows[2]!.ignore(), when(isClosed, "==", 0, [set(isClosed, 1), close("stdin pipe")])],
    };
    return [output("stdout", 0), output("stderr", 1), input];
  }
  const { manners } = stdio;
  const hangUp = [close("master"), close("slave")];
  return [
    {
      name: "stdout",
      source: end("master", "nonblocking"),
      sink: end("stdout", manners.stdout),
      finish: [...rows.flatMap((row) => row.ignore()), ...hangUp, set(isOver("stdout"), 1)],
    },
    {
      name: "stdin",
      source: end("stdin", manners.stdin),
      sink: end("master", "nonblocking"),
      finish: rows[1]!.ignore(),
    },
  ];
}
