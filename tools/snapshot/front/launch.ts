/**
 * How the front starts a known exec: each verb of lib/libcontainer/plans/parent/exec.ts as ops, and what is taken back
 * where one of them fails. Until init executes the program, all of it can be done again: then the snapshot does.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, CloneFlag, MsgFlag, openFlag, statOffsets } from "../../../lib/ffi/constants.ts";
import { POLLIN } from "../../../lib/ffi/poll.ts";
import { caughtSignals, endingSignals } from "../../../lib/ffi/process/signals.ts";
import type { Awaited, Speaker } from "../../../lib/libcontainer/plans/parent/act.ts";
import {
  monitorNumbers,
  NAMESPACE_PATH,
  NAMESPACE_SIZE,
  OWN_NAMESPACE_PATH,
  RLIMIT_SIZE,
} from "../../../lib/libcontainer/state/known_exec.ts";
import { MESSAGE_SIZE, MessageKind, PASSWD_CHUNK } from "../../../lib/libcontainer/steps/protocol.ts";
import { at, buffer, bytes, call, load, set, slot, stack, store, text, when } from "../../../lib/plan/build.ts";
import type { Buffer, CallOp, Data, Op, Operand, Slot } from "../../../lib/plan/op.ts";
import { isAlive, lookAtInit, stat } from "./facts.ts";
import { entryNumber, findSection, forgetKnown, whenFlag } from "./known.ts";
import {
  add,
  advance,
  and,
  close,
  ignoreSignals,
  leave,
  need,
  readShortFile,
  repeatUntil,
  sub,
  whenLess,
  whenWord,
  wordOf,
  writeDigits,
} from "./ops.ts";
import { endPidFile, forgetPidFile, writePidFile } from "./pid_file.ts";
import { environment } from "./words.ts";

const O = openFlag("x86_64");
const statAt = statOffsets.x86_64;
const SIGKILL = 9, SIGCHLD = 17, LAST_SIGNAL = 64, SIG_BLOCK = 0, SIG_SETMASK = 2, SIGSET_SIZE = 8, SIGACTION_SIZE = 32;
const AF_UNIX = 1, SOCK_SEQPACKET = 5, SOL_SOCKET = 1, SO_PASSCRED = 16, SCM_CREDENTIALS = 2, SHUT_WR = 1;
/** include/uapi/linux/memfd.h, fcntl.h */
const MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2, MFD_EXEC = 0x10, F_DUPFD = 0, F_SETFL = 4, F_ADD_SEALS = 1033, SEALS = 15;
/** include/uapi/linux/sched.h: the parent waits until the child has executed its program. */
const CLONE_VFORK = 0x4000;
/** include/uapi/linux/wait.h */
const P_PIDFD = 3, WNOHANG = 1, WEXITED = 4, WNOWAIT = 0x01000000;

const [sync, theirs, proc] = [slot("sync"), slot("sync of the stage"), slot("proc")];
const [stage, stageFd, init, initFd] = [slot("stage"), slot("stage's pidfd"), slot("init of exec"), slot("its pidfd")];
const endings = slot("signals that end"), allSignals = slot("signals for the monitor");
const image = slot("image"), monitor = slot("monitor");
const streams = (["stdin", "stdout", "stderr"] as const).map((name) => ({
  name,
  theirs: slot(`their ${name}`),
  ours: slot(`our ${name}`),
}));
const numbered = Object.keys(monitorNumbers).map((name) => slot(`${name} of the monitor`));

/** The descriptors of an exec. Those of namespaces are in a table. */
export const execDescriptors: readonly Slot[] = [
  ...[sync, theirs, proc, stageFd, initFd, endings, allSignals, image, monitor],
  ...streams.flatMap(({ theirs, ours }) => [theirs, ours]),
  ...numbered,
];

const [address, size, number, fd] = [slot("address"), slot("size"), slot("number"), slot("descriptor")];
const [found, wanted, turns, result] = [slot("found"), slot("wanted"), slot("turns"), slot("result")];
const lowest = slot("lowest number");

