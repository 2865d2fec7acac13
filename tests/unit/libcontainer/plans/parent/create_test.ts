/** What the parent does to create a container, read from top to bottom, and what comes before what. */

import { assert, assertEquals } from "@std/assert";
import { hasNamespace } from "../../../../../lib/libcontainer/config/namespaces.ts";
import type { Act } from "../../../../../lib/libcontainer/plans/parent/act.ts";
import { createActs, type CreateInput, startActs } from "../../../../../lib/libcontainer/plans/parent/create.ts";
import { creationNames, creations } from "../../parent_plans.ts";

const labels = (acts: readonly Act[]) => acts.map(({ label }) => label);

Deno.test("the typical creation, from top to bottom", () => {
  assertEquals(labels(createActs(creations.typical)), [
    "make the state directory",
    "make the exec fifo",
    "start the stage",
    "note where the cgroups will be",
    "make the cgroups",
    "let the stage go on",
    "wait for the stage: init's pid",
    "check that init is our child",
    "describe the container",
    "wait for init: the mounts are made",
    "reap the stage",
    "set the device rules",
    "let init enter the root, when it is ready",
    "prepare for the process",
    "wait for init: all but credentials is done",
    "set the limit RLIMIT_NOFILE",
    "save the state",
    "let init become the user",
    "wait for init: the container is created",
    "log",
  ]);
});

Deno.test("a creation in which every part of the config asks for something, from top to bottom", () => {
  assertEquals(labels(createActs(creations.everything)), [
    "make the state directory",
    "make the directory of the notify socket",
    "connect init and the helper",
    "make the files of the container's hooks",
    "start the stage",
    "note where the cgroups will be",
    "make the cgroups",
    "move the stage into the cgroups",
    "make the Intel RDT group",
    "move the stage into the Intel RDT group",
    "warn",
    "let the stage go on",
    "wait for the stage: the helper's pid",
    "check that the helper is our child",
    "wait for the stage: it has a new user namespace",
    "write the id maps",
    "let the stage go on",
    "wait for the stage: init's pid",
    "check that init is our child",
    "write the state for hooks in the container",
    "describe the container",
    "wait for init: it has a network namespace",
    "move network device eth1",
    "move network device eth0",
    "let init go on",
    "wait for init: the mounts are made",
    "reap the stage",
    "set the device rules",
    "set the limits",
    "set the Intel RDT schemas",
    "run prestart hook /net",
    "run prestart hook /gpu",
    "run createRuntime hook /runtime",
    "restore the caller's limit of open files",
    "let init go on",
    "prepare for the process",
    "wait for init: all but credentials is done",
    "restore the caller's limit of open files",
    "save the state",
    "let init become the user",
    "wait for init: the seccomp listener",
    "hand the seccomp listener to its agent",
    "wait for init: the container is created",
    "log",
    "log what hooks in the container have printed",
  ]);
});

Deno.test("the start of what the parent has created itself, from top to bottom", () => {
  const begin = "let init go on to its program";
  const end = ["wait until init has become its program", "check that init has become its program"];
  assertEquals(labels(startActs(creations.run)), [begin, ...end]);
  assertEquals(labels(startActs(creations["late seccomp listener"])), [
    begin,
    "wait for init: the seccomp listener",
    "hand the seccomp listener to its agent",
    ...end,
  ]);
  const hooked = startActs(creations["container hooks"]);
  assertEquals(labels(hooked), [begin, ...end, "log what hooks in the container have printed"]);
});

Deno.test("a creation that starts the program lets init go on before it waits for init", () => {
  const tail = (name: keyof typeof creations) => {
    const all = labels(createActs(creations[name]));
    return all.slice(all.indexOf("save the state") + 1);
  };
  const user = "let init become the user", begin = "let init go on to its program";
  const created = ["wait for init: the container is created", "log"];
  const listener = ["wait for init: the seccomp listener", "hand the seccomp listener to its agent"];
  const end = ["wait until init has become its program", "check that init has become its program"];
  assertEquals(tail("started at once"), [user, begin, ...created, ...end]);
  // Init waits for the agent before: it would take the word for the agent's.
  assertEquals(tail("started at once, with a listener"), [user, ...listener, begin, ...created, ...end]);
  assertEquals(tail("started at once, with a late listener"), [user, begin, ...created, ...listener, ...end]);
});

/** The places of what matches; empty if nothing does. */
function places(acts: readonly Act[], matches: (each: Act) => boolean): readonly number[] {
  return acts.flatMap((each, index) => matches(each) ? [index] : []);
}

type Matches = (each: Act) => boolean;
const verb = (...names: readonly Act["does"]["verb"][]): Matches => ({ does }) => names.includes(does.verb);
const awaits = (kind: string): Matches => ({ does }) => does.verb === "await" && does.kind === kind;
const goesHome: Matches = ({ does }) => does.verb === "go" && does.home !== undefined;

