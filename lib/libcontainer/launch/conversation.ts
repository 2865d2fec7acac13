/**
 * The conversation with stage, helper and init, as a pure object: a message goes in, acts come out.
 *
 * The parent's acts are the protocol. A message that the current `await` neither awaits nor serves ends the command: a
 * program in the container may get hold of init's end of the socket and send messages. A report may come at any time:
 * an error from any sender, because an error can only make this start fail; a warning from stage, helper or init.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { report } from "../../plan/native/format.ts";
import type { Act, Await, Served, Speaker } from "../plans/parent/act.ts";
import { act } from "../plans/parent/act.ts";
import { FIRST_DEVICE, MESSAGE_SIZE, MessageKind, PASSWD_CHUNK } from "../steps/protocol.ts";

/** A message before it is checked. */
export interface Message {
  /** Its content; empty, without a sender: the socket is closed, or the awaited sender has ended. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The sender's pid, according to the kernel; 0 if our pid namespace does not have it. unix(7), SCM_CREDENTIALS */
  readonly sender: number;
  /** Number of descriptors received with it. */
  readonly descriptors: number;
  /** The message was longer, or had more descriptors, than any message may. */
  readonly isCut: boolean;
}

/** Names of message kinds that {@link MessageKind} numbers, without `time`, which the trace takes. */
type Kind = Exclude<keyof typeof MessageKind, "time">;

/** PID_MAX_LIMIT, include/linux/threads.h */
const LAST_PID = 4194304n;
const U32 = 0xffffffffn;

type Range = readonly [first: bigint, last: bigint];

const nothing: Range = [0n, 0n];
const pid: Range = [1n, LAST_PID];

/** The valid values of each kind. The plan defines the values of reports. */
const values: Readonly<Record<Exclude<Kind, "error" | "warning">, Range>> = {
  mapping: nothing,
  child: pid,
  helper: pid,
  network: nothing,
  // The mount's number, and above it one bit: whether the target is a file.
  target: [0n, (1n << 33n) - 1n],
  copyUp: [0n, U32],
  // 0 or -errno. MAX_ERRNO, include/linux/err.h
  copied: [-4095n, 0n],
  hooks: nothing,
  passwd: nothing,
  ready: nothing,
  // A descriptor number.
  seccomp: [0n, 0x7fffffffn],
  created: nothing,
};

const descriptors: Readonly<Partial<Record<Kind, number>>> = { target: 1, copyUp: 2 };

/** More than a plan has mounts that init can request twice, and little of the parent's memory. */
const WARNING_LIMIT = 1024;
/** read(2) returns full pieces for most files; a user-space file system may return smaller ones. */
const PIECE_LIMIT = 65536;
/** Larger than the file of any known container. The limit keeps a rootfs from making the parent read forever. */
const PASSWD_LIMIT = 16 * 1024 * 1024;
/** Init sends only a few messages before it waits for the parent. */
const EARLY_LIMIT = 128;

const kinds = new Map<number, Kind>(
  (Object.keys(MessageKind) as (keyof typeof MessageKind)[])
    .filter((kind): kind is Kind => kind !== "time")
    .map((kind) => [MessageKind[kind], kind]),
);

type Sender = Speaker | "stranger";

const letGo = act("let init go on", "", { verb: "go" });

/** The error for a message that is unexpected or malformed. */
function refusal(sender: Sender, what: string): RuncError {
  const who = sender === "stranger" ? "a process that is not the container's init" : sender;
  return new RuncError("protocol", `${who} ${what}`, {
    hint: "a program in the container may have taken over the socket to the runtime; the message was ignored",
  });
}

/**
 * One conversation. `Held` is what the driver receives: a message that comes before its sender is known is kept, and
 * given back by {@link next}.
 */
export class Conversation<Held extends Message = Message> {
  readonly #acts: readonly Act[];
  readonly #pids: Partial<Record<Speaker, number>>;
  /** Index of the next act. */
  #next = 0;
  #isCopying = false;
  /** Messages that came before the stage has sent init's pid: they may be init's. */
  #early: Held[] = [];
  /** Mounts for which a `target` or `copyUp` has come. */
  readonly #asked = new Set<string>();
  #warnings = 0;
  readonly #passwd: Uint8Array<ArrayBuffer>[] = [];
  #passwdLength = 0;
  #passwdIsWhole = false;

  /** `acts`: all of the parent's. `init`: its pid, if it is known from an earlier conversation. */
  constructor(acts: readonly Act[], init?: number) {
    this.#acts = acts;
    this.#pids = init === undefined ? {} : { init };
  }

  /** The first acts: until a message is awaited. */
  begin(): readonly Act[] {
    return this.#until();
  }

