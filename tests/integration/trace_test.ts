/** `--trace`: the timeline of a command, in both formats, by both executors. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { checkTrace, readChrome, readOtlp, type ReadSpan, type ReadTrace } from "../unit/trace_reader.ts";
import {
  type Box,
  boxTest,
  type Change,
  comparing,
  kernel,
  type StartOptions,
  until,
  withUserNamespace,
} from "./harness.ts";
import { pipe } from "../../lib/ffi/files.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const callerSpan = "b7ad6b7169203331";
const asChild = { env: { TRACEPARENT: `00-${traceId}-${callerSpan}-01` } };

/** Runs a command with `--trace`, which has to succeed, and reads the checked trace. */
function traced(box: Box, args: readonly string[], options: StartOptions = {}): ReadTrace {
  const file = `${box.directory}/trace.json`;
  box.must(["--trace", file, ...args], options);
  return readTrace(file);
}

/** The checked trace in a file, which is removed. */
function readTrace(file: string): ReadTrace {
  const text = Deno.readTextFileSync(file);
  Deno.removeSync(file);
  const trace = file.endsWith(".otlp.json") ? readOtlp(text) : readChrome(text);
  checkTrace(trace);
  return trace;
}

const names = ({ spans }: Pick<ReadTrace, "spans">) => spans.map(({ name }) => name);

/** The spans within a process's: `stage`, `helper` or `init`. */
function stepsOf({ spans }: ReadTrace, actor: string): readonly ReadSpan[] {
  const course = spans.find(({ name, attributes }) => name === actor && !("runc.process" in attributes));
  assert(course !== undefined, `no ${actor} in:\n${names({ spans }).join("\n")}`);
  return spans.filter(({ parentId }) => parentId === course.id);
}

/** Checks that each step begins where the one before it ended. */
function assertSeamless(steps: readonly ReadSpan[]): void {
  steps.slice(1).forEach((step, index) => assertEquals(step.start, steps[index]!.end, step.name));
}

interface PlannedStep {
  readonly number: number;
  readonly actor: string;
  readonly label: string;
  readonly from: string;
}

/** What `plan` says of the box's config, as the traces have it. `keep`: which of them a command tells of. */
function planned(box: Box, actor: string, command = "run"): readonly unknown[] {
  const steps = JSON.parse(box.must(["plan", "--format", "json", command, box.id])) as readonly PlannedStep[];
  return steps.filter((step) => step.actor === actor).map(({ number, label, from }) => [number, label, from]);
}

const told = (steps: readonly ReadSpan[]) =>
  steps.filter(({ attributes }) => "runc.step" in attributes).map(({ name, attributes }) => [
    attributes["runc.step"],
    name,
    attributes["runc.config"] ?? "",
  ]);

const withSeccomp: Change = ({ linux }) => {
  linux.seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["clock_gettime"], action: "SCMP_ACT_KILL" }],
  };
};

comparing("create tells of every step of the plan, once and in order, until init waits for start", (box) => {
  box.write();
  const trace = traced(box, ["create", box.id]);
  const [stage, init] = [stepsOf(trace, "stage"), stepsOf(trace, "init")];
  assertEquals(told(stage), planned(box, "stage", "create"));
  const all = planned(box, "init", "create").map((step) => (step as unknown[])[1]);
  const created = all.indexOf("tell the parent that the container is created and close the socket to it");
  assert(created > 0);
  assertEquals(told(init).map(([, label]) => label), all.slice(0, created + 1));
  for (const steps of [stage, init]) assertSeamless(steps);
  const { pid } = box.state();
  assertEquals(new Set(init.map((step) => step.pid)), new Set([pid]));
  assertEquals([stage[0]!.pid === pid, trace.spans[0]!.pid === pid], [false, false]);
  const executors = (steps: readonly ReadSpan[]) => new Set(steps.map(({ attributes }) => attributes["runc.executor"]));
  assertEquals(executors(stage), new Set(["native"]));
  // What comes before is entering the cgroups, for which a process has to have one thread.
  const own = init.slice(init.findIndex(({ name }) => name === "start a session and set the umask to 0"));
  assertEquals(executors(own.filter(({ attributes }) => "runc.step" in attributes)), new Set([box.runtime]));
  box.remove();
});

