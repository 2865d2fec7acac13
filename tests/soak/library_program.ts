/**
 * A program that lives long and uses the library all the time. Reads a line, does a round of mixed work, and answers with
 * a line of JSON: a {@link Report}. Ends with its input. Needs `--v8-flags=--expose-gc`.
 *
 *     deno run -A --v8-flags=--expose-gc tests/soak/library_program.ts DIRECTORY
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import {
  type Config,
  Container,
  containerStats,
  createRuntime,
  defaultSpec,
  execOutput,
  hasOnlyCgroup2,
  Kernel,
  loadSpec,
  RuncError,
  runOutput,
  Sandbox,
} from "../../mod.ts";
import { open } from "../../lib/ffi/files.ts";

/** What a round was. */
export interface Report {
  /** Containers and sandboxes that it made. All are gone. */
  readonly ids: readonly string[];
  /** Bytes of V8's heap, after a collection. */
  readonly heap: number;
}

const [directory = ""] = Deno.args;
const kernel = new Kernel();
const runtime = createRuntime({ kernel, root: join(directory, "library-state"), log: () => {} });
const sandboxes = { directory: join(directory, "sandboxes"), memory: "64MiB", pids: 32 } as const;
const nothing = open(kernel, "/dev/null", 2);
const stdio = [nothing.number, nothing.number, nothing.number] as const;
let count = 0;

function spec(id: string, args: readonly string[], change: (config: Config) => Config = (config) => config) {
  const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
  const process = { ...config.process!, terminal: false, args };
  const linux = { ...config.linux, cgroupsPath: `/${prefix}-${id}` };
  return loadSpec(runtime, change({ ...config, process, linux, root: { path: "rootfs", readonly: true } }), directory);
}

/** In the names of all its cgroups. */
const prefix = `soak-library-${Deno.pid}`;
const text = (bytes: Uint8Array | null) => new TextDecoder().decode(bytes ?? new Uint8Array());

/** A container that was made step by step. */
async function made(id: string, args: readonly string[]): Promise<AsyncDisposable & { readonly container: Container }> {
  const { container, process } = await Container.create(runtime, { id, spec: spec(id, args), startBy: "fifo", stdio });
  await container.start();
  return {
    container,
    [Symbol.asyncDispose]: async () => {
      await container.delete({ force: true });
      process[Symbol.dispose]();
    },
  };
}

/** Created, started, looked at, paused, limited, killed, deleted. */
async function byHand(id: string): Promise<void> {
  await using one = await made(id, ["sleep", "1000"]);
  assert((containerStats(one.container).pids?.current ?? 0) >= 1);
  await one.container.pause();
  await one.container.update({ pids: { limit: 77 } });
  await one.container.resume();
  assertEquals((await one.container.state()).status, "running");
  await one.container.kill(9);
  await one.container.awaitExit(60_000);
}

const works: readonly ((id: string) => Promise<void>)[] = [
  async (id) => {
    const { code, stdout } = await runOutput(runtime, { id, spec: spec(id, ["sh", "-c", "echo out; exit 3"]) });
    assertEquals([code, text(stdout)], [3, "out\n"]);
  },
  async (id) => {
    const big = "0123456789abcdef".repeat(16 * 1024);
    const { stdout } = await runOutput(runtime, { id, spec: spec(id, ["cat"]), stdin: big });
    assertEquals(stdout.length, big.length);
  },
  async (id) => {
    const missing = spec(id, ["nowhere"]);
    await assertRejects(() => runOutput(runtime, { id, spec: missing }), RuncError);
  },
  async (id) => {
    const source = spec(id, ["true"], (config) => ({
      ...config,
      mounts: [...config.mounts ?? [], { destination: "/x", type: "bind", source: "/nowhere", options: ["bind"] }],
    }));
    await assertRejects(() => runOutput(runtime, { id, spec: source }), RuncError);
  },
  async (id) => {
    const aborter = new AbortController();
    const output = runOutput(runtime, { id, spec: spec(id, ["sleep", "1000"]), signal: aborter.signal });
    aborter.abort();
    // Aborted on its way it throws, and later it says what has ended.
    await output.then(({ code }) => assertEquals(code, 137), (error) => assertEquals(error.code, "interrupted"));
  },
  byHand,
];

/** What one does with a sandbox. Returns its id. */
async function sandbox(): Promise<string> {
  await using box = await Sandbox.create(sandboxes);
  assertEquals(await box.sh`echo ${"a b"}`.text(), "a b\n");
  await box.fs.writeTextFile("/tmp/file", "text");
  assertEquals(await box.fs.readTextFile("/tmp/file"), "text");
  assertEquals((await box.sh`exit 7`.noThrow().result()).code, 7);
  const child = await box.spawn("sleep", { args: ["1000"], stdout: "null", stderr: "null" });
  child.kill();
  assertEquals((await child.status).signal, "SIGTERM");
  await assertRejects(() => box.spawn("nowhere"), RuncError);
  return box.id;
}

/** One that is closed while it works. */
async function cut(): Promise<string> {
  const box = await Sandbox.create(sandboxes);
  const child = await box.spawn("sleep", { args: ["1000"], stdout: "piped", stderr: "null" });
  await box.close();
  assertEquals((await child.status).signal, "SIGKILL");
  return box.id;
}

async function round(long: Container, held: Sandbox): Promise<Report> {
  const ids = works.map(() => `soak-${Deno.pid}-${count++}`);
  await Promise.all(works.map((work, index) => work(ids[index]!)));
  for (let index = 0; index < 5; index++) {
    const { code, stdout } = await execOutput(runtime, long, { process: longProcess });
    assertEquals([code, text(stdout)], [0, "exec\n"]);
    assertEquals(await held.sh`echo held`.text(), "held\n");
  }
  const made = await Promise.all([sandbox(), sandbox(), cut()]);
  return { ids: [...ids, ...made], heap: collected() };
}

/** V8 frees what has finalizers at the second collection. */
function collected(): number {
  const { gc } = globalThis as unknown as { gc: () => void };
  gc();
  gc();
  return Deno.memoryUsage().heapUsed;
}

const longProcess = { ...defaultSpec({ cgroup2: false }).process!, terminal: false, args: ["echo", "exec"] };

if (import.meta.main) {
  await using long = await made("soak-library-long", ["sleep", "1000000"]);
  await using held = await Sandbox.create(sandboxes);
  console.log("ready");
  for await (const _line of Deno.stdin.readable) console.log(JSON.stringify(await round(long.container, held)));
}
