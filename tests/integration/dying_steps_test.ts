/**
 * Stage, helper and init are killed by SIGKILL before each of their steps: the command ends with an error that says so,
 * and takes everything back. As root; with Debian's busybox-static.
 *
 * A step is killed by the kernel, as soon as it has entered the strict mode of seccomp(2) and makes another call. Process
 * 1 of a pid namespace can be killed by nothing else of its own.
 */

import { assert, assertEquals } from "@std/assert";
import { createRuntime, loadSpec, readConfig, RuncError, type Runtime } from "../../mod.ts";
import { Prctl } from "../../lib/ffi/constants.ts";
import { open } from "../../lib/ffi/files.ts";
import { runWaits } from "../../lib/ffi/waits.ts";
import { ContainerHandle } from "../../lib/libcontainer/container/handle.ts";
import type { ProcessHandle } from "../../lib/libcontainer/container/container_process.ts";
import { call } from "../../lib/plan/build.ts";
import type { Op, Plan, Step } from "../../lib/plan/op.ts";
import type { OpenSpan } from "../../lib/trace/tracer.ts";
import { left } from "./crash_harness.ts";
import { contentOf } from "./foreground_harness.ts";
import { type Box, boxTest, type Change, kernel, until, withUserNamespace } from "./harness.ts";
import { Watchman } from "./leftovers.ts";

/** prctl(2), SECCOMP_MODE_STRICT: getpid(2) is not allowed. */
const die: readonly Op[] = [call("prctl", [Prctl.PR_SET_SECCOMP, 1, 0, 0, 0]), call("getpid", [])];

/** The steps of one actor. Steps of the helper are those that the stage leaves out. */
type Actor = "stage" | "helper" | "init";

const isHelpers = ({ ops: [first] }: Step) =>
  first?.op === "if" && typeof first.left === "object" && "slot" in first.left && first.left.slot === "helper";

function stepsOf(plan: Plan, actor: Actor): readonly Step[] {
  if (actor === "init") return plan.init;
  return plan.stage.filter((step) => isHelpers(step) === (actor === "helper"));
}

/** The same step, which kills its process before it does anything. */
function deadly(step: Step, actor: Actor): Step {
  const [first, ...others] = step.ops;
  if (actor !== "helper" || first?.op !== "if") return { ...step, ops: [...die, ...step.ops] };
  return { ...step, ops: [{ ...first, then: [...die, ...first.then] }, ...others] };
}

/** The plan whose `actor` dies before its step `number`. Undefined if it does not have so many. */
function killedPlan(plan: Plan, actor: Actor, number: number): Plan | undefined {
  const doomed = stepsOf(plan, actor)[number];
  if (doomed === undefined) return undefined;
  const change = (steps: readonly Step[]) => steps.map((step) => step === doomed ? deadly(step, actor) : step);
  return { stage: change(plan.stage), init: change(plan.init) };
}

const ignored: OpenSpan = { set: () => {}, rename: () => {} };

/** A runtime whose next launch is killed. `isDone`: no actor has such a step. */
class Killing {
  readonly runtime: Runtime;
  actor: Actor = "stage";
  number = 0;
  isDone = false;
  label = "";

  constructor(box: Box) {
    this.runtime = createRuntime({
      kernel,
      root: box.root,
      log: () => {},
      trace: {
        traceparent: "",
        span: (_name, action) => action(ignored),
        begin: () => ({ ...ignored, end: () => {} }),
        steps: ({ plan }) => ({
          plan: this.#kill(plan),
          started: () => {},
          take: () => false,
          failed: () => {},
          ended: () => {},
        }),
      },
    });
  }

  #kill(plan: Plan): Plan {
    const killed = killedPlan(plan, this.actor, this.number);
    this.isDone = killed === undefined;
    this.label = stepsOf(plan, this.actor)[this.number]?.label ?? "(none)";
    return killed ?? plan;
  }
}

/** A command of which a process is killed. Returns whether its process has been killed before it was a program. */
type Launch = (box: Box, runtime: Runtime) => boolean;

// As long as the tests: `using` would close it when this file has been loaded.
const nothing = open(kernel, "/dev/null", 2);
const stdio = [nothing.number, nothing.number, nothing.number] as const;

function create(box: Box, runtime: Runtime, startBy: "fifo" | "parent") {
  const spec = loadSpec(runtime, readConfig(box.bundle, runtime.log), box.bundle);
  return runWaits(runtime, ContainerHandle.create(runtime, { id: box.id, spec, startBy, stdio }));
}

