/** Malformed messages, requests, reports and early messages. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { MessageKind } from "../../../../lib/libcontainer/steps/protocol.ts";
import { pids } from "../fake_host.ts";
import { type FakeMessage, fakeMessage, type Kind, type MessageChange } from "../fake_message.ts";
import { type At, at, message, refused, type Sender, states, verbs } from "./conversation_states.ts";

/** Each message that is due somewhere: of an await, or of a request. */
function dueSomewhere(): readonly { at: () => At; kind: Kind; sender: Sender }[] {
  return states.flatMap(({ plan, step, copying }) => {
    const { kind, by, serves } = at(plan, step, copying);
    const here = (kind: string, sender: string) => ({
      at: () => at(plan, step, copying),
      kind: kind as Kind,
      sender: sender as Sender,
    });
    if (copying) return [here("copied", "init")];
    const own = kind === "nothing" || kind === "end" ? [] : [here(kind, by)];
    return [...own, ...serves.map((each) => here(each, "init"))];
  });
}

Deno.test("a message of a wrong length, with wrong descriptors or cut off is refused where it is due", () => {
  for (const { at, kind, sender } of dueSomewhere()) {
    const good = message(kind, sender);
    const wrong: MessageChange[] = [
      ...[1, 4, 8, 15].map((length) => ({ length })),
      ...(kind === "passwd" ? [] : [{ length: 17 }]),
      { length: 16 + 4097 },
      { descriptors: good.descriptors + 1 },
      { isCut: true },
      ...(good.descriptors > 0 ? [{ descriptors: good.descriptors - 1 }] : []),
    ];
    for (const change of wrong) {
      refused(at().conversation, message(kind, sender, change), `${kind} ${JSON.stringify(change)}`);
    }
    at().conversation.feed(good);
  }
});

Deno.test("a report of a wrong length, with descriptors or cut off is refused in every state", () => {
  for (const { plan, step, copying } of states) {
    const { conversation, known } = at(plan, step, copying);
    for (const kind of ["error", "warning"] as const) {
      for (const change of [{ length: 16 }, { length: 23 }, { length: 25 }, { descriptors: 1 }, { isCut: true }]) {
        refused(conversation, message(kind, known[0]!, change));
      }
    }
  }
});

Deno.test("kinds that nobody has are refused in every state", () => {
  for (const { plan, step, copying } of states) {
    const { conversation, known } = at(plan, step, copying);
    // 257 is an error's number, cut to a byte.
    for (const kind of [0, 11, 15, MessageKind.time, 21, 257, 0x80000000, 0xffffffff]) {
      refused(conversation, message("created", known[0]!, { kind }), `kind ${kind}`);
    }
  }
});

Deno.test("an empty message is no end of the socket: who has sent it lives", () => {
  for (const { plan, step, copying } of states) {
    const { conversation, known } = at(plan, step, copying);
    for (const descriptors of [0, 1]) {
      refused(conversation, fakeMessage("end", pids[known.at(-1)!], { descriptors }), `${step} of ${plan}`);
    }
    if (known.includes("init")) refused(conversation, fakeMessage("end", pids.stranger));
    else assertEquals(conversation.feed(fakeMessage("end", pids.stranger)), undefined);
  }
});

const wrongPids = [0n, -1n, 4194305n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 1n << 32n, -0x8000000000000000n];

Deno.test("a pid is one that a process can have, and none that is known", () => {
  for (const kind of ["child", "helper"] as const) {
    const step = kind === "helper" ? 0 : 2;
    for (const value of wrongPids) {
      const { message: text } = refused(at("with a helper", step).conversation, message(kind, "stage", { value }));
      assertEquals(text, `stage sent a message "${kind}" with the value ${value}`);
    }
    const taken = kind === "helper" ? [pids.stage] : [pids.stage, pids.helper];
    for (const pid of taken) {
      const given = message(kind, "stage", { value: BigInt(pid) });
      const { message: text } = refused(at("with a helper", step).conversation, given);
      assertEquals(text, `stage sent a message "${kind}" with ${pid}, which is no new child of the runtime`);
    }
    for (const value of [1n, 4194304n]) {
      const acts = at("with a helper", step).conversation.feed(message(kind, "stage", { value }));
      assertEquals(acts?.[0]?.does, { verb: "adopt", who: kind === "child" ? "init" : "helper", pid: Number(value) });
    }
  }
});

