/**
 * Runs acts: in order, with the conversation between them, and takes them back if one fails.
 *
 * It decides nothing: the acts are the plan, a {@link World} carries them out. The command line's world is the kernel;
 * tests have one that fails at will.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { TURN, type Waits } from "../../ffi/waits.ts";
import { inSpanWaits, type OpenSpan, type SpanDetails, type Tracer } from "../../trace/tracer.ts";
import type { Act, Await, Condition, Flag, Undo, Verb, VerbOf } from "../plans/parent/act.ts";
import type { Log } from "../runtime.ts";
import { Conversation, type Message } from "./conversation.ts";

/** Carries out a verb. A generator waits. */
type Perform<Name extends Verb["verb"]> = (does: VerbOf<Name>, span?: OpenSpan) => void | Waits<void>;

/** How verbs are carried out. */
export type Performers = { readonly [Name in Exclude<Verb["verb"], "await">]?: Perform<Name> };

/** A received message. Disposing of it closes the descriptors that came with it. */
export interface Received extends Message, Disposable {
  readonly fds: readonly Fd[];
}

/** A better error. */
export interface Explained {
  readonly error: unknown;
  /** Its prefixes, the innermost first, instead of the act's. */
  readonly within?: readonly string[];
}

/** What acts are run in. */
export interface World {
  /** The verbs that its acts use. */
  readonly performers: Performers;
  /** What has been found out. */
  readonly flags: Set<Flag>;
  readonly log: Log;
  readonly trace?: Tracer;
  /** The message that is being taken. */
  message?: Received;
  /** Waits for a message of the conversation. */
  receive?(awaits: Await): Waits<Received>;
  /** A better error, if this world knows the reason. `within`: its prefixes, instead of the act's. */
  explain?(error: unknown, failed: Act): Explained | undefined;
}

/**
 * Runs `acts`. If one fails, those done before are taken back, last first, and the error is thrown. A failed undo is
 * logged as a warning, which says what is left; the others still run.
 *
 * @throws {RuncError} with the act's label and field.
 */
export function* runActs(
  acts: readonly Act[],
  world: World,
  conversation = new Conversation<Received>(acts),
): Waits<void> {
  const run: Run = { world, conversation, done: [] };
  try {
    yield* performAll(conversation.begin(), run);
    for (let next = conversation.awaited; next !== undefined; next = conversation.awaited) {
      const awaited = next;
      run.current = awaited;
      const wait = () => arrival(awaited, run);
      const { message, due } = yield* inSpanWaits(world.trace, awaited.label, wait, spanOf(awaited));
      using _message = message;
      yield* performAll(due, run);
    }
  } catch (error) {
    // Before the undo: it removes what tells the reason.
    const told = run.current === undefined ? error : explained(error, run.current, world);
    for (const each of run.done.reverse()) yield* takeBack(each.undo!, world);
    throw told;
  } finally {
    for (const message of conversation.drop()) message[Symbol.dispose]();
  }
}

/** One run of a list. */
interface Run {
  readonly world: World;
  readonly conversation: Conversation<Received>;
  /** The acts to take back. */
  readonly done: Act[];
  /** The act that an error is about. */
  current?: Act;
}

/**
 * A function of its own, not one inside of {@link runActs}: for each new generator function, V8 makes a map in its old
 * space, which then keeps all that the function sees, garbage or not, until the next full collection.
 */
function* performAll(due: readonly Act[], run: Run): Waits<void> {
  const { world } = run;
  for (let index = 0; index < due.length; index++) {
    const each = due[index]!;
    if (each.when !== undefined && !applies(each.when, world.flags)) continue;
    // A report is about what was awaited.
    if (!isReport(each)) run.current = each;
    const waits = performAct(each, world);
    if (waits !== undefined) yield* waits;
    if (each.undo !== undefined) run.done.push(each);
    yield TURN;
  }
}

