/**
 * Conversations in every state of every plan.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Conversation } from "../../../../lib/libcontainer/launch/conversation.ts";
import type { Act, Await } from "../../../../lib/libcontainer/plans/parent/act.ts";
import { createActs, startActs } from "../../../../lib/libcontainer/plans/parent/create.ts";
import { execActs } from "../../../../lib/libcontainer/plans/parent/exec.ts";
import { MessageKind } from "../../../../lib/libcontainer/steps/protocol.ts";
import { pids } from "../fake_host.ts";
import { type FakeMessage, fakeMessage, type Kind, type MessageChange } from "../fake_message.ts";
import { type CreationName, creations, executions } from "../parent_plans.ts";

/**
 * What each plan awaits, in order: the message that leads on, its sender, and the requests that init may make until
 * then. Written by hand, and not read from the acts.
 */
export const due: Readonly<Record<string, readonly string[]>> = {
  typical: ["child stage", "hooks init target", "ready init passwd", "created init"],
  "docker's": ["child stage", "hooks init target", "ready init", "created init"],
  rootless: ["mapping stage", "child stage", "hooks init target", "ready init passwd", "created init"],
  "user namespace": ["mapping stage", "child stage", "hooks init target", "ready init passwd", "created init"],
  "with a helper": [
    "helper stage",
    "mapping stage",
    "child stage",
    "hooks init target",
    "ready init passwd",
    "created init",
  ],
  "network devices": ["child stage", "network init", "hooks init target", "ready init passwd", "created init"],
  copyUp: ["child stage", "hooks init target copyUp", "ready init passwd", "created init"],
  "container hooks": ["child stage", "hooks init target", "ready init passwd", "created init"],
  "seccomp listener": ["child stage", "hooks init target", "ready init passwd", "seccomp init", "created init"],
  "late seccomp listener": ["child stage", "hooks init target", "ready init passwd", "created init"],
  run: ["child stage", "hooks init target", "ready init passwd", "created init"],
  everything: [
    "helper stage",
    "mapping stage",
    "child stage",
    "network init",
    "hooks init target copyUp",
    "ready init",
    "seccomp init",
    "created init",
  ],
  "start of run": ["end init"],
  "start with a late seccomp listener": ["seccomp init", "end init"],
  "exec: without a filter": ["child stage", "ready init passwd", "created init"],
  "exec: early filter": ["child stage", "ready init passwd", "end init"],
  "exec: early filter with a listener": ["child stage", "ready init passwd", "seccomp init", "end init"],
  "exec: late filter": ["child stage", "ready init passwd", "created init", "end init"],
  "exec: late filter with a listener": [
    "child stage",
    "ready init passwd",
    "created init",
    "seccomp init",
    "end init",
  ],
};

/** A plan of {@link due}. */
export interface Planned {
  readonly acts: readonly Act[];
  /** It is known from an earlier conversation. */
  readonly init?: number;
}

function plan(name: string): Planned {
  if (name === "start of run") return { acts: startActs(creations.run), init: pids.init };
  if (name.startsWith("start with")) return { acts: startActs(creations["late seccomp listener"]), init: pids.init };
  const execution = name.startsWith("exec: ") ? name.slice("exec: ".length) as keyof typeof executions : undefined;
  return {
    acts: execution === undefined ? createActs(creations[name as CreationName]) : execActs(executions[execution]),
  };
}

const planned = new Map(Object.keys(due).map((name) => [name, plan(name)]));
/** The acts of a plan. */
export const actsOf = (name: string): Planned => planned.get(name)!;

/** The waits among acts. */
export const awaitsIn = (acts: readonly Act[]) => acts.flatMap(({ does }) => does.verb === "await" ? [does] : []);
/** A wait, as {@link due} has it. */
export const lineOf = ({ kind, by, serves = [] }: Await) => [kind, by, ...serves].join(" ");

/** The kinds of message. */
export const kinds = (Object.keys(MessageKind) as (keyof typeof MessageKind)[]).filter((
  kind,
): kind is Exclude<Kind, "end"> => kind !== "time");
/** Who may send. */
export const senders = ["stage", "helper", "init", "stranger"] as const;
/** One of {@link senders}. */
export type Sender = typeof senders[number];

/** A message as it has to be. */
export function message(kind: Kind, sender: Sender, change: MessageChange = {}): FakeMessage {
  const value = kind === "child" ? pids.init : kind === "helper" ? pids.helper : 0;
  return fakeMessage(kind, kind === "end" ? 0 : pids[sender], { value: BigInt(value), ...change });
}

/** A conversation that waits for the plan's message `step`. `copying`: init copies a file. */
export interface At {
  readonly conversation: Conversation<FakeMessage>;
  readonly kind: string;
  readonly by: string;
  readonly serves: readonly string[];
  /** The senders whose pids are known. */
  readonly known: readonly Sender[];
}

/** The conversation of a plan before its message `step`. */
export function at(plan: string, step: number, copying = false): At {
  const { acts, init } = actsOf(plan);
  const conversation = new Conversation<FakeMessage>(acts, init);
  conversation.begin();
  if (init === undefined) conversation.stageIs(pids.stage);
  const lines = due[plan]!.map((line) => line.split(" "));
  for (const [kind, by] of lines.slice(0, step)) conversation.feed(message(kind as Kind, by as Sender));
  if (copying) conversation.expectCopied();
  const [kind, by, ...serves] = lines[step] ?? ["nothing", "nobody"];
  const said = (each: string) => lines.slice(0, step).some(([kind]) => kind === each);
  const known: Sender[] = init === undefined ? ["stage"] : [];
  if (said("helper")) known.push("helper");
  if (init !== undefined || said("child")) known.push("init");
  return { conversation, kind: kind!, by: by!, serves, known };
}

/** Each state of each plan, and one in which init copies a file. */
export const states = Object.entries(due).flatMap(([plan, lines]) =>
  Array.from({ length: lines.length + 1 }, (_, step) => ({ plan, step, copying: false }))
    .concat(lines.flatMap((line, step) => line.includes("copyUp") ? [{ plan, step, copying: true }] : []))
);

/** The error of a message that is refused, and changes nothing. */
export function refused(conversation: Conversation<FakeMessage>, given: FakeMessage, what?: string): RuncError {
  const before = conversation.awaited;
  const error = assertThrows(() => conversation.feed(given), RuncError, undefined, what);
  assertEquals([error.code, conversation.awaited === before], ["protocol", true], what);
  return error;
}

/** The verbs of acts. */
export const verbs = (acts: readonly Act[] | undefined) => acts?.map(({ does }) => does.verb);