const wrongValues: Readonly<Partial<Record<Kind, readonly bigint[]>>> = {
  mapping: [1n, -1n],
  network: [1n],
  target: [-1n, 1n << 33n],
  copyUp: [-1n, 1n << 32n],
  copied: [1n, -4096n],
  hooks: [1n],
  passwd: [1n],
  ready: [-1n],
  seccomp: [-1n, 1n << 31n],
  created: [1n],
};

Deno.test("values that a kind of message cannot have are refused where it is due", () => {
  const seen = new Set<Kind>();
  for (const { at, kind, sender } of dueSomewhere()) {
    for (const value of wrongValues[kind] ?? []) refused(at().conversation, message(kind, sender, { value }), kind);
    seen.add(kind);
  }
  assertEquals(Object.keys(wrongValues).filter((kind) => !seen.has(kind as Kind)), []);
});

// --- requests -------------------------------------------------------------------------------------------------------

Deno.test("the place of a mount, or its content, is requested once for each mount", () => {
  const { conversation } = at("copyUp", 1);
  for (const kind of ["target", "copyUp"] as const) {
    for (const value of [0n, 1n, 0x1000000n]) conversation.feed(message(kind, "init", { value }));
    refused(conversation, message(kind, "init", { value: 1n }));
  }
  // The same mount as a file is the same mount.
  refused(conversation, message("target", "init", { value: (1n << 32n) + 1n }));
  const [made] = conversation.feed(message("target", "init", { value: (1n << 32n) + 7n })) ?? [];
  assertEquals([made?.from, made?.does], ["/mounts/7", { verb: "makeTarget", mount: 7, isFile: true }]);
  const [device] = conversation.feed(message("target", "init", { value: 0x1000003n })) ?? [];
  assertEquals(device?.from, "/linux/devices/3");
});

Deno.test("while a file is copied, only its end is due, once", () => {
  const { conversation } = at("copyUp", 1);
  refused(conversation, message("copied", "init"));
  conversation.feed(message("copyUp", "init"));
  refused(conversation, message("copied", "init"));
  conversation.expectCopied();
  refused(conversation, message("hooks", "init"));
  const acts = conversation.feed(message("copied", "init", { value: -28n }));
  assertEquals(acts?.map(({ does }) => does), [{ verb: "copied", result: -28 }]);
  refused(conversation, message("copied", "init"));
});

function passwdOf(...pieces: readonly string[]): At["conversation"] {
  const { conversation } = at("typical", 2);
  for (const piece of pieces) conversation.feed(passwd(new TextEncoder().encode(piece)));
  return conversation;
}

function passwd(content: Uint8Array): FakeMessage {
  const given = message("passwd", "init", { length: 16 + content.length });
  given.bytes.set(content, 16);
  return given;
}

Deno.test("/etc/passwd comes in pieces, which need not end with a character, and an empty one ends it", () => {
  const { conversation } = at("typical", 2);
  const bytes = new TextEncoder().encode("root:x:0:0:ä:/r");
  for (const [from, to] of [[0, 12], [12, 14], [14]] as const) conversation.feed(passwd(bytes.subarray(from, to)));
  refused(conversation, message("ready", "init"), "before its end");
  conversation.feed(message("passwd", "init"));
  assertEquals(conversation.passwd, "root:x:0:0:ä:/r");
  refused(conversation, message("passwd", "init"), "after its end");
  refused(conversation, passwd(bytes), "after its end");
  assert(verbs(conversation.feed(message("ready", "init")))!.length > 0);
});

Deno.test("a container without /etc/passwd sends none, or only its end", () => {
  for (const pieces of [[], [""]]) {
    const conversation = passwdOf(...pieces);
    conversation.feed(message("ready", "init"));
    assertEquals(conversation.passwd, "");
  }
});

