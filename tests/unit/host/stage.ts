/**
 * Stage, helper and init of the fake host: they say and await what the real ones do, in the same order, by the chart of
 * lib/libcontainer/steps/protocol.ts. A test changes what they say.
 *
 * @module
 */

import { MESSAGE_SIZE, MessageKind } from "../../../lib/libcontainer/steps/protocol.ts";
import { enterCgroups } from "./cgroups.ts";
import type { FakeHost, Program } from "./host.ts";
import { type OpenFile, PipeEnd, Socket } from "./open_files.ts";
import type { Process, Script } from "./processes.ts";

/** What stage and init do. */
export interface Conduct {
  /** Init's cgroup, as in /proc/PID/cgroup. */
  readonly cgroup?: string;
  /** Kinds of namespaces that are new: `mnt`, `pid`. */
  readonly namespaces?: readonly string[];
  /** A helper opens the sources of mounts. */
  readonly helper?: boolean;
  /** The user namespace is new. */
  readonly userNamespace?: boolean;
  /** Init waits while network devices are moved. */
  readonly network?: boolean;
  /** What init requests before its mounts are made. */
  readonly requests?: (init: Speaker) => Generator<() => boolean, void>;
  /** exec: the stage joins namespaces, and init has no mounts. */
  readonly isExec?: boolean;
  /** Pieces of /etc/passwd that init sends. */
  readonly passwd?: readonly string[];
  /** The number of the seccomp listener, sent before `created`. */
  readonly listener?: number;
  /** The same, after the last go. */
  readonly lateListener?: number;
  /** Init closes its socket instead of saying `created`. */
  readonly isSilent?: boolean;
  /** Called in init before it says `created`: a report may come instead. */
  readonly atCreated?: (init: Speaker) => void;
  /** Called in init when it has been let go on to its program: a report may come instead. */
  readonly atStart?: (init: Speaker) => void;
  /** How init waits to be started; exec does not wait. */
  readonly startBy?: "fifo" | "parent" | "creation" | "nothing";
  /** What the program does. Default: it runs until it is killed. */
  readonly program?: (process: Process, host: FakeHost) => Script;
  /** The program's name. */
  readonly name?: string;
  /** The stage ends at once, like this. */
  readonly stageDies?: { readonly code: number } | { readonly signal: number };
  /** Called when the stage has forked: it then names init only when the runtime says no more. */
  readonly lateAfterFork?: () => void;
  /** Init ends before it has said anything. */
  readonly initDies?: { readonly code: number } | { readonly signal: number };
}

/** A process with the end of a socket to the runtime. */
export class Speaker {
  readonly #socket: Socket;
  /** What the runtime has said, as texts without their NUL. */
  readonly heard: string[] = [];

  constructor(readonly process: Process, readonly host: FakeHost) {
    const found = [...process.descriptors.values()].map(({ file }) => file)
      .find((file): file is Socket => file instanceof Socket && file.peer?.tellsSenders === true);
    if (found === undefined) throw new Error("the stage was given no socket to the runtime");
    this.#socket = found;
  }

  /** Sends a message. `more` comes behind it. */
  say(
    kind: keyof typeof MessageKind,
    value = 0,
    { fds = [], more = "" }: { fds?: readonly OpenFile[]; more?: string } = {},
  ): void {
    const tail = new TextEncoder().encode(more);
    const bytes = new Uint8Array(MESSAGE_SIZE + tail.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, MessageKind[kind], true);
    view.setBigInt64(8, BigInt(value), true);
    bytes.set(tail, MESSAGE_SIZE);
    this.sayBytes(bytes, fds);
  }

  /** A report of the interpreter. */
  report(kind: "error" | "warning", instruction: number, value: number): void {
    const bytes = new Uint8Array(24);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, MessageKind[kind], true);
    view.setUint32(4, instruction, true);
    view.setBigInt64(8, BigInt(value), true);
    this.sayBytes(bytes);
  }

  sayBytes(bytes: Uint8Array, fds: readonly OpenFile[] = []): void {
    this.#socket.send(bytes, fds, this.process.pid);
  }

  /** Waits for the runtime's next message. Its descriptors are closed. */
  *await(): Generator<() => boolean, readonly OpenFile[]> {
    yield () => this.#socket.queue.length > 0 || this.#socket.isAtEnd;
    const packet = this.#socket.receive()!;
    this.heard.push(new TextDecoder().decode(packet.bytes).replace(/\0$/, ""));
    if (packet.bytes.length === 0) {
      this.process.end({ code: 1 });
      // It does nothing more.
      yield () => false;
    }
    return packet.fds;
  }

  /** Waits until the runtime says no more. */
  *awaitEnd(): Script {
    yield () => this.#socket.isAtEnd;
    return 0;
  }

  /** Closes the socket, as execve(2) does. */
  hangUp(): void {
    for (const [number, { file }] of this.process.descriptors) if (file === this.#socket) this.process.close(number);
  }
}