/** A signal set of the kernel. */
function signalSet(signals: readonly number[]): Data {
  const set = new Uint8Array(SIGSET_SIZE);
  for (const signal of signals) set[(signal - 1) >> 3]! |= 1 << ((signal - 1) & 7);
  return bytes(set, signals.join(" "));
}

/** Whether signals are blocked, which are those of before, and whether argv begins with another name. */
const isBlocked = slot("signals are blocked"), maskBefore = buffer("signals blocked before", SIGSET_SIZE);
const nameBefore = slot("name of the program");

/** From here on, signals wait: those that end a command are looked at, the monitor forwards the others. */
const blockSignals: readonly Op[] = [
  call("rt_sigprocmask", [SIG_BLOCK, signalSet(caughtSignals), maskBefore, SIGSET_SIZE]),
  set(isBlocked, 1),
  ...ignoreSignals,
  // An ignored SIGCHLD would hide how children end. signal(7), wait(2)
  call("rt_sigaction", [SIGCHLD, noAction(), 0, SIGSET_SIZE]),
  call("signalfd4", [-1, signalSet(endingSignals), SIGSET_SIZE, O.O_NONBLOCK | O.O_CLOEXEC], { out: endings }),
];

function noAction(): Buffer {
  return buffer("no action", SIGACTION_SIZE);
}

/** Repeats `body` for each row of a section: {@link address} is its address. */
const forEachRow = (
  section: "rlimitTable" | "namespaceTable",
  rowSize: number,
  body: readonly Op[],
): readonly Op[] => [
  ...findSection(section, address, size),
  when(size, "!=", 0, [
    repeatUntil(
      [...whenLess(size, rowSize, [leave]), ...body, advance(address, rowSize), advance(size, -rowSize)],
      size,
      0,
    ),
  ]),
];

const MOST_NAMESPACES = 8;
/** The descriptors of the container's namespaces. */
const namespaceFds = buffer("descriptors of namespaces", 8 * MOST_NAMESPACES);
const row = slot("row");

/** The namespaces of init, each of which is another one than ours, as when the exec was kept. */
export const openNamespaces: readonly Op[] = [
  ...blockSignals,
  ...entryNumber("lowest", lowest),
  ...findSection("namespaceTable", address, size),
  ...whenLess(NAMESPACE_SIZE * MOST_NAMESPACES, size, [leave]),
  set(row, namespaceFds),
  ...forEachRow("namespaceTable", NAMESPACE_SIZE, [
    add(address, NAMESPACE_PATH, found),
    call("openat", [AT_FDCWD, found, O.O_CLOEXEC], { out: fd }),
    store(row, 8, fd),
    advance(row, 8),
    ...needLow(fd),
    call("fstat", [fd, stat]),
    load(at(stat, statAt.ino), 8, wanted),
    add(address, OWN_NAMESPACE_PATH, found),
    call("newfstatat", [AT_FDCWD, found, stat, 0]),
    load(at(stat, statAt.ino), 8, found),
    when(found, "==", wanted, [leave]),
  ]),
];

/** No descriptor may have a number that is given to another one for the stage. */
function needLow(fd: Slot): readonly Op[] {
  return [sub(lowest, 1, result), ...whenLess(result, fd, [leave])];
}

/** Init's pid may be another process's by now, and the namespaces with it. */
export const requireInit: readonly Op[] = [...lookAtInit, need(isAlive, 1)];

const pair = buffer("pair of descriptors", 8);
const loadPair = (first: Slot, second: Slot): readonly Op[] => [load(pair, 4, first), load(at(pair, 4), 4, second)];

