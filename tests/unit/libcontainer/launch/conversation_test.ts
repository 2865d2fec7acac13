/** Every kind of message in every state of a conversation, from everybody: what is due is taken, and nothing else is. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import {
  Conversation,
  type ConversationState,
  type Kind,
  type Sender,
  type Statement,
} from "../../../../lib/libcontainer/launch/conversation.ts";
import { MessageKind, type Planned } from "../../../../lib/libcontainer/steps/protocol.ts";
import { planCreate, saidInCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { planExec, saidInExec } from "../../../../lib/libcontainer/plans/exec.ts";
import type { SeccompProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import type { SeccompFilter } from "../../../../lib/libcontainer/seccomp/filter.ts";
import { seccompActions } from "../../../../lib/libcontainer/seccomp/names.ts";
import type { Data, Plan } from "../../../../lib/plan/op.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import { callsOf } from "../../plan_reader.ts";
import { config, type Draft, facts, request } from "../fixed.ts";

const everything: readonly Planned[] = [
  "helper",
  "mapping",
  "child",
  "network",
  "target",
  "copyUp",
  "hooks",
  "passwd",
  "seccomp",
  "created",
];
/** Of a plan whose filter, with a listener, comes after "created". */
const lateFilter: readonly Planned[] = [...everything.filter((each) => each !== "seccomp"), "lateSeccomp"];
const kinds = (Object.keys(MessageKind) as (keyof typeof MessageKind)[]).filter((kind): kind is Kind =>
  kind !== "time"
);
const senders: readonly Sender[] = ["stage", "helper", "init", "stranger"];

/** A message as it has to be. */
function message(kind: Kind, sender: Sender, change: Partial<Statement> = {}): Statement {
  const isReport = kind === "error" || kind === "warning";
  return {
    kind: MessageKind[kind],
    sender,
    value: kind === "child" || kind === "helper" ? 4000n : 0n,
    length: isReport ? 24 : 16,
    descriptors: kind === "target" ? 1 : kind === "copyUp" ? 2 : 0,
    ...change,
  };
}

/** What leads to each state of a container's start. */
const ways: Readonly<Record<ConversationState, readonly (readonly [Kind, Sender])[]>> = {
  namespaces: [],
  mounts: [["child", "stage"]],
  content: [["child", "stage"], ["copyUp", "init"]],
  root: [["child", "stage"], ["hooks", "init"]],
  credentials: [["child", "stage"], ["hooks", "init"], ["ready", "init"]],
  filter: [["child", "stage"], ["hooks", "init"], ["ready", "init"], ["created", "init"]],
  program: [["child", "stage"], ["hooks", "init"], ["ready", "init"], ["created", "init"]],
};
const states = Object.keys(ways) as readonly ConversationState[];

function conversation(
  state: ConversationState,
  planned: readonly Planned[] = state === "filter" ? lateFilter : everything,
): Conversation {
  const made = new Conversation(planned);
  for (const [kind, sender] of ways[state]) made.take(message(kind, sender));
  if (state === "content") made.expectCopied();
  assertEquals(made.state, state);
  return made;
}

function refuses(made: Conversation, statement: Statement): string {
  const before = made.state;
  const error = assertThrows(() => made.take(statement), RuncError);
  assertEquals([error.code, made.state], ["protocol", before]);
  return error.message;
}

/** Who may say what where, and what then is: written by hand, and not read from the table. */
const due: Readonly<Record<ConversationState, Partial<Readonly<Record<Kind, readonly [Sender, ConversationState]>>>>> =
  {
    namespaces: {
      helper: ["stage", "namespaces"],
      mapping: ["stage", "namespaces"],
      child: ["stage", "mounts"],
    },
    mounts: {
      network: ["init", "mounts"],
      target: ["init", "mounts"],
      copyUp: ["init", "mounts"],
      hooks: ["init", "root"],
    },
    content: { copied: ["init", "mounts"] },
    root: { passwd: ["init", "root"], ready: ["init", "credentials"] },
    credentials: { seccomp: ["init", "credentials"], created: ["init", "program"] },
    filter: { seccomp: ["init", "program"] },
    program: {},
  };

