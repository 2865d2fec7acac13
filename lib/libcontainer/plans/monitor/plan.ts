/**
 * The monitor as a plan: a foreground `run` or `exec` becomes it as soon as its process runs. Pure.
 *
 * It supervises the process until the process has ended and its output is passed on: it forwards signals, copies the
 * stdio streams, passes READY on to the service manager, reaps, removes the container, and exits with the process's
 * status. It is one loop around one ppoll(2). Besides the lock at the end only ppoll blocks, so a slow reader delays
 * neither signals nor the other streams.
 *
 * No process reads its reports, so every call in the loop handles its own failure.
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
import type { Bytes, Op, Plan, Slot, Step } from "../../../plan/op.ts";
import { EXIT_RECORD } from "../../state/exit_record.ts";
import { KNOWN } from "../../state/known_exec.ts";
import { RESIDENT } from "../../state/resident.ts";
import { errnoOf, type Reexec, runAgain, say } from "./reexec.ts";
import { awaited, type NotifyRequest, NotifySteps } from "./notify.ts";
import { PollTable, type Row } from "./poll_table.ts";
import { leaveCaller, recordExit, type RecordRequest } from "./record.ts";
import { advance, type End, type Stream, whenFlushed } from "./streams.ts";

/** How to read and write our own standard streams. A terminal has no separate stderr. */
type Manners<Name extends string> = Readonly<Record<Name, IoMode>>;

type Output = "stdout" | "stderr";

/**
 * The process's stdio, by fixed descriptors. Our ends are `stdin`, `stdout` and `stderr`. `pipes`: the process's ends
 * are `stdin pipe`, `stdout pipe` and `stderr pipe`. `terminal`: `master` is its master, and `slave` keeps it from
 * hanging up; `host terminal` is ours, already raw, and gets back `attributes` (the kernel's `struct termios`) at the
 * end.
 */
export type MonitorStdio =
  | { readonly kind: "inherited" }
  | { readonly kind: "pipes"; readonly manners: Manners<"stdin" | "stdout" | "stderr"> }
  | {
    readonly kind: "terminal";
    readonly manners: Manners<"stdin" | "stdout">;
    readonly attributes: Uint8Array;
  };

/** What to do once the process has been reaped; its last output may still be unread. */
export type Removal =
  | { readonly kind: "none" }
  /**
   * Remove these cgroup directories and the state directory, which is open as the fixed descriptor `state directory`.
   * If one cannot be removed, execute the runtime again.
   */
  | { readonly kind: "directories"; readonly cgroups: readonly string[]; readonly state: string }
  /** More is to be removed: execute the runtime again, with `options` besides its global ones. */
  | { readonly kind: "runtime"; readonly options?: readonly string[] };

/**
 * The process to supervise. The forwarded signals are blocked. `signals` is a signalfd(2) for them; `caught signals`
 * has those received before.
 */
export interface MonitorRequest {
  readonly arch: Arch;
  /** Our child. It is not reaped yet, so no other process can have the pid. A slot: a plan that is only printed. */
  readonly pid: number | Slot;
  /** The pid is in the first four bytes of this, and becomes the slot's value. */
  readonly pidWord?: Bytes;
  readonly stdio: MonitorStdio;
  /** The container's socket is the fixed descriptor `notify`. */
  readonly notify?: NotifyRequest;
  readonly removal: Removal;
  /** Record how the process ended. */
  readonly record?: RecordRequest;
  /**
   * The container is detached: the monitor leaves its caller, and forwards no signals. The fixed descriptor `started`
   * is an eventfd that tells the caller so.
   */
  readonly isDetached?: boolean;
  /** The container's directory name below the runtime's root. */
  readonly id: string;
  readonly again: Reexec;
  /** Log every forwarded signal. */
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
/** 1 if nothing was ready the last time that ppoll(2) did not block. */
const isIdle = slot("nothing is ready");
/** 1 if an output stream has ended: nothing more of it is passed on. */
const isOver = (name: Output) => slot(`${name} is over`);
/** How many bytes from the process are still in an output pipe: known once it has ended. */
const leftOf = (name: Output) => slot(`${name} left`);
/** The monitor's exit status. */
const status = slot("exit status");
/** Open since the container was created. It distinguishes the directory from a later one with the same name. */
const stateDirectory = fixedFd("state directory");

const noTime = struct("{0, 0}", 16, []);

/**
 * Rows of the poll table. Signals come first, so that events before the process's end are seen before it or with it.
 */
const RowIndex = { signals: 0, notify: 1, barrier: 2, streams: 3 } as const;

/** The plan of a monitor. It is a single process, the `stage`. */
export function planMonitor(request: MonitorRequest): Plan {
  return new Monitor(request).plan();
}

class Monitor {
  readonly #request: MonitorRequest;
  /** The process, in words. */
  readonly #who: string;
  readonly #table: PollTable;
  readonly #streams: readonly Stream[];
  readonly #notify?: NotifySteps;

