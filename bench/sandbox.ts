/**
 * `deno task bench:sandbox [--rounds N] [--count N]`: times the library's sandboxes, and compares them with Debian's bubblewrap.
 *
 * All take turns, so that they see the same machine; ratios are medians over pairs that ran one after the other. The
 * program is `echo`, on the host's own files; the time is that to its first byte of output. bubblewrap gets the same
 * mounts and namespaces, and no seccomp profile, no cgroup and no limits, which it does not have.
 *
 * @module
 */

import { monotonicMs } from "../lib/ffi/clock.ts";
import { FsMagic } from "../lib/ffi/constants.ts";
import { fsMagic } from "../lib/ffi/files.ts";
import { readHostLayout } from "../lib/sandbox/config/host_layout.ts";
import { Sandbox, type SandboxPool, type SandboxProcess } from "../mod.ts";
import { giveUp, projectDir } from "../tools/bundle.ts";
import { readOptions } from "../tools/options.ts";
import { ensureInstalled, findProgram } from "../tools/packages.ts";
import { formatTable, median, medianRatio } from "./statistics.ts";
import { kernel } from "./timed.ts";

/** Rounds that are not counted. */
const WARM_UP_ROUNDS = 10;
/** Requests to the example, how many at once, and those before that are not counted: V8 compiles meanwhile. */
const REQUESTS = 1000, CLIENTS = 8, FIRST_REQUESTS = 200;
/** How many of each contestant the processor time is measured over. */
const TIMED = 200;

type Contestant = readonly [name: string, run: () => Promise<number>];

const echo = { args: ["x"], stdout: "piped", stderr: "null" } as const;

/** The time from `started` to the first byte. */
async function toFirstByte(started: number, stdout: ReadableStream<Uint8Array>): Promise<number> {
  const reader = stdout.getReader();
  await reader.read();
  const ms = monotonicMs(kernel) - started;
  await reader.cancel();
  return ms;
}

async function ofProcess(started: number, child: SandboxProcess): Promise<number> {
  const ms = await toFirstByte(started, child.stdout);
  await child.status;
  return ms;
}

/** bubblewrap's options for the same root. */
function bwrapArgs(): readonly string[] {
  const root = readHostLayout().flatMap(({ path, kind, target = "" }) =>
    kind === "symlink" ? ["--symlink", target, path] : ["--ro-bind", path, path]
  );
  const fresh = ["/tmp", "/var/tmp", "/run", "/root", "/home/sandbox"].flatMap((path) => ["--tmpfs", path]);
  const system = ["--proc", "/proc", "--dev", "/dev", "--hostname", "sandbox", "--chdir", "/home/sandbox"];
  return [...root, ...fresh, ...system, "--unshare-all", "--new-session", "--die-with-parent", "--cap-drop", "ALL"];
}

function contestants(directory: string, lasting: Sandbox, pool: SandboxPool<Sandbox>): readonly Contestant[] {
  const args = [...bwrapArgs(), "/bin/echo", "x"];
  return [
    ["bwrap", async () => {
      const started = monotonicMs(kernel);
      const child = new Deno.Command("bwrap", { args, stdout: "piped", stderr: "null" }).spawn();
      const ms = await toFirstByte(started, child.stdout);
      await child.status;
      return ms;
    }],
    ["new sandbox", async () => {
      const started = monotonicMs(kernel);
      await using sandbox = await Sandbox.create({ directory });
      return await ofProcess(started, await sandbox.spawn("/bin/echo", echo));
    }],
    ["of a pool", async () => {
      while (pool.ready < 2) await new Promise((resolve) => setTimeout(resolve, 1));
      const started = monotonicMs(kernel);
      await using sandbox = await pool.acquire();
      return await ofProcess(started, await sandbox.spawn("/bin/echo", echo));
    }],
    ["another program in a sandbox", async () => {
      return await ofProcess(monotonicMs(kernel), await lasting.spawn("/bin/echo", echo));
    }],
  ];
}

async function compare(directory: string, rounds: number): Promise<string> {
  await using lasting = await Sandbox.create({ directory });
  await using pool = Sandbox.pool({ size: 2, directory });
  const all = contestants(directory, lasting, pool);
  const times = all.map((): number[] => []);
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const order = [...all.keys()];
    for (const index of round % 2 === 0 ? order : order.toReversed()) {
      const ms = await all[index]![1]();
      if (round >= 0) times[index]!.push(ms);
    }
  }
  return formatTable([
    ["to the first byte of echo", "median, ms", "fastest, ms", "ratio to bwrap"],
    ...all.map(([name], index) => [
      name,
      median(times[index]!).toFixed(1),
      Math.min(...times[index]!).toFixed(1),
      medianRatio(times[index]!, times[0]!).toFixed(2),
    ]),
  ]);
}

/** Processor time in milliseconds: of the JavaScript thread, of this program's other threads, and of its children. */
function processorTime(): readonly [script: number, others: number, children: number] {
  // In nanoseconds, and fields 14 to 17 in hundredths of a second. proc_pid_schedstat(5), proc_pid_stat(5)
  const script = Number(Deno.readTextFileSync(`/proc/self/task/${Deno.pid}/schedstat`).split(" ")[0]) / 1e6;
  const stat = Deno.readTextFileSync("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ").map(Number);
  return [script, 10 * (fields[11]! + fields[12]!) - script, 10 * (fields[13]! + fields[14]!)];
}