/** Pipes that belong to the container's root. */
const makePipes: readonly Op[] = [
  ...entryNumber("uid", number),
  ...entryNumber("gid", found),
  ...streams.flatMap(({ name, theirs, ours }) => [
    call("pipe2", [pair, O.O_CLOEXEC]),
    ...(name === "stdin" ? loadPair(theirs, ours) : loadPair(ours, theirs)),
    call("fchown", [theirs, number, found]),
    call("fchown", [ours, number, found]),
    call("fcntl", [ours, F_SETFL, O.O_NONBLOCK]),
    ...needLow(theirs),
  ]),
];

/** A sealed file with the program of a section. `change`: before it is sealed. */
const makeProgram = (section: "image" | "monitor", out: Slot, change: readonly Op[] = []): readonly Op[] => [
  ...findSection(section, address, size),
  call("memfd_create", [`runc-${section === "image" ? "init" : section}`, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC], {
    out,
  }),
  call("write", [out, address, size], { out: result }),
  need(result, size),
  ...change,
  call("fcntl", [out, F_ADD_SEALS, SEALS]),
];

/** In the child, which shares this memory, a failure must not go on with the snapshot. */
const inChild = (name: Parameters<typeof call>[0], args: readonly (Operand | string)[]): Op =>
  call(name, args, { onError: [{ errnos: ["*"], ops: [call("exit_group", [127])] }] });

const giveNumber = (fd: Slot, name: "sync" | "proc"): readonly Op[] => [
  ...entryNumber(name, number),
  inChild("dup3", [fd, number, 0]),
];

/** `char *[]`, terminated by NULL. */
const stageArgv = buffer("arguments of the stage", 24), noStrings = buffer("no strings", 8);

/** As `posix_spawn` of the snapshot: every signal at its default, and none blocked. */
const becomeStage: readonly Op[] = [
  ...whenFlag("detached", [], streams.map(({ theirs }, target) => inChild("dup3", [theirs, target, 0]))),
  set(row, namespaceFds),
  ...forEachRow("namespaceTable", NAMESPACE_SIZE, [
    load(row, 8, fd),
    load(address, 4, number),
    inChild("dup3", [fd, number, 0]),
    advance(row, 8),
  ]),
  ...giveNumber(theirs, "sync"),
  ...giveNumber(proc, "proc"),
  set(turns, LAST_SIGNAL),
  repeatUntil(
    [call("rt_sigaction", [turns, noAction(), 0, SIGSET_SIZE], { tolerate: ["*"] }), advance(turns, -1)],
    turns,
    0,
  ),
  inChild("rt_sigprocmask", [SIG_SETMASK, buffer("no signals", SIGSET_SIZE), 0, SIGSET_SIZE]),
  store(stageArgv, 8, text("runc")),
  store(at(stageArgv, 8), 8, text("init")),
  inChild("execveat", [image, "", stageArgv, noStrings, AtFlag.AT_EMPTY_PATH]),
  call("exit_group", [127]),
];

const pidfd = buffer("pidfd", 8), one = buffer("one", 8);

export const startStage: readonly Op[] = [
  ...whenFlag("detached", [], makePipes),
  call("socketpair", [AF_UNIX, SOCK_SEQPACKET | O.O_CLOEXEC, 0, pair]),
  ...loadPair(sync, theirs),
  store(one, 4, 1),
  // Each message tells who has sent it.
  call("setsockopt", [sync, SOL_SOCKET, SO_PASSCRED, one, 4]),
  call("openat", [AT_FDCWD, "/proc", O.O_PATH | O.O_CLOEXEC], { out: proc }),
  ...makeProgram("image", image),
  ...needLow(theirs),
  ...needLow(proc),
  ...needLow(image),
  {
    op: "fork",
    flags: CloneFlag.CLONE_VM | CLONE_VFORK | CloneFlag.CLONE_PIDFD | CloneFlag.SIGCHLD,
    pidfd,
    out: stage,
    child: becomeStage,
    parent: [load(pidfd, 4, stageFd)],
  },
  ...close(theirs),
  ...close(proc),
  ...close(image),
  ...streams.flatMap(({ theirs }) => [when(theirs, "!=", 0, [...close(theirs)])]),
];

