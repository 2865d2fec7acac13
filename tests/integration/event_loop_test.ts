/**
 * A program that creates containers goes on meanwhile: its event loop is never blocked for long. As root; with Debian's
 * busybox-static.
 */

import { assert, assertEquals } from "@std/assert";
import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { Container, type ContainerProcess, createRuntime, defaultSpec, hasOnlyCgroup2, loadSpec } from "../../mod.ts";
import type { Config, Process, Runtime, Spec } from "../../mod.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { open, pipe } from "../../lib/ffi/files.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { runWaits, type Wait, type Waits } from "../../lib/ffi/waits.ts";
import { POLLIN } from "../../lib/ffi/poll.ts";
import { pollAsync } from "../../lib/ffi/poller.ts";
import { ContainerHandle } from "../../lib/libcontainer/container/handle.ts";
import { busybox, kernel } from "./harness.ts";
import { lacks } from "./interpreter_harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

const COUNT = 20;
const INTERVAL_MS = 5;

/** Containers of a program: a bundle, a state directory, cgroups of their own. */
class Program implements Disposable {
  readonly #directory = Deno.makeTempDirSync({ prefix: "runc-event-loop-" });
  readonly name = `event-loop-${Deno.pid}`;
  readonly #nothing: Fd = open(kernel, "/dev/null", 2);
  readonly runtime: Runtime;
  readonly process: Process;
  readonly #config: Config;

