/** What the plan of stage and init sends is what the parent awaits, in the same order. */

import { assert, assertEquals } from "@std/assert";
import { planCreate } from "../../../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../../../lib/libcontainer/plans/exec.ts";
import type { Act, Await } from "../../../../../lib/libcontainer/plans/parent/act.ts";
import { createActs, startActs } from "../../../../../lib/libcontainer/plans/parent/create.ts";
import { execActs } from "../../../../../lib/libcontainer/plans/parent/exec.ts";
import { MessageKind } from "../../../../../lib/libcontainer/steps/protocol.ts";
import type { Data, Plan } from "../../../../../lib/plan/op.ts";
import { callsOf } from "../../../plan_reader.ts";
import { creationNames, creations, executionNames, executions } from "../../parent_plans.ts";

type Kind = keyof typeof MessageKind;

/** Kinds of message that the data of a call hold: the message itself, or a header that leads to it. */
function kindsIn(data: unknown, depth = 0): readonly number[] {
  if (typeof data !== "object" || data === null || !("data" in data) || depth > 2) return [];
  const known = data as Data;
  if (known.data === "at") return kindsIn(known.base, depth + 1);
  if (known.data !== "struct") return [];
  const { words, size } = known;
  const [first] = words;
  if (size === 16 && first?.at === 0 && first.size === 4) return [first.value as number];
  return words.flatMap(({ value }) => kindsIn(value, depth + 1));
}

/** What a plan sends on the socket, in order. */
function sent({ stage, init }: Plan): readonly Kind[] {
  const numbers = callsOf([...stage, ...init])
    .filter(({ call, args: [fd] }) => /^(send|write$)/.test(call) && JSON.stringify(fd) === '{"fd":"sync"}')
    .flatMap(({ call, args }) => call === "sendto" ? [MessageKind.passwd] : kindsIn(args[1]));
  return numbers.flatMap((number) =>
    (Object.keys(MessageKind) as Kind[]).filter((kind) => MessageKind[kind] === number)
  );
}

const requests: readonly Kind[] = ["target", "copyUp", "copied", "passwd"];

/** `acts` await what `plan` sends, and serve what it requests where it does. */
function check(name: string, plan: Plan, acts: readonly Act[]): void {
  const awaits = acts.flatMap(({ does }): readonly Await[] =>
    does.verb === "await" && does.kind !== "end" ? [does] : []
  );
  const messages = sent(plan);
  assertEquals(messages.filter((kind) => !requests.includes(kind)), awaits.map(({ kind }) => kind as Kind), name);
  // The messages before each awaited one are requests that its act serves.
  for (const { kind, serves = [] } of awaits) {
    const end = messages.indexOf(kind as Kind);
    const begin = messages.slice(0, end).findLastIndex((each) => !requests.includes(each));
    const made = messages.slice(begin + 1, end).filter((each) => each !== "copied");
    for (const request of made) {
      assert(serves.some((served) => served === request), `${name}: ${request} before ${kind}`);
    }
    if (serves.includes("passwd")) assert(made.includes("passwd"), name);
    if (serves.includes("copyUp")) assert(made.includes("copyUp"), name);
  }
}

for (const name of creationNames) {
  Deno.test(`the parent of a creation awaits what stage and init send: ${name}`, () => {
    const input = creations[name];
    const { config, facts, request, mounts } = input;
    const start = request.startBy === "parent" ? startActs(input) : [];
    check(name, planCreate(config, facts, request, mounts), [...createActs(input), ...start]);
  });
}

for (const name of executionNames) {
  Deno.test(`the parent of an exec awaits what stage and init send: ${name}`, () => {
    const { process, facts, request } = executions[name];
    check(name, planExec(process, facts, request), execActs(executions[name]));
  });
}