for (const state of states) {
  for (const kind of kinds) {
    Deno.test(`"${kind}" in the state "${state}"`, () => {
      for (const sender of senders) {
        const made = conversation(state);
        const isReport = kind === "error" || (kind === "warning" && sender !== "stranger");
        const [by, to] = isReport ? [sender, state] : due[state][kind] ?? [];
        if (by === sender) assertEquals([made.take(message(kind, sender)), made.state], [kind, to]);
        else refuses(made, message(kind, sender));
      }
    });
  }
}

for (const kind of ["helper", "mapping", "network", "target", "copyUp", "passwd", "seccomp", "created"] as const) {
  Deno.test(`"${kind}" is refused where the plan has it not`, () => {
    const state = states.find((each) => due[each][kind] !== undefined)!;
    const others = everything.filter((each) => each !== kind);
    // The way there may need what is left out.
    const made = state === "content" ? conversation("mounts", others) : conversation(state, others);
    refuses(made, message(kind, due[state][kind]![0]));
  });
}

Deno.test("what is said once is refused a second time", () => {
  for (
    const [state, kind] of [["namespaces", "helper"], ["namespaces", "mapping"], ["mounts", "network"], [
      "credentials",
      "seccomp",
    ]] as const
  ) {
    const made = conversation(state);
    const statement = message(kind, due[state][kind]![0]);
    made.take(statement);
    refuses(made, statement);
  }
  // These lead to a state in which they are not due.
  for (
    const [state, kind] of [["namespaces", "child"], ["mounts", "hooks"], ["root", "ready"], [
      "credentials",
      "created",
    ]] as const
  ) {
    const made = conversation(state);
    const statement = message(kind, due[state][kind]![0]);
    made.take(statement);
    refuses(made, statement);
  }
});

Deno.test('a listener is told of before or after "created", as the plan has it, once, and not in both places', () => {
  const late = conversation("credentials", lateFilter);
  refuses(late, message("seccomp", "init"));
  late.take(message("created", "init"));
  assertEquals(late.state, "filter");
  refuses(late, message("created", "init"));
  late.take(message("seccomp", "init"));
  assertEquals(late.state, "program");
  refuses(late, message("seccomp", "init"));
  const early = conversation("program");
  refuses(early, message("seccomp", "init"));
});

Deno.test("a mount's place, or its content, is asked for once for each mount", () => {
  const made = conversation("mounts");
  for (const kind of ["target", "copyUp"] as const) {
    for (const value of [0n, 1n, 0x1000000n]) made.take(message(kind, "init", { value }));
    refuses(made, message(kind, "init", { value: 1n }));
  }
  // The same mount as a file is the same mount.
  refuses(made, message("target", "init", { value: (1n << 32n) + 1n }));
  made.take(message("target", "init", { value: (1n << 32n) + 7n }));
});

Deno.test("/etc/passwd ends with an empty piece, and comes in a bounded number of them", () => {
  const made = conversation("root");
  made.take(message("passwd", "init", { length: 16 + 4096 }));
  made.take(message("passwd", "init", { length: 17 }));
  made.take(message("passwd", "init"));
  refuses(made, message("passwd", "init", { length: 20 }));
  const endless = conversation("root");
  let pieces = 0;
  assertThrows(() => {
    for (;; pieces++) endless.take(message("passwd", "init", { length: 17 }));
  }, RuncError);
  assertEquals(pieces, 65536);
});

Deno.test("warnings are bounded", () => {
  const made = conversation("program");
  for (let count = 0; count < 1024; count++) made.take(message("warning", "init"));
  assertEquals(refuses(made, message("warning", "init")), "init sent more than 1024 warnings");
});

Deno.test("a process is named by a number that a process can have", () => {
  for (const kind of ["child", "helper"] as const) {
    for (const value of [-1n, 0n, 4194305n, 0xffffffffn, -0x8000000000000000n, 0x7fffffffffffffffn]) {
      const text = refuses(conversation("namespaces"), message(kind, "stage", { value }));
      assertEquals(text, `stage sent a message "${kind}" with the value ${value}`);
    }
    for (const value of [1n, 4194304n]) conversation("namespaces").take(message(kind, "stage", { value }));
  }
});