const send = (address: Operand, size: Operand): Op => call("sendto", [sync, address, size, MsgFlag.MSG_NOSIGNAL, 0, 0]);

/** Lets stage or init go on. */
export const go: readonly Op[] = [send(buffer("empty home", 8), 1)];

/** Sends HOME, as it was found in the same /etc/passwd. */
export const goWithHome: readonly Op[] = [...findSection("home", address, size), send(address, size)];

const POLL_SIZE = 8, REVENTS = 6;
const watches = buffer("what is waited for", 3 * POLL_SIZE);
const revents = (index: number, out: Slot) => load(at(watches, POLL_SIZE * index + REVENTS), 2, out);

const watch = (fds: readonly Slot[]): readonly Op[] =>
  fds.flatMap((fd, index) => [
    store(at(watches, POLL_SIZE * index), 4, fd),
    store(at(watches, POLL_SIZE * index + 4), 4, POLLIN),
  ]);

const timeout = buffer("time to wait", 16);

/** Linux writes the rest of the time to it. ppoll(2) */
function storeSeconds(seconds: number): readonly Op[] {
  return [store(timeout, 8, seconds), store(at(timeout, 8), 8, 0)];
}

const payload = buffer("message", MESSAGE_SIZE + PASSWD_CHUNK), vector = buffer("struct iovec", 16);
/** `struct cmsghdr` of 16 bytes, and `struct ucred`, with its padding. Descriptors have no place. unix(7) */
const CONTROL_SIZE = 32;
const control = buffer("control data", CONTROL_SIZE), header = buffer("struct msghdr", 56);
const got = slot("length of the message"), sender = slot("sender"), kind = slot("kind of message");

/** Reads one message, with its sender; 0 bytes where the socket is closed. */
const readMessage = (options: Pick<CallOp, "onError"> = {}): readonly Op[] => [
  store(vector, 8, payload),
  store(at(vector, 8), 8, payload.size),
  store(at(header, 16), 8, vector),
  store(at(header, 24), 8, 1),
  store(at(header, 32), 8, control),
  store(at(header, 40), 8, CONTROL_SIZE),
  call("recvmsg", [sync, header, MsgFlag.MSG_CMSG_CLOEXEC | MsgFlag.MSG_DONTWAIT], { out: got, ...options }),
];

/** What is cut, or has no sender, is no message. */
const checkMessage: readonly Op[] = [
  load(at(header, 48), 4, found),
  and(found, MsgFlag.MSG_TRUNC | MsgFlag.MSG_CTRUNC, found),
  need(found, 0),
  load(at(header, 40), 8, found),
  need(found, CONTROL_SIZE),
  load(at(control, 8), 4, found),
  need(found, SOL_SOCKET),
  load(at(control, 12), 4, found),
  need(found, SCM_CREDENTIALS),
  load(at(control, 16), 4, sender),
  load(payload, 4, kind),
  load(at(payload, 4), 4, found),
  need(found, 0),
];

const isThere = slot("message is there");

const needNoSignal: readonly Op[] = [revents(1, found), need(found, 0)];

/**
 * Waits for a message of a process. If the process or a signal ends it, the command is left to the snapshot. `isLast`:
 * after the message, init executes the program. It would run twice if a signal counted that has come since then.
 */
const receive = (speaker: Slot, { isLast = false } = {}): readonly Op[] => [
  set(isThere, 0),
  repeatUntil(
    [
      ...watch([sync, endings, speaker]),
      call("ppoll", [watches, 3, 0, 0, 0]),
      ...(isLast ? [] : needNoSignal),
      revents(0, found),
      when(found, "!=", 0, [...readMessage(), set(isThere, 1)], [
        ...needNoSignal,
        revents(2, found),
        need(found, 0),
      ]),
    ],
    isThere,
    1,
  ),
];

const valueOf = at(payload, 8);
/**
 * Messages of init that come before the stage has said who init is: it sends at most a part of /etc/passwd, the end of it
 * and `ready`, and waits then. A length, a sender and the message each.
 */
