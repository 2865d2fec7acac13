/**
 * Which message of stage, helper and init is due when. The parent holds each against this table before it believes any of it: in the container
 * there may be programs that can take init's end of the socket and speak there. Pure.
 *
 *     state        due, and from whom
 *     namespaces   helper, mapping, child: from the stage
 *     mounts       network, target, copyUp, hooks: from init
 *     content      copied: from init, for each file that the parent has sent
 *     root         passwd, ready: from init
 *     credentials  seccomp, created: from init
 *     filter       seccomp: from init, whose filter comes after its word `created`
 *     program      nothing
 *
 * A report may come in every state: an error, by which anybody can do no more than fail this start, and a warning of stage, helper or init.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { report } from "../../plan/native/format.ts";
import { MESSAGE_SIZE, MessageKind, PASSWD_CHUNK, type Planned } from "../steps/protocol.ts";

/** Names of kinds that are said with {@link MessageKind}. */
export type Kind = Exclude<keyof typeof MessageKind, "time">;

/** Who sent a message, as the kernel tells it. @see unix(7), SCM_CREDENTIALS */
export type Sender = "stage" | "helper" | "init" | "stranger";

/** Where a conversation is. */
export type ConversationState = "namespaces" | "mounts" | "content" | "root" | "credentials" | "filter" | "program";

/** A message, with nothing of it believed. */
export interface Statement {
  /** First u32 of the message. */
  readonly kind: number;
  readonly sender: Sender;
  /** The message's i64. */
  readonly value: bigint;
  /** Bytes in all. */
  readonly length: number;
  /** How many descriptors came with it. */
  readonly descriptors: number;
}

interface Rule {
  readonly by: Sender;
  /** The state that it leads to. */
  readonly to?: ConversationState;
  /** It may come again. */
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

/** The values of each kind; those of reports mean what the plan says. */
const values: Readonly<Partial<Record<Kind, Range>>> = {
  mapping: nothing,
  child: pid,
  helper: pid,
  network: nothing,
  // Beside the mount's number: whether it is a file.
  target: [0n, (1n << 33n) - 1n],
  copyUp: [0n, U32],
  // 0 or -errno. MAX_ERRNO, include/linux/err.h
  copied: [-4095n, 0n],
  hooks: nothing,
  passwd: nothing,
  ready: nothing,
  // A descriptor's number.
  seccomp: [0n, 0x7fffffffn],
  created: nothing,
};

const descriptors: Readonly<Partial<Record<Kind, number>>> = { target: 1, copyUp: 2 };

/** More than a plan has mounts that init can ask for twice, and less than the parent's memory. */
const WARNING_LIMIT = 1024;
/** read(2) of a file returns full pieces; a file system in user space may return smaller ones. */
const PASSWD_LIMIT = 65536;

const kinds = new Map<number, Kind>(
  (Object.keys(MessageKind) as (keyof typeof MessageKind)[])
    .filter((kind): kind is Kind => kind !== "time")
    .map((kind) => [MessageKind[kind], kind]),
);

/** A message that is not due, or is not what a message of its kind is. */
function refusal(who: string, what: string): RuncError {
  return new RuncError("protocol", `${who} ${what}`, {
    hint: "a program in the container may have taken the socket to the runtime: nothing of the message was believed",
  });
}

/** One conversation with stage and init. `planned`: what the plan has them say beside what each one says. */
export class Conversation {
  readonly #planned: ReadonlySet<Kind | Planned>;
  #state: ConversationState = "namespaces";
  /** Kinds that come once and have come. */
  readonly #said = new Set<Kind>();
  /** Mounts that a `target` or `copyUp` has come for. */
  readonly #asked = new Set<string>();
  #warnings = 0;
  #pieces = 0;

  constructor(planned: Iterable<Planned>) {
    this.#planned = new Set(planned);
  }

  /** Where it is. */
  get state(): ConversationState {
    return this.#state;
  }

  /** The parent has sent a file to be copied, and the answer is due. */
  expectCopied(): void {
    this.#state = "content";
  }

  /** Takes a message. Returns its kind, where it is due; the conversation is then one step further. @throws {RuncError} `protocol` */
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
      throw refusal(who, `sent a message "${kind}" that is not due`);
    }
    if (rule.by !== sender) throw refusal(who, `sent a message "${kind}", which is the ${rule.by}'s to send`);
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

  /** Messages that may come again come for another mount, or with more of the file. */
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
      // An empty piece is the end.
      if (length === MESSAGE_SIZE) this.#said.add(kind);
    }
  }

  #next(kind: Kind, { to }: Rule): ConversationState {
    // A further process in a container has no mounts to make.
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