Deno.test("/etc/passwd comes in a bounded number of pieces, of a bounded length", () => {
  const pieces = passwdOf();
  let count = 0;
  const error = assertThrows(() => {
    for (;; count++) pieces.feed(message("passwd", "init", { length: 17 }));
  }, RuncError);
  assertEquals([count, error.code], [65536, "protocol"]);
  const long = passwdOf();
  let length = 0;
  const tooLong = assertThrows(() => {
    for (;; length += 4096) long.feed(message("passwd", "init", { length: 16 + 4096 }));
  }, RuncError);
  assertEquals([length, tooLong.code], [16 * 1024 * 1024, "unsupported"]);
});

// --- reports and early messages -------------------------------------------------------------------------------------

Deno.test("a report tells its place in the plan and its value", () => {
  const { conversation } = at("typical", 1);
  const given = message("error", "stranger", { value: 13n });
  const view = new DataView(given.bytes.buffer);
  view.setUint32(4, 0x1234, true);
  view.setBigUint64(16, 5n, true);
  assertEquals(conversation.feed(given)?.[0]?.does, { verb: "fail", offset: 0x1234, cursor: 5n, value: 13 });
});

Deno.test("warnings are bounded, and no stranger warns", () => {
  const { conversation } = at("typical", 3);
  for (let count = 0; count < 1024; count++) conversation.feed(message("warning", "init"));
  assertEquals(refused(conversation, message("warning", "init")).message, "init sent more than 1024 warnings");
  refused(at("typical", 3).conversation, message("warning", "stranger"));
});

Deno.test("messages that come before init is known are kept, and taken in their order once it is", () => {
  const { conversation } = at("copyUp", 0);
  const early = [message("target", "init"), message("copyUp", "init"), message("hooks", "init")];
  for (const each of early) assertEquals(conversation.feed(each), undefined);
  assertEquals(conversation.next(), undefined);
  conversation.feed(message("child", "stage"));
  assertEquals(early.map(() => conversation.next()), early);
  for (const each of early) conversation.feed(each);
  assertEquals([conversation.next(), conversation.drop(), conversation.awaited?.does.kind], [undefined, [], "ready"]);
});

Deno.test("what a stranger has sent early is refused once init is known, and given back once if it never is", () => {
  const lies = [message("hooks", "stranger"), message("hooks", "stranger", { length: 3 })];
  const known = at("typical", 0).conversation;
  for (const each of lies) assertEquals(known.feed(each), undefined);
  known.feed(message("child", "stage"));
  for (const each of lies) {
    assertEquals(known.next(), each);
    refused(known, each);
  }
  const never = at("typical", 0).conversation;
  for (const each of lies) never.feed(each);
  assertEquals([never.drop(), never.drop()], [lies, []]);
});

Deno.test("the number of early messages is bounded, and the one too many is not kept", () => {
  const { conversation } = at("typical", 0);
  for (let count = 0; count < 128; count++) conversation.feed(message("target", "stranger"));
  refused(conversation, message("target", "stranger"));
  assertEquals(conversation.drop().length, 128);
});

Deno.test("if the stage ends early, an early error tells why, and nothing that only looks like one", () => {
  const told = at("typical", 0).conversation;
  told.feed(message("target", "stranger"));
  told.feed(message("error", "stranger", { value: 5n }));
  assertEquals(verbs(told.feed(message("end", "stage"))), ["fail"]);
  for (const change of [{ kind: 257 }, { length: 16 }, { isCut: true }, { descriptors: 1 }]) {
    const untold = at("typical", 0).conversation;
    untold.feed(message("error", "stranger", change));
    assertEquals(verbs(untold.feed(message("end", "stage"))), ["died"], JSON.stringify(change));
  }
});

Deno.test("a sender outside of our pid namespace is a stranger", () => {
  const { conversation } = at("typical", 1);
  refused(conversation, fakeMessage("hooks", 0));
});
