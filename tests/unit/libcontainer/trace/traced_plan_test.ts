/** Where marks stand in a plan, and that they change nothing else. */

import { assert, assertEquals } from "@std/assert";
import type { LaunchRequest } from "../../../../lib/libcontainer/config/launch_request.ts";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../../lib/libcontainer/plans/exec.ts";
import { MessageKind } from "../../../../lib/libcontainer/steps/protocol.ts";
import type { SeccompFilter } from "../../../../lib/libcontainer/seccomp/filter.ts";
import { type TracedPlan, tracePlan } from "../../../../lib/libcontainer/trace/traced_plan.ts";
import { at, call, fixedFd, step, stringPointers } from "../../../../lib/plan/build.ts";
import { encode } from "../../../../lib/plan/native/encode.ts";
import type { CallOp, ForkOp, IfOp, Op, Plan, Step } from "../../../../lib/plan/op.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import {
  allOps,
  callsNamed,
  callsOf,
  descriptorsOf,
  labels,
  pointedTo,
  stepOf,
  structArg,
  structHex,
} from "../../plan_reader.ts";
import { cgroup2Entry, config, type Draft, facts, facts2, request } from "../fixed.ts";

interface Changes {
  readonly request?: Partial<LaunchRequest>;
  readonly facts?: typeof facts;
}
const create = (change: (draft: Draft<Config>) => void = () => {}, changes: Changes = {}): Plan =>
  planCreate(config(change), changes.facts ?? facts, { ...request, ...changes.request });
const run = (change?: (draft: Draft<Config>) => void, more: Partial<LaunchRequest> = {}) =>
  create(change, { request: { startBy: "parent", ...more } });
const exec = () =>
  planExec(config().process!, facts, {
    id: "box",
    namespaces: ["mount", "pid", "network"],
    cgroup: request.cgroup,
    noNewKeyring: false,
    inheritedFds: 0,
    listenFds: 0,
    pidfdSocket: false,
  });

const everyHook = (draft: Draft<Config>) => {
  draft.hooks = {
    createContainer: [{ path: "/one" }, { path: "/two", env: ["A=1", "TRACEPARENT=old"], timeout: 3 }],
    startContainer: [{ path: "/three" }],
    prestart: [{ path: "/host" }],
  } as never;
};
const userNamespace = (draft: Draft<Config>) => {
  draft.linux.namespaces.push({ type: "user", path: "" });
  draft.mounts.push({ destination: "/in", source: "/out", options: ["bind"] } as never);
};

/** The number of the mark that an op sends, if it is one. */
function markNumber(op: Op): number | undefined {
  if (op.op !== "call" || op.call !== "write") return undefined;
  const [fd, message, size] = op.args;
  if (typeof fd !== "object" || !("fd" in fd) || fd.fd !== "sync" || size !== 24) return undefined;
  assert(typeof message === "object" && "data" in message && message.data === "struct");
  const view = new DataView(Uint8Array.fromHex(structHex(message).replaceAll(" ", "")).buffer);
  assertEquals(view.getUint32(0, true), MessageKind.time);
  return view.getUint32(4, true);
}

const isMark = (op: Op) => markNumber(op) !== undefined || (op.op === "call" && op.call === "clock_gettime");

/** Numbers of the marks among these ops, and inside them. */
const marksIn = (ops: readonly Op[]) => allOps(ops).flatMap((op) => markNumber(op) ?? []);

/** The ops without marks. */
function unmarked(ops: readonly Op[]): readonly Op[] {
  return ops.filter((op) => !isMark(op)).map((op) => {
    if (op.op === "fork") return { ...op, child: unmarked(op.child), parent: unmarked(op.parent) };
    return op.op === "if" ? { ...op, then: unmarked(op.then) } : op;
  });
}

/** The steps without marks. */
const without = (steps: readonly Step[]) =>
  steps.map((step) => ({ ...step, ops: unmarked(step.ops) })).filter(({ ops }) => ops.length > 0);

const told = ({ marks }: TracedPlan) => marks.map(({ actor, step }) => `${actor}: ${step?.label ?? "begins"}`);

const plans: Readonly<Record<string, Plan>> = {
  "a container that waits": create(),
  "a container that runs at once": run(),
  "a container with hooks": run(everyHook),
  "a container with a user namespace and a helper": create(userNamespace),
  "a container on cgroup v2": create(undefined, { facts: facts2, request: { cgroup: cgroup2Entry } }),
  "a further process": exec(),
};