comparing(
  "run tells of every step of the plan, with and without a filter that kills whoever asks for the time",
  (box) => {
    for (const change of [() => {}, withSeccomp] as const) {
      for (const noNewPrivileges of [true, false]) {
        box.write((config) => {
          change(config);
          config.process.noNewPrivileges = noNewPrivileges;
        });
        const trace = traced(box, ["run", box.id], asChild);
        assertEquals(told(stepsOf(trace, "stage")), planned(box, "stage"));
        const init = stepsOf(trace, "init");
        assertEquals(told(init), planned(box, "init"));
        const filtered = init.findIndex(({ name }) => name === "load the seccomp filter");
        const byParent = init.map(({ attributes }) => attributes["runc.clock"] === "parent");
        assertEquals(byParent.slice(0, filtered).includes(true), false);
        if (filtered > 0) assertEquals(byParent.slice(filtered).includes(false), false);
        assertEquals(init.at(-1)!.name, "become true");
      }
    }
  },
);

comparing("the parent tells of what it does, and what it waits for", (box) => {
  box.write((config) => {
    config.linux.resources = { memory: { limit: 64 << 20 }, pids: { limit: 100 } };
    withUserNamespace({ hostUid: 0 })(config);
    config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
  });
  const trace = traced(box, ["run", "--pid-file", `${box.directory}/pid`, box.id]);
  // The end is another process's, which the monitor has started.
  const parents = trace.spans.filter(({ attributes }) => !("runc.process" in attributes));
  const found = names({ spans: parents });
  for (
    const name of [
      "runc run",
      "read config.json",
      "check config.json",
      "read the host's facts",
      "plan",
      "encode the plan",
      "start the stage",
      "make the cgroups",
      "wait for the stage: it has a new user namespace",
      "write the id maps",
      "wait for the stage: init's pid",
      "set the device rules",
      "set the limits",
      "set the limits of pids",
      "save the state",
      "wait for init: all but credentials is done",
      "wait for init: the container is created",
      "write the pid file",
      "runc monitor",
      "remove the cgroups",
      "remove the state directory",
    ]
  ) assertEquals(found.filter((one) => one === name).length, 1, `${name} in:\n${found.join("\n")}`);
  // Before the first process: what it makes later is the same.
  assertEquals(found.filter((one) => one === "set the limits of memory").length, 1);
  // In a user namespace a helper opens the sources of mounts.
  const helper = stepsOf(trace, "helper").map(({ name }) => name);
  assertEquals(helper, [
    "receive the container's namespaces and join its mount namespace",
    `open ${box.directory} and send it to init`,
    "end the helper",
  ]);
  assert(!stepsOf(trace, "stage").some(({ name }) => helper.includes(name)));
});

boxTest("in another time namespace the times are the host's all the same", (box) => {
  box.write((config) => {
    config.linux.namespaces.push({ type: "time" });
    config.linux.timeOffsets = { monotonic: { secs: 1_000_000, nanosecs: 0 } };
  });
  const trace = traced(box, ["run", box.id]);
  for (const step of stepsOf(trace, "init")) assertEquals(step.attributes["runc.clock"], "parent", step.name);
});

// --- who calls whom ----------------------------------------------------------------------------------------------------------

const hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;

/** The config with all six hooks, each of which writes down its TRACEPARENT. */
const withHooks = (box: Box): Change => (config) => {
  config.hooks = Object.fromEntries(hooks.map((name) => {
    const directory = name === "startContainer" ? "/mnt" : box.directory;
    return [name, [{ path: "/bin/sh", args: ["sh", "-c", `echo "$TRACEPARENT" > ${directory}/${name}; echo said`] }]];
  }));
  config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
};

const seenBy = (box: Box, hook: string) => Deno.readTextFileSync(`${box.directory}/${hook}`).trimEnd();

comparing("every hook finds its own span in TRACEPARENT, in the caller's trace", (box) => {
  box.write(withHooks(box));
  const trace = traced(box, ["run", box.id], asChild);
  assertEquals([trace.traceId, trace.spans[0]!.parentId], [traceId, callerSpan]);
  for (const hook of hooks) {
    const span = trace.spans.find(({ name }) => name === `run ${hook} hook /bin/sh`);
    assert(span !== undefined, hook);
    assertEquals(seenBy(box, hook), `00-${traceId}-${span.id}-01`, hook);
    assertEquals([span.attributes["process.exit.code"], span.attributes["runc.config"]], [0, `/hooks/${hook}/0`], hook);
    // Hooks in the container print to one file.
    const said = ["createContainer", "startContainer"].includes(hook) ? undefined : "said\n";
    assertEquals(span.attributes["hook.stdout"], said, hook);
  }
});

