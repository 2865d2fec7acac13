/**
 * Random conversations: whatever is sent, the acts are a beginning of the plan, every descriptor that came is closed,
 * nothing but our own children is signalled, and after a refusal nothing is left.
 */

import { assert, assertEquals } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { makesNamespace } from "../../../../lib/libcontainer/config/namespaces.ts";
import type { Await } from "../../../../lib/libcontainer/plans/parent/act.ts";
import { createActs } from "../../../../lib/libcontainer/plans/parent/create.ts";
import { MessageKind } from "../../../../lib/libcontainer/steps/protocol.ts";
import { Random } from "../../../fuzz/random.ts";
import { FakeHost, pids } from "../fake_host.ts";
import { type FakeMessage, fakeMessage, type Kind } from "../fake_message.ts";
import { FakeWorld, usualPeer } from "../fake_world.ts";
import { type CreationName, creationNames, creations } from "../parent_plans.ts";

const kinds = Object.values(MessageKind);
const senders = [0, 1, ...Object.values(pids), 4242];
const values = [0n, 1n, -1n, -28n, 7n, 0x1000000n, 1n << 32n, 0xffffffffn, 4194304n, ...senders.map(BigInt)];
const lengths = [0, 1, 8, 15, 16, 17, 24, 25, 16 + 4096, 16 + 4097];

/** Any message: often one that is nearly right. */
function anyMessage(random: Random): FakeMessage {
  const number = random.below(8) === 0 ? random.below(1000) : random.pick(kinds);
  const [name = "created"] = Object.entries(MessageKind).flatMap(([name, kind]) => kind === number ? [name] : []);
  const kind = name === "time" ? "created" : name as Kind;
  return fakeMessage(kind, random.pick(senders), {
    kind: number,
    value: random.below(2) === 0 ? 0n : random.pick(values),
    isCut: random.below(20) === 0,
    ...(random.below(4) === 0 ? { length: random.pick(lengths) } : {}),
    ...(random.below(4) === 0 ? { descriptors: random.below(3) } : {}),
  });
}

/** What was awaited, and what was sent. */
interface Talked {
  readonly awaits: Await;
  readonly message: FakeMessage;
}

/** Whether a message is what was awaited. */
function isDue({ kind, by }: Await, { bytes, sender }: FakeMessage): boolean {
  if (kind === "end") return bytes.length === 0 && sender === 0;
  return sender === pids[by] && bytes.length === 16 && bytes[0] === MessageKind[kind];
}

/** Each wait that is over has heard what it awaits, from its sender. A message may have come early. */
function checkWaits(talked: readonly Talked[], what: string): void {
  for (const [index, { awaits }] of talked.entries()) {
    const next = talked[index + 1];
    if (next === undefined || next.awaits === awaits || next.awaits.kind === awaits.kind) continue;
    // A file that is copied is awaited in between.
    if (awaits.serves?.some((served) => String(served) === "copied")) continue;
    if (next.awaits.serves?.some((served) => String(served) === "copied")) continue;
    assert(talked.slice(0, index + 1).some(({ message }) => isDue(awaits, message)), `${what}: ${awaits.kind}`);
  }
}

/** One conversation about a plan. `lies`: how many of a hundred messages are any. */
function talk(name: CreationName, seed: number, lies: number) {
  const random = new Random(seed);
  const acts = createActs(creations[name]);
  const host = new FakeHost();
  // A stranger runs on the host, and is nobody's child.
  for (const pid of [1, pids.stranger, 4242]) host.start(pid, false);
  const talked: Talked[] = [];
  const peer = (awaits: Await, world: FakeWorld) => {
    const message = random.chance(lies) ? anyMessage(random) : usualPeer(awaits, world);
    talked.push({ awaits, message });
    return message;
  };
  const world = new FakeWorld({ acts, host, peer, ownsPids: makesNamespace(creations[name].config, "pid") });
  const before = host.snapshot();
  return { acts, world, before, talked, error: world.run() };
}

const codes = ["protocol", "step-failed", "unsupported"];

for (const name of creationNames) {
  Deno.test(`random messages leave nothing, and only what is due is done: ${name}`, () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 400; seed++) {
      const { acts, world, before, talked, error } = talk(name, seed, [2, 10, 30, 100][seed % 4]!);
      const what = `${name}, seed ${seed}`;
      const { host, messages } = world;
      checkWaits(talked, what);
      assertEquals(messages.map(({ disposals }) => disposals), messages.map(() => 1), what);
      assertEquals(host.received, 0, what);
      for (const signalled of host.signalled) {
        assert(
          [pids.stage, pids.helper, pids.init].some((pid) => signalled === `pidfd ${pid}`),
          `${what}: ${signalled}`,
        );
      }
      // The acts that were begun are the plan's, in its order, without those that its conditions leave out.
      const own = acts.filter(({ does }) => does.verb !== "await" && does.verb !== "warn").map(({ does }) => does.verb);
      const extra = ["await", "warn", "makeTarget", "copyUp", "copied", "warnOfStep", "fail", "died"];
      const begun = world.done.map(({ verb }) => verb).filter((verb) => !extra.includes(verb));
      const goes = world.done.filter(({ verb }) => verb === "makeTarget" || verb === "copyUp").length;
      seen.add(error === undefined ? "created" : (error as RuncError).code);
      if (error === undefined) {
        assertEquals(begun.filter((verb) => verb !== "go"), own.filter((verb) => verb !== "go"), what);
        assertEquals(begun.length, own.length + goes, what);
        continue;
      }
      assert(error instanceof RuncError && codes.includes(error.code), `${what}: ${error}`);
      assertEquals(host.snapshot(), before, what);
      assertEquals(world.warnings, [], what);
    }
    // Both ends were seen, or the test tests nothing.
    assert(seen.has("created") && seen.has("protocol") && seen.has("step-failed"), [...seen].join(" "));
  });
}

Deno.test("a pid that is no child of ours ends the creation, and is not signalled", () => {
  for (const lie of ["child", "helper"] as const) {
    for (const pid of [1, pids.stranger, 4242, 4194304]) {
      const acts = createActs(creations["with a helper"]);
      const host = new FakeHost();
      host.start(pids.stranger, false);
      const peer = (awaits: Await, world: FakeWorld) => {
        if (awaits.kind === lie) return fakeMessage(lie, pids.stage, { value: BigInt(pid) });
        return usualPeer(awaits, world);
      };
      const world = new FakeWorld({ acts, host, peer });
      const before = host.snapshot();
      assertEquals((world.run() as RuncError).code, "protocol");
      assertEquals(host.snapshot(), before);
      const ours = lie === "helper" ? [pids.stage] : [pids.stage, pids.helper];
      assertEquals(host.signalled, ours.map((each) => `pidfd ${each}`));
    }
  }
});