/** The first comes before the second, wherever a plan has both. Each has a reason. */
const rules: readonly (readonly [why: string, first: Matches, second: Matches])[] = [
  [
    "nothing is made before the container has its directory",
    verb("makeStateDirectory"),
    ({ does, undo }) =>
      undo !== undefined && does.verb !== "makeStateDirectory" ||
      verb("makeExecFifo", "makeDirectory")({ does } as Act),
  ],
  [
    "descriptors are open when the stage is started",
    verb("openNamespace", "pairSockets", "makeHookFiles", "makeExecFifo"),
    verb("startStage"),
  ],
  ["the stage runs before the cgroups are made, which takes time", verb("startStage"), verb("makeCgroups")],
  [
    "the stage is in its cgroups before it goes on",
    verb("makeCgroups", "joinCgroups", "makeRdtGroup", "joinRdtGroup"),
    verb("go"),
  ],
  [
    "a pid is checked before anything is done to its process",
    verb("adopt"),
    verb("setRlimit", "moveNetworkDevice", "describe", "runHook", "setDevices"),
  ],
  ["a killed creation has left a note of its cgroups", verb("noteCreation"), verb("makeCgroups", "joinCgroups")],
  ["id maps are written before init exists", verb("writeIdMaps"), awaits("child")],
  ["mounts are made before the device rules, which may refuse what a mount needs", awaits("hooks"), verb("setDevices")],
  ["device rules are in force even if a limit is refused", verb("setDevices"), verb("setLimits")],
  [
    "limits are in force before the first foreign program",
    verb("setDevices", "setLimits", "limitRdtGroup"),
    verb("runHook"),
  ],
  [
    "limits are in force before init enters the root",
    verb("setDevices", "setLimits", "limitRdtGroup"),
    awaits("ready"),
  ],
  [
    "prestart hooks run before those of createRuntime",
    ({ from }) => from.startsWith("/hooks/prestart"),
    ({ from }) => from.startsWith("/hooks/createRuntime"),
  ],
  ["hooks of the runtime run before init goes on to those of the container", verb("runHook"), verb("tellCaller")],
  ["rlimits are set when init no longer needs more itself", awaits("ready"), verb("setRlimit")],
  ["rlimits are set before init becomes the user", verb("setRlimit"), goesHome],
  ["the state is saved before init becomes the user", verb("saveState"), goesHome],
  ["the state is saved before the container is created", verb("saveState"), awaits("created")],
  ["the state describes a process that is known", verb("describe"), verb("saveState")],
  ["the stage is reaped before foreign programs run", verb("reapStage"), verb("runHook")],
  ["the listener is known before it is handed on", awaits("seccomp"), verb("handListener")],
];

for (const [why, first, second] of rules) {
  Deno.test(`order of a creation: ${why}`, () => {
    let plans = 0;
    for (const name of creationNames) {
      const acts = createActs(creations[name]);
      const [before, after] = [places(acts, first), places(acts, second)];
      if (before.length === 0 || after.length === 0) continue;
      plans++;
      assert(before.at(-1)! < after[0]!, `${name}:\n${labels(acts).join("\n")}`);
    }
    assert(plans > 0);
  });
}

Deno.test("cgroups and groups are removed after the end of the processes in them, the directory after everything else", () => {
  for (const name of creationNames) {
    const undo = createActs(creations[name]).toReversed().flatMap(({ undo = [] }) => undo.map(({ does }) => does.verb));
    const last = (wanted: string) => undo.findLastIndex((each) => each === wanted);
    for (const removal of ["killLeft", "removeCgroups", "undoRdtGroup"]) {
      const at = undo.findIndex((each) => each === removal);
      if (at < 0) continue;
      assert(undo.slice(0, at).includes("endProcesses"), `${name}: ${undo.join(" ")}`);
      assert(last("removeStateDirectory") > at);
    }
    // A hook may look for what is left.
    const hooks = undo.indexOf("runHook");
    assert(hooks < 0 || hooks > last("removeStateDirectory"));
    assertEquals(undo.includes("killLeft"), name === "another's pid namespace" || name === "everything");
  }
});

Deno.test("what a stage in a user namespace cannot do by itself, the parent does", () => {
  for (const name of creationNames) {
    const input: CreateInput = creations[name];
    const acts = createActs(input);
    const has = (wanted: Act["does"]["verb"]) => acts.some(verb(wanted));
    assertEquals(has("joinCgroups"), hasNamespace(input.config, "user"), name);
    assertEquals(has("writeIdMaps"), hasNamespace(input.config, "user"), name);
  }
});

Deno.test("errors are told in runc's words: from the stage on, and what init does", () => {
  for (const { does, within = [] } of createActs(creations.everything)) {
    const isEarly = verb("makeStateDirectory", "makeDirectory", "pairSockets", "makeHookFiles")({ does } as Act);
    assertEquals(within.at(-1), isEarly ? undefined : "unable to start container process", does.verb);
    const isLate = verb("adopt", "setDevices", "runHook", "saveState", "setLimits")({ does } as Act);
    if (isLate) assertEquals(within.at(-2), "error during container init");
  }
});

Deno.test("each act but those of the runtime itself names a field of the config", () => {
  const own = createActs(creations.everything).filter(({ from }) => from === "").map(({ does: { verb } }) => verb);
  assertEquals([...new Set(own)], [
    "makeStateDirectory",
    "makeDirectory",
    "startStage",
    "go",
    "await",
    "adopt",
    "describe",
    "reapStage",
    "restoreFileLimit",
    "tellCaller",
    "saveState",
    "debug",
  ]);
});
