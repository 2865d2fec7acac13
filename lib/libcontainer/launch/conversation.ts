/**
 * The order of the messages from stage, helper and init. The parent checks each message against this table before it
 * uses it: a program in the container may get hold of init's end of the socket and send messages. Pure.
 *
 *     state        expected messages, and their sender
 *     namespaces   helper, mapping, child: from the stage
 *     mounts       network, target, copyUp, hooks: from init
 *     content      copied: from init, for each file that the parent has sent
 *     root         passwd, ready: from init
 *     credentials  seccomp, created: from init
 *     filter       seccomp: from init, if its filter is loaded after `created`
 *     program      nothing
 *
 * A report may come in every state: an error from any sender, because an error can only make this start fail, or a
 * warning from stage, helper or init.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { report } from "../../plan/native/format.ts";
import { MESSAGE_SIZE, MessageKind, PASSWD_CHUNK, type Planned } from "../steps/protocol.ts";

/** Names of message kinds that {@link MessageKind} numbers, without `time`. */
export type Kind = Exclude<keyof typeof MessageKind, "time">;

/** The sender of a message, according to the kernel. @see unix(7), SCM_CREDENTIALS */
export type Sender = "stage" | "helper" | "init" | "stranger";

/** The state of a conversation. */
export type ConversationState = "namespaces" | "mounts" | "content" | "root" | "credentials" | "filter" | "program";

/** A message before it is checked. */
export interface Statement {
  /** First u32 of the message. */
  readonly kind: number;
  readonly sender: Sender;
  /** The message's i64. */
  readonly value: bigint;
  /** Length of the message in bytes. */
  readonly length: number;
  /** Number of descriptors received with it. */
  readonly descriptors: number;
}

interface Rule {
  readonly by: Sender;
  /** The next state; absent: the state stays. */
  readonly to?: ConversationState;
  /** The message may be repeated. */
  readonly again?: true;
}

const fromStage: Rule = { by: "stage" };
const fromInit: Rule = { by: "init" };

const table: Readonly<Record<ConversationState, Partial<Readonly<Record<Kind, Rule>>>>> = {
  namespaces: { helper: fromStage, mapping: fromStage, child: { by: "stage", to: "mounts" } },
  mounts: {
    network: fromInit,
    target: { by: "init", again: true },
    copyUp: { by: "init", again: true },
    hooks: { by: "init", to: "root" },
  },
  content: { copied: { by: "init", to: "mounts" } },
  root: { passwd: { by: "init", again: true }, ready: { by: "init", to: "credentials" } },
  credentials: { seccomp: fromInit, created: { by: "init", to: "program" } },
  filter: { seccomp: { by: "init", to: "program" } },
  program: {},
};

/** PID_MAX_LIMIT, include/linux/threads.h */
const LAST_PID = 4194304n;
const U32 = 0xffffffffn;

type Range = readonly [first: bigint, last: bigint];

const nothing: Range = [0n, 0n];
const pid: Range = [1n, LAST_PID];

/** The valid values of each kind. The plan defines the values of reports. */
const values: Readonly<Partial<Record<Kind, Range>>> = {
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
const PASSWD_LIMIT = 65536;

const kinds = new Map<number, Kind>(
  (Object.keys(MessageKind) as (keyof typeof MessageKind)[])
    .filter((kind): kind is Kind => kind !== "time")
    .map((kind) => [MessageKind[kind], kind]),
);

/** The error for a message that is unexpected or malformed. */
function refusal(who: string, what: string): RuncError {
  return new RuncError("protocol", `${who} ${what}`, {
    hint: "a program in the container may have taken over the socket to the runtime; the message was ignored",
  });
}

/**
 * One conversation with stage, helper and init. `planned`: the messages of this plan besides those that every plan has.
 */
export class Conversation {
  readonly #planned: ReadonlySet<Kind | Planned>;
  #state: ConversationState = "namespaces";
  /** Kinds that may come only once and have come. */
  readonly #said = new Set<Kind>();
  /** Mounts for which a `target` or `copyUp` has come. */
  readonly #asked = new Set<string>();
  #warnings = 0;
  #pieces = 0;

  constructor(planned: Iterable<Planned>) {
    this.#planned = new Set(planned);
  }

  /** The current state. */
  get state(): ConversationState {
    return this.#state;
  }

  /** Expects the answer to a file that the parent has sent for copying. */
  expectCopied(): void {
    this.#state = "content";
  }

  /** Checks a message and moves on to the next state. Returns the message's kind. @throws {RuncError} `protocol` */
  take(statement: Statement): Kind {
    const { sender, value, length } = statement;
    const kind = kinds.get(statement.kind);
    const who = sender === "stranger" ? "a process that is not the container's init" : sender;
    if (kind === undefined) throw refusal(who, `sent a message of the unknown kind ${statement.kind}`);
    if (!isLength(kind, length)) throw refusal(who, `sent a message "${kind}" of ${length} bytes`);
    if (statement.descriptors !== (descriptors[kind] ?? 0)) {
      throw refusal(who, `sent a message "${kind}" with ${statement.descriptors} descriptors`);
    }
    if (kind === "error") return kind;
    if (kind === "warning") {
      if (sender === "stranger" || ++this.#warnings > WARNING_LIMIT) {
        throw refusal(who, `sent ${sender === "stranger" ? "a warning" : `more than ${WARNING_LIMIT} warnings`}`);
      }
      return kind;
    }
    const rule = table[this.#state][kind];
    if (rule === undefined || !this.#isPlanned(kind) || (!rule.again && this.#said.has(kind))) {
      throw refusal(who, `sent a message "${kind}" at the wrong time`);
    }
    if (rule.by !== sender) throw refusal(who, `sent a message "${kind}", which only ${rule.by} may send`);
    const [first, last] = values[kind]!;
    if (value < first || value > last) throw refusal(who, `sent a message "${kind}" with the value ${value}`);
    this.#countAgain(kind, who, statement);
    if (!rule.again && kind !== "copied") this.#said.add(kind);
    this.#state = this.#next(kind, rule);
    return kind;
  }

  #isPlanned(kind: Kind): boolean {
    if (this.#state === "filter") return this.#planned.has("lateSeccomp");
    return kind === "ready" || kind === "copied" || this.#planned.has(kind);
  }

  /** A repeated message must be for another mount, or have the next piece of the file. */
  #countAgain(kind: Kind, who: string, { value, length }: Statement): void {
    if (kind === "target" || kind === "copyUp") {
      const asked = `${kind} ${value & U32}`;
      if (this.#asked.has(asked)) throw refusal(who, `sent a second message "${kind}" for mount ${value & U32}`);
      this.#asked.add(asked);
    }
    if (kind === "passwd") {
      if (this.#said.has(kind) || ++this.#pieces > PASSWD_LIMIT) {
        throw refusal(who, 'sent a message "passwd" that is not due');
      }
      // An empty piece ends the file.
      if (length === MESSAGE_SIZE) this.#said.add(kind);
    }
  }

  #next(kind: Kind, { to }: Rule): ConversationState {
    // A process that joins a container has no mounts to set up.
    if (kind === "child" && !this.#planned.has("hooks")) return "root";
    if (kind === "created" && this.#planned.has("lateSeccomp")) return "filter";
    return to ?? this.#state;
  }
}

function isLength(kind: Kind, length: number): boolean {
  if (kind === "error" || kind === "warning") return length === report.size;
  if (kind === "passwd") return length >= MESSAGE_SIZE && length <= MESSAGE_SIZE + PASSWD_CHUNK;
  return length === MESSAGE_SIZE;
}