  /** The act that awaits a message; undefined once no act does. */
  get awaited(): Act<Await> | undefined {
    return this.#acts[this.#next] as Act<Await> | undefined;
  }

  /** The driver has started the stage. */
  stageIs(pid: number): void {
    this.#pids.stage = pid;
  }

  /** A message that came early, and is due now. */
  next(): Held | undefined {
    return this.#pids.init === undefined ? undefined : this.#early.shift();
  }

  /** The messages that came early and were never due. */
  drop(): readonly Held[] {
    return this.#early.splice(0);
  }

  /** The part of the container's /etc/passwd that init has sent. */
  get passwd(): string {
    const decoder = new TextDecoder();
    return this.#passwd.map((piece) => decoder.decode(piece, { stream: true })).join("") + decoder.decode();
  }

  /** The same, as bytes. */
  get passwdBytes(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.#passwd.reduce((sum, { length }) => sum + length, 0));
    let end = 0;
    for (const piece of this.#passwd) {
      all.set(piece, end);
      end += piece.length;
    }
    return all;
  }

  /** The driver has sent a file, whose content init copies: `copied` is due. */
  expectCopied(): void {
    this.#isCopying = true;
  }

  /**
   * The acts that follow from a message. Undefined: the message is kept for later.
   *
   * @throws {RuncError} `protocol` for a message that is malformed or not due; `unsupported` for a huge /etc/passwd.
   */
  feed(message: Held): readonly Act[] | undefined {
    if (isEnd(message)) return this.#ended();
    const sender = this.#senderOf(message);
    if (sender === "stranger" && this.#pids.init === undefined) return this.#keep(message);
    return this.#take(sender, message);
  }

  #senderOf({ sender }: Message): Sender {
    const found = (["stage", "init", "helper"] as const).find((who) => sender !== 0 && this.#pids[who] === sender);
    return found ?? "stranger";
  }

  #keep(message: Held): undefined {
    // A refused message is the driver's, which closes its descriptors.
    if (this.#early.length >= EARLY_LIMIT) {
      throw new RuncError(
        "protocol",
        `received more than ${EARLY_LIMIT} messages before the stage sent the pid of init`,
      );
    }
    this.#early.push(message);
  }

  #ended(): readonly Act[] {
    if (this.awaited?.does.kind === "end" && !this.#isCopying) return this.#advance();
    // The stage has ended without sending init's pid. An early message may be the error that explains it.
    const told = this.#pids.init === undefined ? this.#early.find(isError) : undefined;
    return told === undefined ? [act("find out how it ended", "", { verb: "died" })] : [reported("fail", told)];
  }