const EARLY_SIZE = 16 + payload.size, MOST_EARLY = 4;
const early = buffer("early messages", EARLY_SIZE * MOST_EARLY);
const earlyCount = slot("number of early messages"),
  earlyRow = slot("early message"),
  nextEarly = slot("next early one");
const [source, target, wordsLeft, word] = [slot("source"), slot("target"), slot("words left"), slot("word to copy")];

/** Copies the message, whole words of it, from {@link source} to {@link target}. */
const copyMessage: readonly Op[] = [
  add(got, 7, wordsLeft),
  { op: "shr", left: wordsLeft, right: 3, out: wordsLeft },
  when(wordsLeft, "!=", 0, [
    repeatUntil(
      [
        load(source, 8, word),
        store(target, 8, word),
        advance(source, 8),
        advance(target, 8),
        advance(wordsLeft, -1),
      ],
      wordsLeft,
      0,
    ),
  ]),
];

const keepEarly: readonly Op[] = [
  when(earlyCount, "==", MOST_EARLY, [leave]),
  when(earlyCount, "==", 0, [set(earlyRow, early), set(nextEarly, early)]),
  store(earlyRow, 8, got),
  add(earlyRow, 8, target),
  store(target, 8, sender),
  add(earlyRow, 16, target),
  set(source, payload),
  ...copyMessage,
  advance(earlyRow, EARLY_SIZE),
  advance(earlyCount, 1),
];

/** The next message of init. */
const receiveInit = (options?: { readonly isLast: boolean }): readonly Op[] => [
  when(earlyCount, "==", 0, [...receive(initFd, options), ...checkMessage], [
    load(nextEarly, 8, got),
    add(nextEarly, 8, source),
    load(source, 8, sender),
    add(nextEarly, 16, source),
    set(target, payload),
    ...copyMessage,
    load(payload, 4, kind),
    advance(nextEarly, EARLY_SIZE),
    advance(earlyCount, -1),
  ]),
  need(sender, init),
];

/** The last message of init, without more than its head. */
const awaitLast = (name: keyof typeof MessageKind): readonly Op[] => [
  ...receiveInit({ isLast: true }),
  need(got, MESSAGE_SIZE),
  need(kind, MessageKind[name]),
];

const isStage = slot("is the stage's");

/** The stage's last message. */
const awaitChild: readonly Op[] = [
  repeatUntil(
    [...receive(stageFd), ...checkMessage, when(sender, "==", stage, [set(isStage, 1)], keepEarly)],
    isStage,
    1,
  ),
  need(got, MESSAGE_SIZE),
  need(kind, MessageKind.child),
];

const passwd = slot("place in passwd"), passwdLeft = slot("length of the rest of passwd"), rest = slot("rest");

/** Compares a piece of the container's /etc/passwd with the one that HOME was found in. */
const comparePasswd: readonly Op[] = [
  sub(got, MESSAGE_SIZE, rest),
  ...whenLess(passwdLeft, rest, [leave]),
  sub(passwdLeft, rest, passwdLeft),
  set(address, at(payload, MESSAGE_SIZE)),
  when(rest, "!=", 0, [
    repeatUntil(
      [
        load(address, 1, found),
        load(passwd, 1, wanted),
        need(found, wanted),
        advance(address, 1),
        advance(passwd, 1),
        advance(rest, -1),
      ],
      rest,
      0,
    ),
  ]),
];

const isReady = slot("init is ready");

const awaitReady: readonly Op[] = [
  ...findSection("passwd", passwd, passwdLeft),
  repeatUntil(
    [
      ...receiveInit(),
      ...whenLess(got, MESSAGE_SIZE, [leave]),
      when(kind, "==", MessageKind.passwd, comparePasswd, [
        need(kind, MessageKind.ready),
        need(got, MESSAGE_SIZE),
        set(isReady, 1),
      ]),
    ],
    isReady,
    1,
  ),
  need(passwdLeft, 0),
];