/** Where the processor time goes, one after the other. */
async function share(directory: string): Promise<string> {
  await using lasting = await Sandbox.create({ directory });
  await using pool = Sandbox.pool({ size: 1, directory });
  // The pool works only before and afterwards.
  while (pool.ready < 1) await new Promise((resolve) => setTimeout(resolve, 1));
  const rows: string[][] = [];
  for (const [name, run] of contestants(directory, lasting, pool).filter(([name]) => name !== "of a pool")) {
    const before = processorTime();
    for (let count = 0; count < TIMED; count++) await run();
    rows.push([name, ...processorTime().map((ms, index) => ((ms - before[index]!) / TIMED).toFixed(1))]);
  }
  return formatTable([["processor time of each, ms", "JavaScript thread", "other threads", "processes"], ...rows]);
}

/** Requests to examples/code_runner.ts, with the latency of its /ping meanwhile. */
async function serve(directory: string): Promise<string> {
  const args = ["run", "-A", "--no-check", `${projectDir}/examples/code_runner.ts`, "0", directory];
  await using server = new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const reader = server.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", port: string | undefined;
  while (port === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`examples/code_runner.ts has ended: ${text}`);
    text += value;
    port = /127\.0\.0\.1:(\d+)/.exec(text)?.[1];
  }
  const run = async () => {
    const { code } = await (await fetch(`http://127.0.0.1:${port}/run`, { method: "POST", body: "true" })).json();
    if (code !== 0) throw new Error(`true has ended with code ${code}`);
  };
  const runAll = async (count: number) => {
    let left = count;
    await Promise.all(Array.from({ length: CLIENTS }, async () => {
      while (left-- > 0) await run();
    }));
  };
  await runAll(FIRST_REQUESTS);
  const pings: number[] = [];
  let isOver = false;
  const pinging = (async () => {
    while (!isOver) {
      const before = monotonicMs(kernel);
      await (await fetch(`http://127.0.0.1:${port}/ping`)).text();
      pings.push(monotonicMs(kernel) - before);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const started = monotonicMs(kernel);
  await runAll(REQUESTS);
  const seconds = (monotonicMs(kernel) - started) / 1000;
  isOver = true;
  await pinging;
  server.kill("SIGTERM");
  await server.status;
  return `examples/code_runner.ts: ${(REQUESTS / seconds).toFixed(0)} requests/s with ${CLIENTS} clients; /ping ` +
    `meanwhile ${median(pings).toFixed(1)} ms`;
}

const rssKib = (pid: number | "self") =>
  Number(/^VmRSS:\s+(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? NaN);
const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;

/** Many sandboxes at once. */
async function many(directory: string, count: number): Promise<string> {
  const before = rssKib("self");
  const started = monotonicMs(kernel);
  const sandboxes = await Promise.all(Array.from({ length: count }, () => Sandbox.create({ directory })));
  const ms = monotonicMs(kernel) - started;
  const each = median(sandboxes.map(({ pid }) => rssKib(pid)));
  const grown = (rssKib("self") - before) / count;
  await Promise.all(sandboxes.map((sandbox) => sandbox.close()));
  return `${count} sandboxes at once: ${(ms / count).toFixed(1)} ms each; RSS of a process that waits ${each} KiB; ` +
    `this program has grown by ${grown.toFixed(0)} KiB for each`;
}

/** One after the other, eight at a time: nothing may grow. */
async function lasting(directory: string, count: number): Promise<string> {
  const rows: string[] = [];
  for (let done = 0; done < count;) {
    await Promise.all(Array.from({ length: 8 }, async () => {
      await using sandbox = await Sandbox.create({ directory });
      await (await sandbox.spawn("true", { stdout: "piped" })).output();
    }));
    done += 8;
    if (done % 400 === 0 || done >= count) {
      rows.push(`${done}: ${descriptors()}, ${(rssKib("self") / 1024).toFixed(0)}`);
    }
  }
  return `descriptors and RSS in MiB after sandboxes: ${rows.join("; ")}`;
}

async function main(): Promise<number> {
  const options = readOptions(Deno.args, { values: { rounds: "40", count: "2000" } });
  if (options === undefined) return giveUp("usage: deno task bench:sandbox [--rounds N] [--count N]");
  const [rounds, count] = [Number(options.values.rounds), Number(options.values.count)];
  if (![rounds, count].every((number) => Number.isInteger(number) && number > 0)) {
    giveUp("both numbers must be above 0");
  }
  if (Deno.uid() !== 0) giveUp("the benchmark needs root: run it as root or with sudo");
  ensureInstalled([{ package: "bubblewrap", program: "bwrap" }]);
  console.log(`${findProgram("bwrap")}; Linux ${Deno.osRelease()}, ${navigator.hardwareConcurrency} processors`);
  console.log(`load ${Deno.loadavg().map((load) => load.toFixed(1)).join(" ")}\n`);
  // /run is in memory, but not in every container.
  const base = fsMagic(kernel, "/run") === FsMagic.TMPFS ? "/run" : "/dev/shm";
  const directory = Deno.makeTempDirSync({ dir: base, prefix: "runc-bench-" });
  try {
    console.log(`${await compare(directory, rounds)}\n`);
    console.log(`${await share(directory)}\n`);
    console.log(await serve(directory));
    console.log(await many(directory, 100));
    console.log(await lasting(directory, count));
    // Removes what the server has left, which was ended by a signal.
    await (await Sandbox.create({ directory: `${directory}/.` })).close();
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
  return 0;
}

if (import.meta.main) Deno.exit(await main());