boxTest("a hook's own TRACEPARENT gives way; what the caller did not want sampled stays so", (box) => {
  box.write((config) => {
    withHooks(box)(config);
    for (const name of ["createContainer", "poststart"] as const) config.hooks![name]![0]!.env = ["TRACEPARENT=old"];
  });
  traced(box, ["run", box.id], { env: { TRACEPARENT: `00-${traceId}-${callerSpan}-00` } });
  for (const hook of hooks) assertMatch(seenBy(box, hook), new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`), hook);
});

boxTest("without --trace hooks get TRACEPARENT as before", (box) => {
  box.write(withHooks(box));
  box.must(["run", box.id], asChild);
  const { TRACEPARENT } = asChild.env;
  assertEquals(hooks.map((hook) => seenBy(box, hook)), [TRACEPARENT, TRACEPARENT, "", "", TRACEPARENT, TRACEPARENT]);
});

boxTest("without TRACEPARENT, or with one that is not valid, each command begins a trace of its own", (box) => {
  const environments: readonly Record<string, string>[] = [{}, {}, { TRACEPARENT: "00-0-0-00" }];
  const ids = environments.map((env) => traced(box, ["run", box.id], { env }).traceId);
  assertEquals(new Set(ids).size, 3);
});

// --- other commands ----------------------------------------------------------------------------------------------------------

comparing("start, exec, update, pause, resume, kill and delete have traces of their own", (box) => {
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["create", box.id]);
  const has = (trace: ReadTrace, ...wanted: string[]) => {
    const found = names(trace);
    for (const name of wanted) assert(found.includes(name), `${name} in:\n${found.join("\n")}`);
  };
  has(traced(box, ["start", box.id]), "runc start", "read the state", "read the exec fifo, which init waits to open");
  const exec = traced(box, ["exec", box.id, "true"]);
  has(exec, "runc exec", "read the process", "plan");
  assertEquals(stepsOf(exec, "stage").at(-1)!.name, "fork the container's process, tell the parent its pid and exit");
  assertEquals(
    stepsOf(exec, "init").at(-1)!.name,
    "tell the parent that the command was found and close the socket to it",
  );
  assert(stepsOf(exec, "init").some(({ name }) => name === "look for /bin/true"));
  has(
    traced(box, ["update", "--pids-limit", "50", box.id]),
    "read the limits",
    "set the limits of pids",
    "save the state",
  );
  has(traced(box, ["pause", box.id]), "freeze the cgroup");
  has(traced(box, ["resume", box.id]), "thaw the cgroup");
  has(traced(box, ["kill", box.id, "KILL"]), "send signal 9 to init");
  until("the end", () => box.state().status === "stopped");
  const removed = traced(box, ["delete", box.id]);
  has(removed, "remove the cgroups", "remove the state directory");
  assertEquals(removed.spans[0]!.attributes["container.id"], box.id);
});

boxTest("a command that only looks has a trace, too", (box) => {
  Deno.mkdirSync(box.root);
  assertEquals(names(traced(box, ["list"])), ["runc list"]);
});

// --- failures ----------------------------------------------------------------------------------------------------------------

const failures: readonly (readonly [name: string, change: Change, step: string, why: RegExp])[] = [
  [
    "a step of init",
    (config) => {
      config.mounts.push({ destination: "/x", type: "nosuchfs", source: "x", options: [] });
    },
    "mount nosuchfs on /x",
    /no such device/,
  ],
  [
    "a hook in the container",
    (config) => {
      config.hooks = { createContainer: [{ path: "/bin/false" }] };
    },
    "run createContainer hook /bin/false",
    /exit status 1/,
  ],
  [
    "a hook on the host",
    (config) => {
      config.hooks = { prestart: [{ path: "/bin/false" }] };
    },
    "run prestart hook /bin/false",
    /exit status 1/,
  ],
  [
    "the look for the program",
    (config) => {
      config.process.args = ["nothing"];
    },
    "make sure that nothing was found",
    /not found/,
  ],
  [
    "a step of the stage",
    (config) => {
      config.linux.namespaces = config.linux.namespaces.map((one) =>
        one.type === "ipc" ? { ...one, path: "/proc/self/ns/net" } : one
      );
    },
    "join ipc namespace /proc/self/ns/net",
    /invalid argument/,
  ],
];
for (const [name, change, step, why] of failures) {
  comparing(`the trace of a command that fails is written, with what failed: ${name}`, (box) => {
    const file = `${box.directory}/trace.json`;
    box.write(change);
    box.refused(["--trace", file, "run", box.id]);
    const { spans } = readTrace(file);
    const failed = spans.filter(({ error }) => error !== undefined);
    assert(failed.some((span) => span.name === step && why.test(span.error!)), Deno.inspect(failed));
    assert(why.test(spans[0]!.error!));
    // Of stage and init there is one that failed, or was given up.
    const inside = failed.filter(({ attributes }) => "runc.process" in attributes);
    assertEquals(inside.length, 1, Deno.inspect(inside));
    return failed.map(({ name }) => name);
  });
}

boxTest("a config that cannot be read has a trace, too", (box) => {
  const file = `${box.directory}/trace.json`;
  box.writeText("{");
  box.refused(["--trace", file, "run", box.id]);
  const { spans } = readTrace(file);
  assertEquals(spans.filter(({ error }) => error !== undefined).map(({ name }) => name), [
    "runc run",
    "read config.json",
  ]);
});

// --- the file ----------------------------------------------------------------------------------------------------------------

comparing("a name that ends in .otlp.json is OTLP/JSON, with the same spans", (box) => {
  const file = `${box.directory}/trace.otlp.json`;
  box.must(["run", "--trace", file, box.id], asChild);
  const otlp = readTrace(file);
  assertEquals([otlp.traceId, otlp.spans[0]!.parentId, otlp.spans[0]!.name], [traceId, callerSpan, "runc run"]);
  const now = BigInt(Date.now()) * 1_000_000n;
  const age = now - otlp.spans[0]!.end;
  assert(age > -1_000_000_000n && age < 600_000_000_000n, `${age} ns old`);
  assertEquals(names(otlp).toSorted(), names(traced(box, ["run", box.id])).toSorted());
});

boxTest("the file is replaced as a whole, has mode 0644 less the umask, and a link's target is replaced", (box) => {
  const [file, link] = [`${box.directory}/trace.json`, `${box.directory}/link.json`];
  Deno.writeTextFileSync(file, "old", { mode: 0o600 });
  Deno.symlinkSync("trace.json", link);
  // Open, it keeps its number to itself.
  using old = Deno.openSync(file);
  const before = old.statSync().ino;
  box.must(["--trace", link, "run", box.id], { prefix: ["/bin/sh", "-c", 'umask 027; exec "$@"', "sh"] });
  const { ino, mode } = Deno.statSync(file);
  assertEquals([ino === before, mode! & 0o777, Deno.readLinkSync(link)], [false, 0o640, "trace.json"]);
  readTrace(file);
  assertEquals([...Deno.readDirSync(box.directory)].filter(({ name }) => name.includes("trace")), []);
});

boxTest("a file that cannot be written is an error before anything is done", (box) => {
  for (const file of [`${box.directory}/missing/trace.json`, box.directory, "/proc/trace.json"]) {
    const { msg } = box.refused(["--trace", file, "run", box.id]);
    assertMatch(
      msg,
      /^runc run failed: cannot write the trace: open .*: (no such file or directory|is a directory|permission denied)$/,
    );
  }
  assertEquals(box.containers(), []);
});

boxTest("what is no file is written to and stays what it is", (box) => {
  box.must(["--trace", "/dev/null", "run", box.id]);
  assert(Deno.statSync("/dev/null").isCharDevice);
  assertMatch(box.must(["--trace", "/dev/stdout", "run", box.id]), /"name":"runc run"/);
});

boxTest("what is appended to by the shell keeps what it has", (box) => {
  Deno.mkdirSync(box.root);
  const file = `${box.directory}/out`;
  Deno.writeTextFileSync(file, "before\n");
  const prefix = ["/bin/sh", "-c", `exec "$@" >> ${file}`, "sh"];
  box.must(["--trace", "/dev/stdout", "list", "--quiet"], { prefix });
  assertMatch(Deno.readTextFileSync(file), /^before\n\{"displayTimeUnit"/);
});

comparing("a container is removed also when its trace cannot be written any more", (box) => {
  const directory = `${box.directory}/traces`;
  Deno.mkdirSync(directory);
  box.write((config) => {
    config.process.args = ["sh", "-c", "echo ready; read -r line; exit 6"];
  });
  const input = pipe(kernel, "stdin");
  using running = box.start(["--trace", `${directory}/trace.json`, "run", box.id], { stdin: input.read });
  input.read.close();
  running.says("ready\n");
  until("the trace is written", () => [...Deno.readDirSync(directory)].some(({ name }) => name === "trace.json"));
  Deno.removeSync(directory, { recursive: true });
  input.write.close();
  const { code, stderr } = running.wait();
  assertEquals([code, box.containers()], [6, []]);
  assertMatch(stderr, /level=warning msg="cannot write the trace: open /);
});