/** The plan's name for init until it executes its program, as far as a word has it. */
const INIT_WORD = "runc:[2:";
const LOOK_AGAIN_S = 1;
const commFile = buffer("path of init's name", 32);
const [end, name, more] = [slot("end of the path"), slot("name of init"), slot("more of its name")];

/** The path `/proc/PID/comm`. */
const nameInit: readonly Op[] = [
  load(wordOf("/proc/"), 8, found),
  store(commFile, 8, found),
  ...writeDigits(init, at(commFile, 6), end),
  load(wordOf("/comm"), 8, found),
  store(end, 8, found),
  set(end, commFile),
];

/**
 * Waits until init has closed its socket. Another process of the container may have got hold of it, and keep it open: then
 * the process's name shows that it executes its program.
 */
const awaitProgram: readonly Op[] = [
  set(isThere, 0),
  repeatUntil(
    [
      ...watch([sync, endings, initFd]),
      ...storeSeconds(LOOK_AGAIN_S),
      call("ppoll", [watches, 3, timeout, 0, 0]),
      revents(0, found),
      when(found, "!=", 0, [...readMessage(), need(got, 0), set(isThere, 1)], [
        ...nameInit,
        ...readShortFile(end, {
          words: [name, more],
          missing: [leave],
          then: whenWord(name, INIT_WORD, [...needNoSignal, revents(2, found), need(found, 0)], [set(isThere, 1)]),
        }),
      ]),
    ],
    isThere,
    1,
  ),
];

/** Waits for a message, or for the end of the socket. */
export function awaited(kind: Awaited, by: Speaker): readonly Op[] {
  if (kind === "ready" && by === "init") return awaitReady;
  if (kind === "end" && by === "init") return whenFlag("end", awaitProgram);
  if (kind === "created" && by === "init") return whenFlag("created", awaitLast("created"));
  if (kind === "child" && by === "stage") return awaitChild;
  throw new RangeError(`the front does not await ${kind} of ${by}`);
}

const info = buffer("siginfo_t", 128);

/** The process that the stage has named must be a child of ours: no other one is signalled or waited for. */
export const adopt: readonly Op[] = [
  load(valueOf, 8, init),
  // PID_MAX_LIMIT, include/linux/threads.h: 2^22
  { op: "shr", left: init, right: 23, out: found },
  need(found, 0),
  when(init, "==", 0, [leave]),
  when(init, "==", stage, [leave]),
  call("pidfd_open", [init, 0], { out: initFd }),
  call("waitid", [P_PIDFD, initFd, info, WEXITED | WNOHANG | WNOWAIT, 0]),
  ...writePidFile(init),
];

const limit = slot("limit");

export const setRlimits: readonly Op[] = forEachRow("rlimitTable", RLIMIT_SIZE, [
  load(address, 8, number),
  add(address, 8, limit),
  call("prlimit64", [init, number, limit, 0]),
]);

/** The stage has ended, or is about to. */
export const reapStage: readonly Op[] = [
  ...watch([stageFd, endings]),
  call("ppoll", [watches, 2, 0, 0, 0]),
  revents(1, found),
  need(found, 0),
  call("wait4", [stage, 0, 0, 0]),
  ...close(stageFd),
  set(stage, 0),
];

const pidWord = buffer("pid of the process", 8);

/** While init executes its program. */
export const prepareMonitor: readonly Op[] = whenFlag("detached", [], [
  call("signalfd4", [-1, signalSet(caughtSignals), SIGSET_SIZE, O.O_NONBLOCK | O.O_CLOEXEC], { out: allSignals }),
  ...makeProgram("monitor", monitor, [
    store(pidWord, 4, init),
    ...entryNumber("pidPlace", number),
    call("pwrite64", [monitor, pidWord, 4, number]),
  ]),
  ...[allSignals, ...streams.map(({ ours }) => ours)].flatMap((fd, index) => {
    const out = numbered[index]!;
    const wanted = Object.values(monitorNumbers)[index]!;
    // The number may be a descriptor of the caller, which stays open.
    return [call("fcntl", [fd, F_DUPFD, wanted], { out }), need(out, wanted)];
  }),
]);

