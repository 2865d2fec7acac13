/** Containers from a Deno program, by mod.ts. As root; with Debian's busybox-static. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ensureDirSync, existsSync } from "@std/fs";
import { join } from "@std/path";
import {
  chromeTrace,
  compileSeccomp,
  type Config,
  Container,
  containerStats,
  createRuntime,
  defaultSpec,
  execOutput,
  explain,
  hasOnlyCgroup2,
  Kernel,
  loadSpec,
  otlpTrace,
  planContainer,
  type Process,
  RuncError,
  runOutput,
  type Runtime,
  type Spec,
  Timeline,
} from "../../mod.ts";
import { waitChild } from "../../lib/ffi/process/process.ts";
import { checkTrace, readChrome, readOtlp } from "../unit/trace_reader.ts";
import { untilAsync } from "./foreground_harness.ts";
import { lacks } from "./interpreter_harness.ts";

const busybox = "/usr/bin/busybox";
const kernel = new Kernel();

/** A bundle and a state directory of its own, and a runtime for them. */
class Library implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "runc-library-" });
  readonly rootfs = join(this.directory, "rootfs");
  readonly root = join(this.directory, "state");
  readonly warnings: string[] = [];

  constructor() {
    for (const name of ["bin", "dev", "proc", "sys"]) ensureDirSync(join(this.rootfs, name));
    Deno.copyFileSync(busybox, join(this.rootfs, "bin/busybox"));
    for (const name of ["cat", "echo", "head", "hostname", "id", "seq", "sh", "sleep", "true", "yes"]) {
      Deno.symlinkSync("busybox", join(this.rootfs, "bin", name));
    }
  }

  runtime(options: Partial<Runtime> = {}): Runtime {
    return createRuntime({ kernel, root: this.root, log: (_level, text) => this.warnings.push(text), ...options });
  }

  /** A config's mounts, and on /mnt the directory that {@link has} looks into. */
  withShared(config: Config): Config {
    ensureDirSync(join(this.directory, "shared"));
    const mount = { destination: "/mnt", type: "bind", source: join(this.directory, "shared"), options: ["bind"] };
    return { ...config, mounts: [...config.mounts ?? [], mount] };
  }

  /** Waits, while the event loop goes on, for files that containers make on /mnt. */
  async has(...names: readonly string[]): Promise<void> {
    for (const name of names) await untilAsync(`file ${name}`, () => existsSync(join(this.directory, "shared", name)));
  }

  spec(args: readonly string[], change: (config: Config) => Config = (config) => config): Spec {
    const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
    const process = { ...config.process!, terminal: false, args };
    return loadSpec(this.runtime(), change({ ...config, process }), this.directory);
  }

  /** What is left below the state directory. */
  get left(): readonly string[] {
    try {
      return [...Deno.readDirSync(this.root)].map(({ name }) => name);
    } catch {
      return [];
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

const sh = (script: string) => ["sh", "-c", script];
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function libraryTest(name: string, body: (library: Library) => void | Promise<void>): void {
  const ignore = Deno.uid() !== 0 || lacks(busybox);
  Deno.test({
    name: `${name} (needs root and busybox-static)`,
    ignore,
    fn: async () => {
      using library = new Library();
      await body(library);
    },
  });
}

for (const executor of ["native", "deno"] as const) {
  libraryTest(`runOutput() gives status and output of a container; executor: ${executor}`, async (library) => {
    const spec = library.spec(sh("echo out of $(hostname); echo to stderr >&2; exit 3"));
    const output = await runOutput(library.runtime({ executor }), { id: "a", spec });
    assertEquals(
      [output.code, output.signal, textOf(output.stdout), textOf(output.stderr)],
      [3, undefined, "out of runc\n", "to stderr\n"],
    );
    assertEquals(library.left, []);
  });
}

libraryTest("a Timeline tells what was done, step by step", async (library) => {
  const spec = library.spec(["true"]);
  const timeline = new Timeline(kernel, { name: "my work", attributes: { mine: true } });
  const runtime = library.runtime({ trace: timeline });
  await timeline.span("run a container", () => runOutput(runtime, { id: "a", spec }));
  await assertRejects(() => runOutput(runtime, { id: "/", spec }), RuncError, "invalid container ID");
  const trace = timeline.finish();
  const read = [
    readChrome(chromeTrace(trace)),
    readOtlp(otlpTrace(trace, { name: "test", version: "1" })),
  ];
  for (const { spans, ...others } of read) {
    const root = checkTrace({ spans, ...others });
    assertEquals([root.name, root.attributes], ["my work", { mine: true }]);
    const names = spans.map(({ name }) => name);
    for (
      const name of [
        "run a container",
        "start the stage",
        "mount proc on /proc",
        "become true",
        "remove the state directory",
      ]
    ) {
      assert(names.includes(name), `${name} in:\n${names.join("\n")}`);
    }
  }
  assertEquals(library.left, []);
});

libraryTest("runOutput() passes more than a pipe holds, in both directions", async (library) => {
  const stdin = "0123456789abcdef".repeat(64 * 1024);
  const { stdout } = await runOutput(library.runtime(), { id: "a", spec: library.spec(["cat"]), stdin });
  assert(textOf(stdout) === stdin, "cat changed its input");
});

libraryTest("runOutput() does not mind a process that leaves its input unread", async (library) => {
  const stdin = "x".repeat(1024 * 1024);
  const { code } = await runOutput(library.runtime(), { id: "a", spec: library.spec(["true"]), stdin });
  assertEquals(code, 0);
});

libraryTest("runOutput() runs containers side by side while the event loop goes on", async (library) => {
  const ids = ["a", "b", "c"];
  // Each ends when the event loop has seen all three alive. Where that does not happen each gives up by itself.
  const script = "for round in $(seq 3000); do test -e /mnt/go && exec echo done; sleep 0.01; done; echo alone";
  const aborter = new AbortController();
  const runs = ids.map((id) => {
    const spec = library.spec(sh(`echo >/mnt/${id}; ${script}`), (config) => library.withShared(config));
    return runOutput(library.runtime(), { id, spec, signal: aborter.signal });
  });
  await library.has(...ids).then(
    () => Deno.writeTextFileSync(join(library.directory, "shared/go"), ""),
    () => aborter.abort(),
  );
  assertEquals((await Promise.all(runs)).map(({ stdout }) => textOf(stdout)), ["done\n", "done\n", "done\n"]);
  assertEquals(library.left, []);
});

libraryTest("runOutput() kills the container when its signal is aborted", async (library) => {
  const aborter = new AbortController();
  const spec = library.spec(sh("echo started; echo >/mnt/started; sleep 100"), (config) => library.withShared(config));
  const output = runOutput(library.runtime(), { id: "a", spec, signal: aborter.signal });
  await library.has("started").finally(() => aborter.abort());
  const { code, signal, stdout } = await output;
  assertEquals([code, signal, textOf(stdout)], [137, 9, "started\n"]);
  assertEquals(library.left, []);
});

libraryTest(
  "runOutput() does not wait for what the container leaves behind in the host's pid namespace",
  async (library) => {
    const spec = library.spec(sh("sleep 100 & echo left"), (config) => ({
      ...config,
      linux: { ...config.linux, namespaces: config.linux!.namespaces!.filter(({ type }) => type !== "pid") },
    }));
    const { code, stdout } = await runOutput(library.runtime(), { id: "a", spec });
    assertEquals([code, textOf(stdout)], [0, "left\n"]);
  },
);

libraryTest(
  "execOutput() returns with its process, and with all of its output, whoever still has its streams",
  async (library) => {
    const runtime = library.runtime();
    const spec = library.spec(["sleep", "100"]);
    const { container, process } = await Container.create(runtime, {
      id: "a",
      spec,
      startBy: "fifo",
      stdio: [0, 1, 2],
    });
    using _process = process;
    // Each script leaves a process with its streams that ends with the container. Who waits for it waits for this.
    let hasWaited = false;
    const guard = setTimeout(() => {
      hasWaited = true;
      return container.kill(9);
    }, 30_000);
    const run = (script: string, stdin?: string) =>
      execOutput(runtime, container, { process: { ...spec.config.process!, args: sh(script) }, stdin });
    try {
      await container.start();
      const held = await run("while :; do sleep 100; done & head -c 60000 /dev/zero; echo oh >&2; exit 6");
      assertEquals([held.code, held.stdout.length, textOf(held.stderr)], [6, 60_000, "oh\n"]);
      const written = await run("while :; do echo more; done & echo first; exit 7");
      assertEquals(written.code, 7);
      assertStringIncludes(textOf(written.stdout), "first\n");
      // Nobody reads the input, which fills the pipe.
      const unread = await run("sleep 1000 & exit 8", "x".repeat(1024 * 1024));
      assertEquals([unread.code, hasWaited], [8, false]);
    } finally {
      clearTimeout(guard);
      await container.delete({ force: true });
    }
    assertEquals(library.left, []);
  },
);

libraryTest("runOutput() throws what went wrong, and nothing is left", async (library) => {
  const missing = library.spec(["missing"]);
  const error = await assertRejects(() => runOutput(library.runtime(), { id: "a", spec: missing }), RuncError);
  assertEquals([error.code, error.field], ["command-failed", "/process/args/0"]);
  const terminal = library.spec(["true"], (config) => ({ ...config, process: { ...config.process!, terminal: true } }));
  const refused = await assertRejects(() => runOutput(library.runtime(), { id: "a", spec: terminal }), RuncError);
  assertEquals([refused.code, refused.field], ["usage", "/process/terminal"]);
  const hooked = library.spec(["true"], (config) => ({
    ...config,
    hooks: { poststart: [{ path: "/bin/false" }] },
  }));
  const failed = await assertRejects(() => runOutput(library.runtime(), { id: "a", spec: hooked }), RuncError);
  assertEquals(failed.code, "hook-failed");
  assertEquals(library.left, []);
});

libraryTest("a container's life: create, start, exec, state, kill, delete", async (library) => {
  const runtime = library.runtime();
  const spec = library.spec(["sleep", "100"]);
  const { container, process } = await Container.create(runtime, { id: "a", spec, startBy: "fifo", stdio: [0, 1, 2] });
  using _process = process;
  try {
    assertEquals(await container.status(), "created");
    await container.start();
    assertEquals(Container.ids(runtime), ["a"]);
    const again = Container.load(runtime, "a");
    const { status, pid } = await again.state();
    assertEquals([status, pid], ["running", process.pid]);
    const id: Process = { ...spec.config.process!, args: ["id", "-u"], user: { uid: 7, gid: 8 } };
    const { code, stdout } = await execOutput(runtime, again, { process: id });
    assertEquals([code, textOf(stdout)], [0, "7\n"]);
    const refused = await assertRejects(() => again.delete(), RuncError);
    assertEquals(refused.code, "container-state");
    await again.kill(15);
    await again.kill(9);
    assertEquals(await process.wait(), { signal: 9 });
    assertEquals(await again.status(), "stopped");
  } finally {
    await container.delete({ force: true });
  }
  assertEquals(library.left, []);
});

libraryTest(
  "a process that has ended is no zombie once it is disposed of, though nobody has awaited it",
  async (library) => {
    const options = { id: "a", spec: library.spec(["sleep", "100"]), startBy: "fifo", stdio: [0, 1, 2] } as const;
    const { container, process } = await Container.create(library.runtime(), options);
    await container.start();
    await container.kill(9);
    await untilAsync("its end", () => process.hasEnded);
    assert(existsSync(`/proc/${process.pid}`));
    process[Symbol.dispose]();
    const isZombie = existsSync(`/proc/${process.pid}`);
    // A zombie would keep the cgroups.
    if (isZombie) waitChild(kernel, process.pid);
    await container.delete();
    assert(!isZombie);
  },
);

libraryTest("an aborted create leaves nothing, and rejects with the reason", async (library) => {
  const runtime = library.runtime();
  const aborter = new AbortController();
  // The hook tells that the creation waits for it, and waits itself.
  const begun = join(library.directory, "begun");
  const hook = { path: "/bin/sh", args: ["sh", "-c", `: > ${begun}; exec sleep 1000`] };
  // What undoes the creation waits too. The signal ends only what it undoes.
  const undone = join(library.directory, "undone");
  const poststop = { path: "/bin/sh", args: ["sh", "-c", `sleep 0.2; : > ${undone}`] };
  const hooks = { createRuntime: [hook], poststop: [poststop] };
  const spec = library.spec(["true"], (config) => ({ ...config, hooks }));
  const created = Container.create(runtime, {
    id: "a",
    spec,
    startBy: "fifo",
    stdio: [0, 1, 2],
    signal: aborter.signal,
  });
  const reason = new Error("no longer wanted");
  const refused = assertRejects(() => created, Error, "no longer wanted");
  await untilAsync("the hook", () => existsSync(begun)).finally(() => aborter.abort(reason));
  assert(await refused === reason);
  assertEquals([library.left, existsSync(undone)], [[], true]);
  const again = () =>
    Container.create(runtime, { id: "a", spec, startBy: "fifo", stdio: [0, 1, 2], signal: aborter.signal });
  await assertRejects(again, Error, "no longer wanted");
});

libraryTest("of two starts at once one succeeds, and the other says why not", async (library) => {
  const runtime = library.runtime();
  const options = { id: "a", spec: library.spec(["sleep", "100"]), startBy: "fifo", stdio: [0, 1, 2] } as const;
  const { container, process } = await Container.create(runtime, options);
  using _process = process;
  try {
    const starts = await Promise.allSettled([container.start(), Container.load(runtime, "a").start()]);
    const [failed, ...more] = starts.filter((start) => start.status === "rejected");
    assertEquals(more, []);
    assertEquals([failed?.reason.code, failed?.reason.message], [
      "container-state",
      "cannot start an already running container",
    ]);
  } finally {
    await container.delete({ force: true });
  }
  assertEquals([await container.status(), library.left], ["stopped", []]);
  const missing = await assertRejects(() => container.delete(), RuncError);
  assertEquals(missing.code, "container-missing");
});

libraryTest(
  "a container has the limits of its config, and those that it is given later",
  async (library) => {
    const runtime = library.runtime();
    const spec = library.spec(["sleep", "100"], (config) => ({
      ...config,
      linux: { ...config.linux, resources: { ...config.linux?.resources, pids: { limit: 7 } } },
    }));
    const options = { id: "a", spec, startBy: "fifo", stdio: [0, 1, 2] } as const;
    const { container, process } = await Container.create(runtime, options);
    using _process = process;
    try {
      assertEquals(containerStats(container).pids, { current: 1n, limit: 7n });
      await container.update({ pids: { limit: 9 } });
      assertEquals(containerStats(container).pids.limit, 9n);
    } finally {
      await container.delete({ force: true });
    }
    assertEquals(library.left, []);
  },
);

libraryTest(
  "a seccomp profile is compiled by whoever creates the container, and nothing runs without it",
  async (library) => {
    const runtime = library.runtime();
    const spec = library.spec(["sleep", "100"], (config) => ({
      ...config,
      linux: {
        ...config.linux,
        seccomp: {
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["getuid"], action: "SCMP_ACT_ERRNO", errnoRet: 7 }],
        },
      },
    }));
    const options = { id: "a", spec, startBy: "fifo", stdio: [0, 1, 2] } as const;
    const error = await assertRejects(() => Container.create(runtime, options), RuncError);
    assertEquals([error.code, error.field], ["usage", "/linux/seccomp"]);
    const seccomp = compileSeccomp(runtime, spec.config);
    const { container, process } = await Container.create(runtime, { ...options, seccomp });
    using _process = process;
    try {
      await container.start();
      const id: Process = { ...spec.config.process!, args: ["id", "-ru"] };
      await assertRejects(() => container.exec({ process: id, stdio: [0, 1, 2] }), RuncError, "compileSeccomp");
      // What getuid(2) answers as an errno reads as an id: −7.
      assertEquals(textOf((await execOutput(runtime, container, { process: id })).stdout), "4294967289\n");
    } finally {
      await container.delete({ force: true });
    }
  },
);

libraryTest("planContainer() and explain() tell what would be done, and do nothing", (library) => {
  const plan = planContainer(library.runtime(), { id: "a", spec: library.spec(["true"]), startBy: "fifo" });
  assertStringIncludes(explain(plan), 'execve($program, ["true"], ');
  assertStringIncludes(explain(plan), "(/mounts/0)");
  assertStringIncludes(explain(plan), "make the state directory");
  assertEquals(library.left, []);
});

libraryTest("examples/hello.ts prints what a container says", async (library) => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("../../examples/hello.ts", import.meta.url).pathname, library.rootfs],
  }).output();
  assertEquals([code, textOf(stdout)], [0, "Hello from runc, where I am process 1\n"], textOf(stderr));
});