for (const [name, plan] of Object.entries(plans)) {
  Deno.test(`${name} is the same without the marks, and is not changed itself`, () => {
    const options = { arch: "x86_64", fds: descriptorsOf(plan) } as const;
    const before = encode(plan, options).image;
    const traced = tracePlan(plan);
    assertEquals(encode(plan, options).image, before);
    assertEquals(without(traced.plan.stage), plan.stage);
    assertEquals(without(traced.plan.init), plan.init);
  });

  Deno.test(`${name} tells of each step once, in order`, () => {
    const { plan: { stage, init }, marks } = tracePlan(plan);
    const sent = marksIn([...stage, ...init].flatMap(({ ops }) => ops));
    assertEquals(new Set(sent).size, sent.length);
    // The last one of a plan that ends in execve is told by the socket's end.
    const silent = marks.map((_, number) => number).filter((number) => !sent.includes(number));
    assert(silent.every((number) => marks[number]!.step === plan.init.at(-1)), String(silent));
    const steps = marks.flatMap(({ step }) => step ?? []);
    const all = [...plan.stage, ...plan.init];
    // Up to the step that closes the socket.
    assertEquals(labels(steps), labels(all.slice(0, steps.length)));
  });
}

Deno.test("stage and init begin, and each of their steps is told by a step that follows it", () => {
  const plan = create();
  const traced = tracePlan(plan);
  assertEquals(told(traced).slice(0, 2), ["stage: begins", "stage: close what the caller left open"]);
  const [first, second, third] = traced.plan.stage;
  assertEquals([marksIn(first!.ops), second, marksIn(third!.ops)], [[0], plan.stage[0]!, [1]]);
  // What ends a step early ends it before its mark.
  const { init } = traced.plan;
  const mount = init.indexOf(stepOf(init, "mount proc on /proc"));
  assertEquals(init[mount], stepOf(plan.init, "mount proc on /proc"));
  assertEquals(init[mount + 1]!.ops.map((op) => (op as CallOp).call), ["clock_gettime", "write"]);
});

Deno.test("a mark reads CLOCK_MONOTONIC into its own message, and goes on without where that is refused", () => {
  const [clock, send] = tracePlan(create()).plan.stage[0]!.ops as CallOp[];
  assertEquals(clock!.args, [1, at(structArg(send!, 1), 8)]);
  assertEquals([clock!.tolerate, send!.tolerate], [["*"], undefined]);
});

Deno.test("the stage tells of its fork before it says who init is; init begins in the child", () => {
  const traced = tracePlan(create());
  const fork = stepOf(traced.plan.stage, "fork the container's process, tell the parent its pid and exit").ops.at(
    -1,
  ) as ForkOp;
  const [done, ...others] = marksIn(fork.parent);
  assertEquals(traced.marks[done!]!.step?.label, "fork the container's process, tell the parent its pid and exit");
  assertEquals([others, isMark(fork.parent[0]!), (fork.parent.at(-1) as CallOp).call], [[], true, "exit_group"]);
  const [begins] = marksIn(fork.child);
  assertEquals(traced.marks[begins!], { actor: "init", step: undefined });
});

Deno.test("the helper tells of its steps alone; the stage, which passes by, does not", () => {
  const traced = tracePlan(create(userNamespace));
  const helpers = traced.marks.filter(({ actor }) => actor === "helper").map(({ step }) => step?.label);
  assertEquals(helpers, [
    undefined,
    "receive the container's namespaces and join its mount namespace",
    "open /out and send it to init",
    "end the helper",
  ]);
  const { stage } = traced.plan;
  const start = stepOf(stage, "start a helper that opens sources of mounts on the host and tell the parent its pid")
    .ops[0] as ForkOp;
  const [inChild] = marksIn(start.child);
  const [inParent] = marksIn(start.parent);
  assertEquals([traced.marks[inChild!]!.actor, traced.marks[inParent!]!.actor], ["helper", "stage"]);
  const only = stepOf(stage, "end the helper").ops[0] as IfOp;
  assertEquals((only.then.at(-1) as CallOp).call, "exit_group");
  assertEquals(marksIn(only.then).length, 1);
});

Deno.test("a hook's fork does not tell: its parent does, when it has ended", () => {
  const { plan } = tracePlan(run(everyHook));
  for (const { ops } of plan.init.filter(({ label }) => /^run \w+ hook/.test(label))) assertEquals(marksIn(ops), []);
});

Deno.test("nothing is told once the socket is closed, and of that step before it says its last word", () => {
  for (
    const [plan, label] of [
      [create(), "tell the parent that the container is created and close the socket to it"],
      [exec(), "tell the parent that the command was found and close the socket to it"],
    ] as const
  ) {
    const { init } = tracePlan(plan).plan;
    const last = init.findIndex((step) => step.label === label);
    assertEquals(isMark(init[last]!.ops[0]!), true);
    assertEquals(marksIn(init.slice(last).flatMap(({ ops }) => ops)).length, 1);
    assertEquals(init.slice(last + 1), plan.init.slice(plan.init.findIndex((step) => step.label === label) + 1));
  }
});