/** Whether the process is killed, instead of sleeping. */
function isKilled(runtime: Runtime, process: ProcessHandle): boolean {
  const isProgram = () => contentOf(`/proc/${process.pid}/comm`) === "sleep\n";
  until("the program, or its end", () => process.hasEnded || isProgram());
  if (!process.hasEnded) return false;
  assertEquals(runWaits(runtime, process.wait()), { signal: 9 });
  return true;
}

/** Ends and removes what has been started, as its commands do after a failure. */
function giveUp(runtime: Runtime, process: ProcessHandle, container?: ContainerHandle): void {
  runWaits(runtime, process.abort());
  process[Symbol.dispose]();
  if (container !== undefined) runWaits(runtime, container.destroy());
}

const launches: Readonly<Record<"create" | "run" | "exec", Launch>> = {
  create: (box, runtime) => {
    const { container, process } = create(box, runtime, "fifo");
    try {
      runWaits(runtime, container.start());
      return isKilled(runtime, process);
    } finally {
      giveUp(runtime, process, container);
    }
  },
  run: (box, runtime) => {
    const { container, process } = create(box, runtime, "parent");
    try {
      runWaits(runtime, process.start());
      return isKilled(runtime, process);
    } finally {
      giveUp(runtime, process, container);
    }
  },
  exec: (box, runtime) => {
    const config = readConfig(box.bundle, runtime.log);
    const options = { process: { ...config.process!, args: ["sleep", "1000"] }, stdio };
    const process = runWaits(runtime, ContainerHandle.load(runtime, box.id).exec(options));
    try {
      return isKilled(runtime, process);
    } finally {
      giveUp(runtime, process);
    }
  },
};

/** What came of a launch, in words. An error must be an answer. */
function outcomeOf(launch: () => boolean): string {
  try {
    return launch() ? "killed" : "it runs";
  } catch (error) {
    assert(error instanceof RuncError && error.code !== "internal" && error.code !== "protocol", String(error));
    return `${error.code}: ${error.message}`;
  }
}

/** What the helper does when nobody needs it any more. */
const LAST_OF_HELPER = "end the helper";

/** Kills each actor before each step. Returns how many steps each has. */
function killEachStep(box: Box, launch: Launch, actors: readonly Actor[], look: (where: string) => void): number[] {
  const killing = new Killing(box);
  return actors.map((actor) => {
    killing.actor = actor;
    for (killing.number = 0;; killing.number++) {
      const outcome = outcomeOf(() => launch(box, killing.runtime));
      const where = `${actor} was killed before "${killing.label}": ${outcome}`;
      const hasDied = !killing.isDone && killing.label !== LAST_OF_HELPER;
      assertEquals(outcome === "it runs", !hasDied, where);
      look(where);
      if (killing.isDone) return killing.number;
    }
  });
}

/** Containers with different processes. */
interface Sort {
  readonly change: Change;
  readonly actors: readonly Actor[];
  readonly commands: readonly ("create" | "run")[];
}

const sorts: Readonly<Record<string, Sort>> = {
  "the usual container": { change: () => {}, actors: ["stage", "init"], commands: ["create", "run"] },
  "a container with a user namespace and a mount of the host": {
    change: (config) => {
      withUserNamespace()(config);
      config.mounts.push({ destination: "/tmp", type: "bind", source: "/usr", options: ["rbind", "ro"] });
    },
    actors: ["stage", "helper", "init"],
    commands: ["create"],
  },
  "a container with hooks of its own": {
    change: (config) => {
      const hook = { path: "/bin/true" };
      config.hooks = { createRuntime: [hook], createContainer: [hook], startContainer: [hook], poststop: [hook] };
    },
    actors: ["stage", "init"],
    commands: ["run"],
  },
};

for (const [name, { change, actors, commands }] of Object.entries(sorts)) {
  const write = (box: Box) =>
    box.write((config) => {
      config.process.args = ["sleep", "1000"];
      change(config);
    });

  for (const command of commands) {
    boxTest(`${command}: ${actors.join(", ")} die before each step, and nothing is left: ${name}`, (box) => {
      write(box);
      const watchman = new Watchman(box.name);
      const counts = killEachStep(
        box,
        launches[command],
        actors,
        (where) => assertEquals(left(box, watchman), [], where),
      );
      assert(counts.every((count) => count > 2), counts.join());
    });
  }

  boxTest(`exec: stage and init die before each step, and the container goes on: ${name}`, (box) => {
    write(box);
    box.must(["run", "--detach", box.id]);
    const { pid } = box.state();
    const processes = () => JSON.parse(box.must(["ps", "--format", "json", box.id]));
    const counts = killEachStep(box, launches.exec, ["stage", "init"], (where) => {
      assertEquals([processes(), box.state().status], [[pid], "running"], where);
    });
    assert(counts.every((count) => count > 2), counts.join());
    box.remove();
  });
}