const wrongValues: readonly (readonly [ConversationState, Kind, readonly bigint[]])[] = [
  ["namespaces", "mapping", [1n, -1n]],
  ["mounts", "network", [1n]],
  ["mounts", "target", [-1n, 1n << 33n]],
  ["mounts", "copyUp", [-1n, 1n << 32n]],
  ["mounts", "hooks", [1n]],
  ["content", "copied", [1n, -4096n]],
  ["root", "passwd", [1n]],
  ["root", "ready", [-1n]],
  ["credentials", "seccomp", [-1n, 1n << 31n]],
  ["credentials", "created", [1n]],
  ["filter", "seccomp", [-1n, 1n << 31n]],
];
Deno.test("values that a kind of message cannot have are refused", () => {
  for (const [state, kind, values] of wrongValues) {
    for (const value of values) refuses(conversation(state), message(kind, due[state][kind]![0], { value }));
  }
});

Deno.test("lengths and descriptors that a kind of message cannot have are refused", () => {
  for (const state of states) {
    for (const kind of kinds) {
      const sender = due[state][kind]?.[0] ?? "init";
      const good = message(kind, sender);
      for (const length of [good.length - 1, good.length + 1, good.length + 4097]) {
        if (kind === "passwd" && length === good.length + 1) continue;
        refuses(conversation(state), { ...good, length });
      }
      for (const descriptors of [good.descriptors - 1, good.descriptors + 1].filter((count) => count >= 0)) {
        refuses(conversation(state), { ...good, descriptors });
      }
    }
  }
});

Deno.test("kinds that nobody has are refused in every state", () => {
  const known = new Set<number>(Object.values(MessageKind));
  for (const state of states) {
    for (const kind of [0, 11, 15, 20, 21, 0xffffffff]) {
      assert(!known.has(kind) || kind === MessageKind.time);
      refuses(conversation(state), { kind, sender: "init", value: 0n, length: 16, descriptors: 0 });
    }
  }
});

Deno.test("a further process has no mounts: after its pid comes what is done in the root", () => {
  const made = new Conversation(["child", "passwd", "created"]);
  made.take(message("child", "stage"));
  assertEquals(made.state, "root");
  refuses(made, message("hooks", "init"));
  refuses(made, message("target", "init"));
  made.take(message("passwd", "init"));
  made.take(message("ready", "init"));
  refuses(made, message("seccomp", "init"));
  made.take(message("created", "init"));
  refuses(made, message("ready", "init"));
});

// --- what plans say -------------------------------------------------------------------------------------------------------

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

/** What a plan tells on the socket, in order. */
function words({ stage, init }: Plan): readonly Kind[] {
  const numbers = callsOf([...stage, ...init])
    .filter(({ call, args: [fd] }) =>
      call.startsWith("send") || call === "write" ? JSON.stringify(fd) === '{"fd":"sync"}' : false
    )
    .flatMap(({ call, args }) => call === "sendto" ? [MessageKind.passwd] : kindsIn(args[1]));
  return numbers.flatMap((number) => kinds.filter((kind) => MessageKind[kind] === number));
}

/** The kinds that a plan tells, each once. */
const said = (plan: Plan): readonly Kind[] => kinds.filter((kind) => words(plan).includes(kind));

const always: readonly Kind[] = ["ready"];
const sorted = (list: readonly (Kind | Planned)[]) => [...list].sort();
const hooks = { createContainer: [{ path: "/hook" }] };
const idMap = [{ containerID: 0, hostID: 1000, size: 1000 }];