  #take(sender: Sender, message: Message): readonly Act[] {
    const { bytes, isCut } = message;
    if (bytes.length < MESSAGE_SIZE || isCut) {
      throw refusal(sender, "sent a message of a wrong length, or with too many descriptors");
    }
    const view = viewOf(message);
    const number = view.getUint32(0, true);
    const kind = kinds.get(number);
    if (kind === undefined) throw refusal(sender, `sent a message of the unknown kind ${number}`);
    if (!isLength(kind, bytes.length)) throw refusal(sender, `sent a message "${kind}" of ${bytes.length} bytes`);
    if (message.descriptors !== (descriptors[kind] ?? 0)) {
      throw refusal(sender, `sent a message "${kind}" with ${message.descriptors} descriptors`);
    }
    if (kind === "error") return [reported("fail", message)];
    if (kind === "warning") return this.#warning(sender, message);
    const by = this.#speakerOf(kind);
    if (by === undefined) throw refusal(sender, `sent a message "${kind}" at the wrong time`);
    if (by !== sender) throw refusal(sender, `sent a message "${kind}", which only ${by} may send`);
    const value = view.getBigInt64(report.value, true);
    const [first, last] = values[kind];
    if (value < first || value > last) throw refusal(sender, `sent a message "${kind}" with the value ${value}`);
    return this.#react(sender, kind, value, bytes);
  }

  #warning(sender: Sender, message: Message): readonly Act[] {
    if (sender === "stranger" || ++this.#warnings > WARNING_LIMIT) {
      throw refusal(sender, `sent ${sender === "stranger" ? "a warning" : `more than ${WARNING_LIMIT} warnings`}`);
    }
    return [reported("warnOfStep", message)];
  }

  /** Who may send this kind now; undefined if it is not due. */
  #speakerOf(kind: Kind): Speaker | undefined {
    if (kind === "copied" || this.#isCopying) return kind === "copied" && this.#isCopying ? "init" : undefined;
    const awaited = this.awaited?.does;
    if (awaited?.kind === kind) return awaited.by;
    return awaited?.serves?.some((served) => served === kind) ? "init" : undefined;
  }

  #react(sender: Sender, kind: Exclude<Kind, "error" | "warning">, value: bigint, bytes: Uint8Array<ArrayBuffer>) {
    switch (kind) {
      case "copied":
        this.#isCopying = false;
        return [act("note that a file is copied", "", { verb: "copied", result: Number(value) })];
      case "target":
      case "copyUp":
        return this.#serve(sender, kind, Number(value));
      case "passwd":
        this.#keepPasswd(sender, bytes.subarray(MESSAGE_SIZE));
        return [];
      case "ready":
        if (this.#passwd.length > 0 && !this.#passwdIsWhole) {
          throw refusal(sender, 'sent "ready" before the end of "passwd"');
        }
        return this.#advance();
      case "child":
      case "helper":
        return this.#meet(sender, kind, Number(value));
      default:
        return this.#advance(Number(value));
    }
  }

  /** A request may come once for each mount. */
  #serve(sender: Sender, kind: Exclude<Served, "passwd">, value: number): readonly Act[] {
    // The low half of the value is the mount's number.
    const mount = value % 0x100000000;
    const isFile = value >= 0x100000000;
    const asked = `${kind} ${mount}`;
    if (this.#asked.has(asked)) throw refusal(sender, `sent a second message "${kind}" for mount ${mount}`);
    this.#asked.add(asked);
    const from = mount >= FIRST_DEVICE ? `/linux/devices/${mount - FIRST_DEVICE}` : `/mounts/${mount}`;
    const { within } = this.awaited ?? {};
    return [
      kind === "target"
        ? act("make the place of a mount", from, { verb: "makeTarget", mount, isFile }, { within })
        : act("copy up", from, { verb: "copyUp", mount }, { within }),
      letGo,
    ];
  }

  #keepPasswd(sender: Sender, piece: Uint8Array<ArrayBuffer>): void {
    if (this.#passwdIsWhole || this.#passwd.length >= PIECE_LIMIT) {
      throw refusal(sender, 'sent a message "passwd" that is not due');
    }
    this.#passwdLength += piece.length;
    if (this.#passwdLength > PASSWD_LIMIT) throw new RuncError("unsupported", "/etc/passwd is over 16 MiB");
    // An empty piece ends the file.
    this.#passwdIsWhole = piece.length === 0;
    // A copy of a small piece releases the buffer that it came in.
    this.#passwd.push(piece.length < PASSWD_CHUNK ? piece.slice() : piece);
  }

  /** A pid comes once. The act that follows proves that it is our child's. */
  #meet(sender: Sender, kind: "child" | "helper", pid: number): readonly Act[] {
    if (Object.values(this.#pids).includes(pid)) {
      throw refusal(sender, `sent a message "${kind}" with ${pid}, which is no new child of the runtime`);
    }
    this.#pids[kind === "child" ? "init" : "helper"] = pid;
    return this.#advance(pid);
  }

  /** The acts after the awaited message. `value`: what it has said. */
  #advance(value?: number): readonly Act[] {
    this.#next++;
    return this.#until().map((each) => withValue(each, value));
  }

  #until(): readonly Act[] {
    const first = this.#next;
    while (this.#next < this.#acts.length && this.#acts[this.#next]!.does.verb !== "await") this.#next++;
    return this.#acts.slice(first, this.#next);
  }
}

/** Acts that need what the message before them has said. */
function withValue(each: Act, value: number | undefined): Act {
  const { does } = each;
  if (value === undefined) return each;
  if (does.verb === "adopt") return { ...each, does: { ...does, pid: value } };
  return does.verb === "handListener" ? { ...each, does: { ...does, fd: value } } : each;
}

function viewOf({ bytes }: Message): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function reported(verb: "fail" | "warnOfStep", message: Message): Act {
  const view = viewOf(message);
  return {
    label: verb === "fail" ? "find out what has failed" : "warn",
    from: "",
    does: {
      verb,
      offset: view.getUint32(report.instruction, true),
      cursor: view.getBigUint64(report.cursor, true),
      value: Number(view.getBigInt64(report.value, true)),
    },
  };
}

/** The kernel names the sender of every message, also of an empty one, but none for the end of the socket. */
function isEnd({ bytes, sender, descriptors }: Message): boolean {
  return bytes.length === 0 && sender === 0 && descriptors === 0;
}

function isError(message: Message): boolean {
  const { bytes, descriptors, isCut } = message;
  if (bytes.length !== report.size || descriptors > 0 || isCut) return false;
  return viewOf(message).getUint32(0, true) === MessageKind.error;
}

function isLength(kind: Kind, length: number): boolean {
  if (kind === "error" || kind === "warning") return length === report.size;
  if (kind === "passwd") return length >= MESSAGE_SIZE && length <= MESSAGE_SIZE + PASSWD_CHUNK;
  return length === MESSAGE_SIZE;
}