  constructor(request: MonitorRequest) {
    this.#request = request;
    this.#who = typeof request.pid === "number" ? String(request.pid) : request.pid.slot;
    const notify = request.notify === undefined ? undefined : fixedFd("notify");
    const streams = sources[request.stdio.kind];
    // The third row gets its descriptor when a barrier is created.
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
    const { arch, debug, stdio, notify, removal, record, isDetached = false } = this.#request;
    const duties = [
      isDetached ? `wait for process ${this.#who}` : `forward signals to process ${this.#who}`,
      debug && !isDetached && "log them",
      stdio.kind !== "inherited" && "copy its streams",
      notify !== undefined && "pass READY on",
      "reap it",
      record !== undefined && "record how it ended",
      removal.kind !== "none" && "remove its container",
      "exit with its status",
    ];
    return {
      stage: [
        ...this.#readPid(),
        step("take the process name runc", "", [
          call("prctl", [Prctl.PR_SET_NAME, "runc", 0, 0, 0], { tolerate: ["*"] }),
        ]),
        ...(isDetached ? [leaveCaller(arch)] : []),
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

  #readPid(): readonly Step[] {
    const { pid, pidWord } = this.#request;
    if (pidWord === undefined || typeof pid === "number") return [];
    return [step("read the pid of the process", "", [load(pidWord, 4, pid)])];
  }

  /** Waits once, and handles all events. */
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

  /** After the process has ended, polls without blocking until nothing is left to read. */
  #wait(): readonly Op[] {
    const timeout = slot("timeout");
    return [
      set(timeout, awaited),
      when(hasEnded, "==", 1, [when(isIdle, "==", 0, [set(timeout, noTime)])]),
      call("ppoll", [this.#table.data, this.#table.count, timeout, 0, 0], { out: result, tolerate: ["*"] }),
      set(isIdle, 0),
      when(result, "==", 0, [
        set(isIdle, 1),
        // The wait has a limit only while the manager's answer is outstanding.
        ...(this.#notify === undefined
          ? []
          : [when(awaited, "!=", 0, [when(timeout, "==", awaited, this.#notify.timedOut())])]),
      ]),
    ];
  }

  /** Ends after an unexpected errno, −`broken`: another try could go on for ever. The process is left as it is. */
  #giveUp(): readonly Op[] {
    const { again } = this.#request;
    const { ops, errno } = errnoOf(broken);
    return [
      ...ops,
      ...this.#restore(),
      ...say(again, "error", `cannot monitor process ${this.#who} any more, it goes on alone: {errno}`, errno),
      call("exit_group", [1]),
    ];
  }

  #takeSignal(): readonly Op[] {
    const info = buffer("signal", SIGNAL_INFO_SIZE);
    const signal = slot("signal");
    const { isDetached = false } = this.#request;
    const terminal = this.#request.stdio.kind === "terminal";
    return [
      call("read", [fixedFd("signals"), info, SIGNAL_INFO_SIZE], { out: result, tolerate: ["*"] }),
      when(result, "==", SIGNAL_INFO_SIZE, [
        load(info, 4, signal),
        when(signal, "==", Signal.SIGCHLD, this.#reap(), [
          when(signal, "==", Signal.SIGWINCH, terminal ? this.#resize() : [], [
            ...(isDetached ? [] : [when(hasEnded, "==", 0, this.#forward())]),
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
      ...(debug ? say(again, "debug", `forwarding signal {signal} to ${this.#who}`, signal) : []),
      call("kill", [pid, signal], { out: result, tolerate: ["*"] }),
      ...whenFailed(result, [
        ...ops,
        ...say(again, "error", `cannot send signal {signal} to process ${this.#who}: {errno}`, signal, errno),
      ]),
    ];
  }

  /**
   * Like runc (tty.go @ v1.5.1, handleInterrupt): restores the terminal; the process has got the signal and may
   * continue.
   */
  #interrupted(): readonly Op[] {
    return [...this.#restore(), call("exit_group", [0])];
  }

  /** Either terminal may be gone (then SIGHUP comes too); a wrong size is no reason to end. */
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
    // A terminal that is gone needs no restoring.
    const attributes = bytes(stdio.attributes, "{as before}");
    return [call("ioctl", [fixedFd("host terminal"), Ioctl.TCSETS, attributes], { tolerate: ["*"] })];
  }

  /** Reaps all children that have ended: the process, and with a subreaper also the container's orphans. */
  #reap(): readonly Op[] {
    const { arch, record } = this.#request;
    const child = slot("ended child");
    const wait = buffer("status", 8);
    return [{
      op: "repeat",
      body: [
        call("wait4", [-1, wait, WNOHANG, 0], { out: child, onError: [{ errnos: ["*"], ops: [set(child, 0)] }] }),
        when(child, "==", this.#request.pid, [
          load(wait, 4, result),
          ...(record === undefined ? [] : recordExit(arch, record, result)),
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

  /** Drops bytes for the process, which has ended. */
  #stopInput(): readonly Op[] {
    return this.#streams.find(({ name }) => name === "stdin")?.finish ?? [];
  }

  /**
   * Counts the bytes in the output pipes: all that the process has written is passed on, but other processes that
   * inherited the pipes are not waited for. A closed pipe counts as empty.
   */
  #countOutput(): readonly Op[] {
    const count = buffer("bytes in a pipe", 8);
    return this.#outputPipes().flatMap(({ source, left }) => [
      call("ioctl", [source.fd, Ioctl.FIONREAD, count], { tolerate: ["*"] }),
      load(count, 4, left),
    ]);
  }

  /**
   * After the process has ended: an output pipe is over when all its counted bytes have been read, or when no more
   * come.
   */
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
    const { removal, record, again, id } = this.#request;
    const left = slot("something is left");
    const options = removal.kind === "runtime" ? removal.options ?? [] : [];
    // Its failure is logged, and the process's status stays, like in runc.
    const byRuntime = runAgain(again, ["monitor", ...options, task, id, this.#who], slot("removal failed"));
    switch (removal.kind) {
      case "none":
        return [];
      case "runtime":
        return byRuntime;
      case "directories":
        return [
          ...removeAll(removal, left, { hasNotify: this.#notify !== undefined, hasRecord: record !== undefined }),
          when(left, "==", 1, byRuntime),
        ];
    }
  }

  /** The end, when nothing is ready any more and the process has ended. */
  #endIfOver(): readonly Op[] {
    const { kind } = this.#request.stdio;
    const end: readonly Op[] = [when(awaited, "==", 0, [...this.#restore(), call("exit_group", [status])])];
    return [
      // A terminal gets no more output: what it has now is the rest.
      ...(kind === "terminal" ? [whenFlushed(this.#streams[0]!, [set(isOver("stdout"), 1)])] : []),
      ...outputs[kind].reduce((ops, name) => [when(isOver(name), "==", 1, ops)], end),
    ];
  }
}

/**
 * Signals that other threads of the runtime have received are numbers in a pipe. They are raised again: now blocked,
 * they wait for the signalfd.
 */
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
    // A signal is lost if a thread is ended between receiving it and writing its number. A lost SIGCHLD would never
    // come again, so it is always raised.
    call("kill", [self, Signal.SIGCHLD], { tolerate: ["*"] }),
  ];
}

/**
 * Converts a wait status in `result` to a shell's: the exit code, or 128 + the signal's number. WIFSIGNALED, WTERMSIG,
 * wait(2)
 */
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
 * Removes cgroups and the state if they still exist: under the lock of store.ts, and only while there is a state.
 * `left` becomes 1 if something could not be removed; missing files are fine.
 */
function removeAll(
  { cgroups, state }: Removal & { kind: "directories" },
  left: Slot,
  { hasNotify, hasRecord }: { readonly hasNotify: boolean; readonly hasRecord: boolean },
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
      // Last: without the state, a failed removal could not be continued.
      when(left, "==", 0, [
        ...(hasRecord ? [unlink(`${state}/${EXIT_RECORD}`, 0)] : []),
        unlink(`${state}/${KNOWN}`, 0),
        unlink(`${state}/${RESIDENT}`, 0),
        unlink(`${state}/state.json`, 0),
        // From here on only this process knows whose directory it is.
        store(task, 4, TASK_DIRECTORY),
        removeDirectory(state),
      ]),
    ]),
    // This releases the lock, which the runtime needs for the rest.
    call("close", [stateDirectory], { tolerate: ["*"] }),
  ];
}

/**
 * The task of the runtime executed again: `end` removes the container; `dir` removes its directory, which has no state
 * any more.
 */
const task = bytes(Uint8Array.of(0x65, 0x6e, 0x64, 0), "end");
/** `dir` as a little-endian word. */
const TASK_DIRECTORY = 0x00726964;

/** The sources of the streams, in the order of {@link streamsOf}. */
const sources = {
  inherited: [],
  pipes: ["stdout pipe", "stderr pipe", "stdin"],
  terminal: ["master", "stdin"],
} as const satisfies Record<MonitorStdio["kind"], readonly string[]>;

/** The output streams, which are the first streams. */
const outputs = { inherited: [], pipes: ["stdout", "stderr"], terminal: ["stdout"] } as const satisfies Record<
  MonitorStdio["kind"],
  readonly Output[]
>;

/**
 * The streams of a process's stdio. `rows`: of their sources. The monitor does not wait for the end of stdin, which may
 * never come.
 */
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
      // The process's next write raises SIGPIPE.
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
