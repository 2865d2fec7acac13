/** Every kind of message in every state of every plan, from everybody: what is due is taken, and nothing else is. */

import { assertEquals } from "@std/assert";
import { Conversation } from "../../../../lib/libcontainer/launch/conversation.ts";
import type { Act } from "../../../../lib/libcontainer/plans/parent/act.ts";
import { pids } from "../fake_host.ts";
import type { FakeMessage, Kind } from "../fake_message.ts";
import {
  actsOf,
  type At,
  at,
  awaitsIn,
  due,
  kinds,
  lineOf,
  message,
  refused,
  type Sender,
  senders,
  states,
  verbs,
} from "./conversation_states.ts";

for (const [plan, lines] of Object.entries(due)) {
  Deno.test(`the plan awaits what its stage and init send: ${plan}`, () => {
    assertEquals(awaitsIn(actsOf(plan).acts).map(lineOf), lines);
  });
}

Deno.test("what is due gives the plan's acts up to the next wait, with what the message has said", () => {
  for (const plan of Object.keys(due)) {
    const { acts, init } = actsOf(plan);
    const conversation = new Conversation<FakeMessage>(acts, init);
    const given: Act[] = [...conversation.begin()];
    if (init === undefined) conversation.stageIs(pids.stage);
    for (const { kind, by } of awaitsIn(acts)) {
      assertEquals(conversation.awaited?.does.kind, kind);
      const change = kind === "seccomp" ? { value: 9n } : {};
      given.push(conversation.awaited!, ...conversation.feed(message(kind, by, change)) ?? []);
    }
    const told = acts.map((each) => {
      if (each.does.verb === "adopt") return { ...each, does: { ...each.does, pid: pids[each.does.who] } };
      return each.does.verb === "handListener" ? { ...each, does: { ...each.does, fd: 9 } } : each;
    });
    assertEquals(given, told, plan);
    assertEquals(conversation.awaited, undefined);
  }
});

/** What a message of this kind has to lead to. */
function expectation({ kind: awaited, by, serves, known }: At, kind: Kind, sender: Sender, copying: boolean): string {
  const hasInit = known.includes("init");
  if (!known.includes(sender) && !hasInit) return "kept";
  if (kind === "error") return "fail";
  if (kind === "warning") return known.includes(sender) ? "warnOfStep" : "refused";
  if (copying) return kind === "copied" && sender === "init" ? "copied" : "refused";
  if (kind === awaited && sender === by) return "on";
  return serves.includes(kind) && sender === "init" ? "served" : "refused";
}

const servedVerbs: Readonly<Record<string, readonly string[]>> = {
  target: ["makeTarget", "go"],
  copyUp: ["copyUp", "go"],
  passwd: [],
};

for (const kind of kinds) {
  Deno.test(`"${kind}" in every state of every plan, from everybody`, () => {
    for (const { plan, step, copying } of states) {
      for (const sender of senders) {
        const state = at(plan, step, copying);
        const { conversation } = state;
        const before = conversation.awaited;
        const what = `"${kind}" by ${sender} at ${step} of ${plan}`;
        const wanted = expectation(state, kind, sender, copying);
        if (wanted === "refused") refused(conversation, message(kind, sender), what);
        else {
          const got = verbs(conversation.feed(message(kind, sender)));
          if (wanted === "kept") assertEquals(got, undefined, what);
          else if (wanted === "served") assertEquals(got, servedVerbs[kind], what);
          else if (wanted !== "on") assertEquals(got, [wanted], what);
          assertEquals(conversation.awaited !== before, wanted === "on", what);
        }
      }
    }
  });
}

Deno.test("the end of the socket is due where it is awaited, and else somebody has died", () => {
  for (const { plan, step, copying } of states) {
    const { conversation, kind } = at(plan, step, copying);
    const acts = conversation.feed(message("end", "init"));
    if (kind === "end" && !copying) assertEquals(conversation.awaited, undefined);
    else assertEquals(verbs(acts), ["died"], `${step} of ${plan}`);
  }
});

Deno.test("what is due once is refused a second time", () => {
  for (const { plan, step } of states) {
    const { conversation, kind, by } = at(plan, step);
    if (kind === "nothing" || kind === "end") continue;
    const change = kind === "child" || kind === "helper" ? { value: 4000n } : {};
    conversation.feed(message(kind as Kind, by as Sender));
    refused(conversation, message(kind as Kind, by as Sender), `${kind} of ${plan}`);
    refused(conversation, message(kind as Kind, by as Sender, change), `another ${kind} of ${plan}`);
  }
});