Deno.test("in run the program's start is the last thing that is told of, by nobody", () => {
  const traced = tracePlan(run());
  assertEquals(told(traced).at(-1), "init: become sh");
  assert(!marksIn(traced.plan.init.flatMap(({ ops }) => ops)).includes(traced.marks.length - 1));
});

/** Which of the marks in these steps read the clock. */
function readClock(steps: readonly Step[]): readonly string[] {
  const marks = steps.filter(({ ops }) => ops.length > 0 && ops.every(isMark));
  return marks.filter(({ ops }) => ops.length === 2).map(({ label }) => /"(.*)"/.exec(label)![1]!);
}

const filter: SeccompFilter = {
  profile: { default_action: 1, architectures: null, syscalls: null },
  program: new Uint8Array(8),
  flags: 0,
};
for (const [noNewPrivileges, after] of [[false, "and HOME"], [true, "make sure that sh was found"]] as const) {
  for (const flags of [0, 2]) {
    Deno.test(`from the filter on the clock is not read: noNewPrivileges ${noNewPrivileges}, flags ${flags}`, () => {
      const change = (draft: Draft<Config>) => draft.process.noNewPrivileges = noNewPrivileges;
      const { init } = tracePlan(run(change, { seccomp: { ...filter, flags } })).plan;
      const load = init.findIndex(({ label }) => label === "load the seccomp filter");
      const before = readClock(init.slice(0, load));
      assert(before.some((label) => label.includes(after)), before.join("\n"));
      assertEquals(readClock(init.slice(load)), []);
      // What is left is told by write(2) alone.
      const calls = init.slice(load + 1).filter(({ ops }) => ops.every(isMark)).flatMap(({ ops }) =>
        callsOf([step("", "", ops)])
      );
      assert(calls.length > 0 && calls.every(({ call }) => call === "write"));
    });
  }
}

Deno.test("in another time namespace the clock is not read", () => {
  const made = tracePlan(create((draft) => draft.linux.namespaces.push({ type: "time", path: "" }))).plan;
  assertEquals(readClock(made.init), []);
  const join = (draft: Draft<Config>) =>
    draft.linux.namespaces.push({ type: "time", path: "/t" }, { type: "user", path: "/u" });
  const joined = tracePlan(create(join)).plan;
  assertEquals(readClock(joined.init), []);
  const place = joined.stage.findIndex(({ label }) => label === "join time namespace /t");
  assertEquals(readClock(joined.stage.slice(place)), []);
  assert(readClock(joined.stage.slice(0, place)).length > 0);
  assert(readClock(tracePlan(create()).plan.init).length > 50);
});

Deno.test("a stage that becomes another program tells of it when that begins", () => {
  const plan = create();
  const again = step("execute this program again as init", "", [
    call("execveat", [fixedFd("self"), "", stringPointers([], ""), stringPointers([], ""), 0]),
  ]);
  const traced = tracePlan({ stage: [...plan.stage, again], init: plan.init });
  assertEquals(traced.plan.stage.at(-1), again);
  const [number] = marksIn(traced.plan.init[0]!.ops);
  assertEquals(traced.marks[number!], { actor: "init", step: again });
});

Deno.test("hooks find the TRACEPARENT that is given for their step, and no other; the rest of their environment stays", () => {
  const plan = run(everyHook);
  const before = JSON.stringify(plan);
  const { init } = tracePlan(plan, ({ from }) => from.startsWith("/hooks/") ? `for ${from}` : undefined).plan;
  const environmentOf = (steps: readonly Step[], label: string) =>
    pointedTo(callsNamed([stepOf(steps, label)], "execve")[0]!.args[2] as never);
  const program = environmentOf(plan.init, "become sh");
  assertEquals(environmentOf(init, "run createContainer hook /one"), ["TRACEPARENT=for /hooks/createContainer/0"]);
  assertEquals(environmentOf(init, "run createContainer hook /two"), [
    "A=1",
    "TRACEPARENT=for /hooks/createContainer/1",
  ]);
  assertEquals(environmentOf(init, "run startContainer hook /three"), [
    ...program,
    "TRACEPARENT=for /hooks/startContainer/0",
  ]);
  assertEquals(environmentOf(init, "become sh"), program);
  assertEquals(JSON.stringify(plan), before);
});