  constructor() {
    for (const name of ["bin", "dev", "proc", "sys"]) ensureDirSync(join(this.#directory, "rootfs", name));
    Deno.copyFileSync(busybox, join(this.#directory, "rootfs/bin/busybox"));
    for (const name of ["sleep", "true"]) Deno.symlinkSync("busybox", join(this.#directory, "rootfs/bin", name));
    this.runtime = createRuntime({ kernel, root: join(this.#directory, "state"), log: () => {} });
    const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
    this.process = { ...config.process!, terminal: false, args: ["sleep", "1000"] };
    this.#config = { ...config, process: this.process };
  }

  options(id: string) {
    const linux = { ...this.#config.linux, cgroupsPath: `/${this.name}/${id}` };
    const spec: Spec = loadSpec(this.runtime, { ...this.#config, linux }, this.#directory);
    return { id, spec, startBy: "fifo", stdio: this.stdio } as const;
  }

  get stdio(): readonly [number, number, number] {
    return [this.#nothing.number, this.#nothing.number, this.#nothing.number];
  }

  [Symbol.dispose](): void {
    this.#nothing.close();
    Deno.removeSync(this.#directory, { recursive: true });
    for (const path of cgroupsNamed(this.name)) Deno.removeSync(path);
  }
}

/** The share of an interval's due calls that came while `work` went on. */
async function shareOf(work: () => Promise<unknown>): Promise<number> {
  let calls = 0;
  const timer = setInterval(() => calls++, INTERVAL_MS);
  const start = performance.now();
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return calls / ((performance.now() - start) / INTERVAL_MS);
}

/** Creates, starts, enters and deletes many containers, each of this at once. */
async function useMany(program: Program, round: string): Promise<void> {
  const { runtime, stdio } = program;
  const options = Array.from({ length: COUNT }, (_, index) => program.options(`${round}${index}`));
  const created = await Promise.all(options.map((each) => Container.create(runtime, each)));
  const all = <Result>(use: (container: Container) => Promise<Result>): Promise<readonly Result[]> =>
    Promise.all(created.map(({ container }) => use(container)));
  try {
    await all((container) => container.start());
    const process = { ...program.process, args: ["true"] };
    const entered = await all((container) => container.exec({ process, stdio }));
    const statuses = await Promise.all(entered.map((each: ContainerProcess) => each.wait()));
    assertEquals(statuses, entered.map(() => ({ code: 0 })));
    for (const each of entered) each[Symbol.dispose]();
  } finally {
    await all((container) => container.delete({ force: true }));
    for (const { process } of created) process[Symbol.dispose]();
  }
}

/** The CPU time of this thread in milliseconds, which other programs do not change. @see clock_gettime(2) */
function threadCpuMs(): number {
  const CLOCK_THREAD_CPUTIME_ID = 3;
  const time = alloc(16);
  kernel.call("clock_gettime", CLOCK_THREAD_CPUTIME_ID, time);
  const view = new DataView(time.buffer);
  return Number(view.getBigInt64(0, true)) * 1e3 + Number(view.getBigInt64(8, true)) / 1e6;
}

/** Tells how long `waits` computes at most without a wait. */
function* measured<Result>(waits: Waits<Result>, tell: (longestMs: number) => void): Waits<Result> {
  let longestMs = 0;
  const timed = (resume: () => IteratorResult<Wait, Result>) => {
    const before = threadCpuMs();
    const step = resume();
    longestMs = Math.max(longestMs, threadCpuMs() - before);
    return step;
  };
  let step = timed(() => waits.next());
  while (!step.done) {
    const given = yield step.value;
    step = timed(() => waits.next(given));
  }
  tell(longestMs);
  return step.value;
}

function programTest(name: string, body: (program: Program) => Promise<void>): void {
  Deno.test({
    name: `${name} (needs root and busybox-static)`,
    ignore: Deno.uid() !== 0 || lacks(busybox),
    fn: async () => {
      using program = new Program();
      await body(program);
    },
  });
}

programTest(
  "an interval goes on while 20 containers are created, started, entered and deleted at once",
  async (program) => {
    // Once cold. Then the best of three: the containers and other programs compete for the CPUs too. The share is 0
    // if calls block, 0.1 if each container has slices of its own, 0.6 on two busy CPUs, 0.9 on idle ones.
    const shares: number[] = [];
    await useMany(program, "cold");
    for (let round = 0; round < 3; round++) {
      shares.push(await shareOf(() => useMany(program, `round${round}-`)));
    }
    assert(Math.max(...shares) > 0.3, `the interval was called ${shares.join(", ")} of the times that are due`);
  },
);

programTest("no part of create, start, exec and delete computes for more than 2 ms", async (program) => {
  const { runtime, stdio, process } = program;
  const longest = { create: Infinity, start: Infinity, exec: Infinity, delete: Infinity };
  // Of a warm program: the shortest of 40, as V8 collects garbage and compiles in some of them.
  const run = <Result>(name: keyof typeof longest, waits: Waits<Result>): Result =>
    runWaits(runtime, measured(waits, (longestMs) => void (longest[name] = Math.min(longest[name], longestMs))));
  for (let round = 0; round < 40; round++) {
    const { container, process: init } = run("create", ContainerHandle.create(runtime, program.options(`a${round}`)));
    try {
      run("start", container.start());
      using entered = run("exec", container.exec({ process: { ...process, args: ["true"] }, stdio }));
      await pollAsync(kernel, [], 0);
      entered.reap();
    } finally {
      run("delete", container.delete({ force: true }));
      init[Symbol.dispose]();
    }
  }
  for (const [name, milliseconds] of Object.entries(longest)) assert(milliseconds < 2, `${name}: ${milliseconds} ms`);
});

Deno.test("more waits than Deno has threads leave some for the program's files", async () => {
  const { read, write } = pipe(kernel, "never written to");
  const waits = Array.from({ length: 100 }, () => pollAsync(kernel, [{ fd: read.number, events: POLLIN }]));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((resolve) => timer = setTimeout(() => resolve("no thread left"), 30_000));
  assertEquals(
    await Promise.race([Deno.readTextFile("/proc/self/comm"), late]),
    Deno.readTextFileSync("/proc/self/comm"),
  );
  clearTimeout(timer);
  write.close();
  assertEquals((await Promise.all(waits)).every(([ready]) => ready !== 0), true);
  read.close();
});