/** What a host's `stage` is, with this conduct. */
export function stageOf(conduct: Conduct): Program {
  return (process, host) => stage(new Speaker(process, host), conduct);
}

function fork(parent: Speaker, script: (child: Speaker) => Script): Process {
  const { host, process } = parent;
  const child = host.start("runc:[2:INIT]", undefined, host.self);
  for (const [name, number] of process.namespaces) child.namespaces.set(name, number);
  for (const [hierarchy, path] of process.cgroups) child.cgroups.set(hierarchy, path);
  for (const [name, text] of process.files) child.files.set(name, text);
  for (const [number, { file }] of process.descriptors) {
    child.descriptors.set(number, { file: file.retain(), cloexec: true });
  }
  child.script = script(new Speaker(child, host));
  return child;
}

function* stage(me: Speaker, conduct: Conduct): Script {
  const { process, host } = me;
  if (conduct.stageDies !== undefined) return process.end(conduct.stageDies);
  yield* me.await();
  if (conduct.helper) me.say("helper", fork(me, helper).pid);
  if (conduct.userNamespace) {
    process.namespaces.set("user", 4026540000 + process.pid);
    process.files.set("uid_map", "");
    process.files.set("gid_map", "");
    me.say("mapping");
    yield* me.await();
  }
  const child = fork(me, (speaker) => init(speaker, conduct));
  for (const name of conduct.namespaces ?? []) child.namespaces.set(name, 4026532000 + 10 * child.pid + name.length);
  if (conduct.cgroup !== undefined) enterCgroups(host, child, conduct.cgroup);
  if (conduct.lateAfterFork !== undefined) {
    conduct.lateAfterFork();
    yield* me.awaitEnd();
  }
  me.say("child", child.pid);
  return 0;
}

// deno-lint-ignore require-yield
function* helper(): Script {
  return 0;
}

function* init(me: Speaker, conduct: Conduct): Script {
  const { process, host } = me;
  if (conduct.initDies !== undefined) return process.end(conduct.initDies);
  if (conduct.network) {
    me.say("network");
    yield* me.await();
  }
  if (!conduct.isExec) {
    if (conduct.requests !== undefined) yield* conduct.requests(me);
    me.say("hooks");
    yield* me.await();
  }
  for (const piece of conduct.passwd ?? []) me.say("passwd", 0, { more: piece });
  me.say("ready");
  yield* me.await();
  process.files.set("home", me.heard.at(-1)!);
  if (conduct.listener !== undefined) {
    me.say("seccomp", conduct.listener);
    yield* me.await();
  }
  conduct.atCreated?.(me);
  if (process.hasEnded) return;
  if (!conduct.isSilent) me.say("created");
  yield* start(me, conduct);
  if (process.hasEnded) return;
  process.name = conduct.name ?? "sleep";
  if (conduct.program !== undefined) return yield* conduct.program(process, host);
  yield () => false;
}

/** Init waits for the word, and executes its program. */
function* start(me: Speaker, { startBy = "nothing", lateListener, atStart }: Conduct): Script {
  if (startBy === "parent" || startBy === "creation") {
    yield* me.await();
    if (lateListener !== undefined) {
      me.say("seccomp", lateListener);
      yield* me.await();
    }
    atStart?.(me);
    if (me.process.hasEnded) return;
  }
  me.hangUp();
  if (startBy !== "fifo") return;
  const { process } = me;
  const [number, { file }] = [...process.descriptors].find(([, { file }]) =>
    file.inode?.pipe !== undefined || isFifo(file)
  )!;
  const node = file.inode!;
  yield () => (node.pipe?.readers ?? 0) > 0;
  const end = new PipeEnd(node.pipe!, "write", "fifo", node).retain();
  end.write(new Uint8Array([48]));
  end.release();
  process.close(number);
}

function isFifo({ inode }: OpenFile): boolean {
  return inode !== undefined && (inode.mode & 0o170000) === 0o010000;
}