/** Carries out an act that is not part of a list. */
export function* runAct(each: Act, runtime: Pick<World, "log" | "trace">, action: () => void): Waits<void> {
  const { log, trace } = runtime;
  yield* runActs([each], { log, trace, flags: new Set(), performers: { [each.does.verb]: action } });
}

/** The awaited message, and the acts that follow from it. */
interface Arrived {
  readonly message: Received;
  readonly due: readonly Act[];
}

/**
 * Waits for what `awaited` awaits, and serves requests until then: one span. Descriptors that come with a request are
 * closed once it is served.
 */
function* arrival(awaited: Act<Await>, run: Run): Waits<Arrived> {
  const { world, conversation } = run;
  for (;;) {
    const message = conversation.next() ?? (yield* world.receive!(awaited.does));
    let isKept = false;
    try {
      const due = conversation.feed(message);
      isKept = due === undefined || conversation.awaited !== awaited;
      world.message = message;
      if (due === undefined) continue;
      if (isKept) return { message, due };
      yield* performAll(due, run);
    } finally {
      if (!isKept) message[Symbol.dispose]();
    }
  }
}

function isReport({ does: { verb } }: Act): boolean {
  return verb === "fail" || verb === "died" || verb === "warnOfStep";
}

function applies(when: readonly Condition[], flags: ReadonlySet<Flag>): boolean {
  return when.every(({ flag, is }) => flags.has(flag) === is);
}

/** Most acts do not wait, and most commands are not traced: then no generator is made. */
function performAct(each: Pick<Act, "label" | "does" | "from">, world: World): Waits<void> | void {
  if (world.trace === undefined) return performVerb(each.does, world);
  return inSpanWaits(world.trace, each.label, (span) => performed(each.does, world, span), spanOf(each));
}

function* performed(does: Verb, world: World, span?: OpenSpan): Waits<void> {
  const waits = performVerb(does, world, span);
  if (waits !== undefined) yield* waits;
}

/** Carries out one verb. Returns what is still to be waited for. */
export function performVerb(
  does: Verb,
  { performers }: Pick<World, "performers">,
  span?: OpenSpan,
): Waits<void> | void {
  const perform = performers[does.verb as keyof Performers] as Perform<Verb["verb"]> | undefined;
  if (perform === undefined) throw new RuncError("internal", `nothing here carries out "${does.verb}"`);
  return perform(does as never, span);
}

function spanOf({ from, does }: Pick<Act, "from" | "does">): SpanDetails {
  const kind = does.verb === "runHook" ? "client" : undefined;
  return from === "" ? { kind } : { kind, attributes: { "runc.config": from } };
}

function* takeBack(undo: readonly Undo[], world: World): Waits<void> {
  for (const each of undo) {
    if (each.when !== undefined && !applies(each.when, world.flags)) continue;
    try {
      const waits = performAct({ ...each, from: "" }, world);
      if (waits !== undefined) yield* waits;
    } catch (error) {
      world.log("warning", `while cleaning up: ${(error as Error).message}`);
    }
  }
}

/** What the world knows of the reason. It may fail to find it out: what was done is taken back all the same. */
function reasonOf(error: unknown, failed: Act, world: World): Explained | undefined {
  try {
    return world.explain?.(error, failed);
  } catch (second) {
    world.log("debug", `the reason of the failure cannot be found out: ${(second as Error).message}`);
    return undefined;
  }
}

function explained(error: unknown, failed: Act, world: World): unknown {
  const { error: why, within = failed.within ?? [] }: Explained = reasonOf(error, failed, world) ?? { error };
  if (!(why instanceof RuncError)) return why;
  const told = new RuncError(why.code, why.message, {
    ...why,
    field: why.field ?? (failed.from || undefined),
    step: why.step ?? failed.label,
    cause: why.cause,
  });
  return within.reduce((inner, prefix) => inner.within(prefix), told);
}