/** The process executes its program: the command ends, or becomes the monitor. */
export const finish: readonly Op[] = [
  ...endPidFile,
  ...whenFlag("detached", [call("exit_group", [0])], [
    add(stack, 8, address),
    load(address, 8, nameBefore),
    store(address, 8, text("runc")),
    call("execveat", [monitor, "", address, environment, AtFlag.AT_EMPTY_PATH]),
  ]),
];

const STAGE_LIMIT_S = 1, END_LIMIT_S = 5, QUEUE_LIMIT = 1024;
const tolerant = { tolerate: ["*"] } as const;

const awaitEnd = (fd: Slot, seconds: number): readonly Op[] => [
  ...watch([fd]),
  ...storeSeconds(seconds),
  call("ppoll", [watches, 1, timeout, 0, 0], tolerant),
];

/** Kills and reaps a child of ours. */
const killAndReap = (pid: Slot, fd: Slot): readonly Op[] => [
  call("pidfd_send_signal", [fd, SIGKILL, 0, 0], tolerant),
  ...awaitEnd(fd, END_LIMIT_S),
  call("wait4", [pid, 0, WNOHANG, 0], tolerant),
];

/**
 * The stage ends by itself when it finds the socket closed. If it were killed between its fork and the message that names
 * init, nobody would know init.
 */
const endStage: readonly Op[] = [
  call("shutdown", [sync, SHUT_WR], tolerant),
  ...awaitEnd(stageFd, STAGE_LIMIT_S),
  ...killAndReap(stage, stageFd),
  set(turns, QUEUE_LIMIT),
  when(init, "!=", 0, [set(turns, 1)]),
  repeatUntil(
    [
      ...readMessage({ onError: [{ errnos: ["*"], ops: [set(got, 0)] }] }),
      advance(turns, -1),
      load(payload, 4, kind),
      load(at(control, 16), 4, sender),
      when(got, "==", 0, [set(turns, 0)], [
        when(got, "==", MESSAGE_SIZE, [
          when(kind, "==", MessageKind.child, [
            when(sender, "==", stage, [load(valueOf, 8, init), set(turns, 0)]),
          ]),
        ]),
      ]),
    ],
    turns,
    0,
  ),
];

/** Init is killed only if it is a child of ours. */
const endInit: readonly Op[] = [
  when(initFd, "==", 0, [
    call("pidfd_open", [init, 0], { out: initFd, onError: [{ errnos: ["*"], ops: [set(initFd, 0)] }] }),
  ]),
  ...whenLess(0, initFd, [
    call("waitid", [P_PIDFD, initFd, info, WEXITED | WNOHANG | WNOWAIT, 0], { out: result, ...tolerant }),
    when(result, "==", 0, killAndReap(init, initFd)),
  ]),
];

/** Takes everything back, so that the snapshot can begin anew. Nothing in it may fail. */
export const takeBackExec: readonly Op[] = [
  ...whenLess(0, stage, endStage),
  ...whenLess(0, init, endInit),
  ...forgetPidFile,
  set(row, namespaceFds),
  set(turns, MOST_NAMESPACES),
  repeatUntil(
    [load(row, 8, fd), ...whenLess(0, fd, [call("close", [fd], tolerant)]), advance(row, 8), advance(turns, -1)],
    turns,
    0,
  ),
  when(nameBefore, "!=", 0, [add(stack, 8, address), store(address, 8, nameBefore)]),
  ...forgetKnown,
  // Signals that have come meanwhile do now what they do.
  when(isBlocked, "!=", 0, [
    call("rt_sigprocmask", [SIG_SETMASK, maskBefore, 0, SIGSET_SIZE], tolerant),
  ]),
];
