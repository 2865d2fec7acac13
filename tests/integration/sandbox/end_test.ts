/** However a program ends, its sandboxes end with it. As root. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { Sandbox } from "../../../mod.ts";
import { cgroupsNamed } from "../leftovers.ts";

const program = new URL("./end_program.ts", import.meta.url).pathname;

interface Started {
  readonly code: number;
  readonly id: string;
  readonly pids: readonly number[];
}

/** Runs the program, gives `end` its process when its sandbox runs, and waits for its end. */
async function run(directory: string, how: string, end: (child: Deno.ChildProcess) => void = () => {}) {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", program, directory, how],
    stdout: "piped",
    stderr: "null",
    stdin: "null",
  });
  await using child = command.spawn();
  let text = "";
  for await (const bytes of child.stdout) {
    text += new TextDecoder().decode(bytes);
    if (text.endsWith("\n")) end(child);
  }
  const { code } = await child.status;
  return { ...JSON.parse(text), code } as Started;
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/** Waits until no process is alive; the kernel ends them after the program's end. */
async function assertEnd(pids: readonly number[]): Promise<void> {
  for (let tries = 0; pids.some(isAlive); tries++) {
    assert(tries < 1000, `still alive: ${pids.filter(isAlive)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const programs = (directory: string) => [...Deno.readDirSync(join(directory, "programs"))].map(({ name }) => name);

function endTest(name: string, body: (directory: string) => Promise<void>): void {
  Deno.test(name, async () => {
    const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-end-" });
    try {
      await body(directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

endTest("a program that exits without close() leaves nothing", async (directory) => {
  const { id, pids } = await run(directory, "exit");
  assertEquals(pids.filter(isAlive), []);
  assertEquals([cgroupsNamed(id), programs(directory)], [[], []]);
});

endTest("a process that was unref()ed does not keep the program running, and ends with it", async (directory) => {
  const { id, pids } = await run(directory, "unref");
  assertEquals(pids.filter(isAlive), []);
  assertEquals([cgroupsNamed(id), programs(directory)], [[], []]);
});

endTest("a program that exits while it closes a sandbox ends; the next program removes the rest", async (directory) => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  // A bound for what takes milliseconds, or would never end.
  const end = (child: Deno.ChildProcess) => void (timer = setTimeout(() => child.kill("SIGKILL"), 60_000));
  const { code, id, pids } = await run(directory, "closing", end);
  clearTimeout(timer);
  assertEquals([code, pids.filter(isAlive)], [3, []]);
  const [left] = programs(directory);
  await using _sandbox = await Sandbox.create({ directory });
  assert(left !== undefined && !programs(directory).includes(left), left);
  assertEquals(cgroupsNamed(id), []);
});

for (const how of ["throw", "SIGKILL"] as const) {
  endTest(`a program's ${how} ends its sandboxes; the next program removes the rest`, async (directory) => {
    const end = (child: Deno.ChildProcess) => how === "SIGKILL" && child.kill("SIGKILL");
    const { id, pids } = await run(directory, how === "throw" ? how : "wait", end);
    await assertEnd(pids);
    const [left] = programs(directory);
    await using _sandbox = await Sandbox.create({ directory });
    assertEquals(cgroupsNamed(id), []);
    assert(!programs(directory).includes(left!));
    assertEquals(programs(directory).length, 1);
  });
}

endTest("what a program has left that was killed while it made a sandbox is removed, too", async (directory) => {
  const { id } = await run(directory, "early");
  assert(cgroupsNamed(id).length > 0);
  const [left] = programs(directory);
  await using _sandbox = await Sandbox.create({ directory });
  assertEquals([cgroupsNamed(id), programs(directory).includes(left!)], [[], false]);
});

endTest("a program does not touch the sandboxes of another one that lives", async (directory) => {
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const { pids } = await run(directory, "wait", async (child) => {
    const [theirs] = programs(directory);
    {
      await using _sandbox = await Sandbox.create({ directory });
      assert(programs(directory).includes(theirs!));
    }
    assertEquals(child.kill("SIGKILL"), undefined);
    resolve();
  });
  await done;
  await assertEnd(pids);
  // Removes what is left.
  await (await Sandbox.create({ directory: `${directory}/.` })).close();
});