const plans: readonly (readonly [name: string, change: (draft: Draft<Config>) => void])[] = [
  ["the usual one", () => {}],
  ["one with a mount", (draft) => draft.mounts.push({ destination: "/t", type: "tmpfs", source: "t" } as never)],
  ["one with hooks", (draft) => draft.hooks = hooks as never],
  ["one that knows its HOME", (draft) => draft.process.env = ["HOME=/", "A=b"]],
  ["one whose HOME is empty", (draft) => draft.process.env = ["HOME=/", "HOME="]],
  ["one without an environment", (draft) => delete (draft.process as { env?: unknown }).env],
  ["one with a network device", (draft) => draft.linux.netDevices = { eth0: {} } as never],
  ["one with a user namespace", (draft) => {
    draft.linux.namespaces.push({ type: "user" } as never);
    draft.linux.uidMappings = idMap;
    draft.linux.gidMappings = idMap;
  }],
];
for (const [name, change] of plans) {
  Deno.test(`a container's plan says what it is expected to say: ${name}`, () => {
    const spec = config(change);
    const planned = saidInCreate(spec, request, false);
    const found = said(planCreate(spec, facts, request));
    // Some kinds of mount have nothing to ask for.
    const without = (list: readonly (Kind | Planned)[]) => [...list].filter((kind) => kind !== "target").sort();
    assertEquals(without([...planned, ...always]), without(found));
    assert(planned.includes("target") || !found.includes("target"));
    if (name === "one with a mount") assert(found.includes("target"));
  });
}

Deno.test("the plan of a further process says what it is expected to say", () => {
  const { process } = config();
  for (const env of [undefined, [], ["HOME=/root"], ["A=b"]]) {
    const one = { ...process!, env };
    const how = { ...request, namespaces: ["pid"] as const, hasCpuset: false };
    assertEquals(sorted([...saidInExec(one, how), ...always]), sorted(said(planExec(one, facts, how))));
  }
});

const filter = (profile: Omit<SeccompProfile, "architectures">): SeccompFilter => ({
  profile: { ...profile, architectures: null },
  program: new Uint8Array(24),
  flags: 0,
});
const noListener = filter({ default_action: seccompActions.SCMP_ACT_ALLOW, syscalls: [] });
const rule = { name: "mkdir", action: seccompActions.SCMP_ACT_NOTIFY, errnoRet: null, args: null };
const withListener = filter({ default_action: seccompActions.SCMP_ACT_ALLOW, syscalls: [rule] });

/** The plan of a process under a filter, and what it is expected to say. */
function filtered(command: "create" | "run" | "exec", seccomp: SeccompFilter, noNewPrivileges: boolean) {
  const spec = config((draft) => {
    draft.process.noNewPrivileges = noNewPrivileges;
    draft.process.env = ["HOME=/"];
  });
  if (command === "exec") {
    const how = { ...request, namespaces: ["pid"] as const, seccomp };
    return { plan: planExec(spec.process!, facts, how), planned: saidInExec(spec.process!, how) };
  }
  const how = { ...request, seccomp, startBy: command === "run" ? "parent" as const : "fifo" as const };
  return { plan: planCreate(spec, facts, how), planned: saidInCreate(spec, how, false) };
}

for (const command of ["create", "run", "exec"] as const) {
  for (const noNewPrivileges of [false, true]) {
    for (const listens of [false, true]) {
      const what = `noNewPrivileges ${noNewPrivileges}${listens ? ", with a listener" : ""}`;
      Deno.test(`${command} under a filter says what is due, in its order, and nothing is due then: ${what}`, () => {
        const { plan, planned } = filtered(command, listens ? withListener : noListener, noNewPrivileges);
        const order = words(plan).filter((kind) => kind !== "target");
        const isLate = noNewPrivileges && command !== "create";
        const hasCreated = command !== "exec" || noNewPrivileges;
        const seccomp: readonly Kind[] = listens ? ["seccomp"] : [];
        const created: readonly Kind[] = hasCreated ? ["created"] : [];
        assertEquals(order, [
          "child",
          ...(command === "exec" ? [] : ["hooks"] as const),
          "ready",
          ...(isLate ? [...created, ...seccomp] : [...seccomp, ...created]),
        ]);
        assertEquals(planned.includes("created"), hasCreated);
        assertEquals(
          [planned.includes("seccomp"), planned.includes("lateSeccomp")],
          [listens && !isLate, listens && isLate],
        );
        const made = new Conversation(planned);
        for (const kind of order) made.take(message(kind, kind === "child" ? "stage" : "init"));
        for (const kind of kinds.filter((each) => each !== "error" && each !== "warning")) {
          for (const sender of senders) refuses(made, message(kind, sender));
        }
      });
    }
  }
}
