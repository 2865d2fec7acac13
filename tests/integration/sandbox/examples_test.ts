/** The examples with sandboxes. As root. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { Sandbox } from "../../../mod.ts";

/** The server, and the port that it has chosen. */
async function withServer(directory: string, test: (url: string) => Promise<void>): Promise<void> {
  const path = new URL("../../../examples/code_runner.ts", import.meta.url).pathname;
  await using server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", path, "0", directory],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const streams = [server.stdout, server.stderr].map((stream) => stream.pipeThrough(new TextDecoderStream()));
  const { promise: port, resolve } = Promise.withResolvers<string>();
  let text = "";
  const reading = streams.map(async (stream) => {
    for await (const piece of stream) {
      text += piece;
      const [, found] = /127\.0\.0\.1:(\d+)/.exec(text) ?? [];
      if (found !== undefined) resolve(found);
    }
  });
  await test(`http://127.0.0.1:${await port}`);
  server.kill("SIGTERM");
  await server.status;
  await Promise.all(reading);
}

/** Waits for a condition: another process makes it true. */
async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    assert(tries < 1000, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const post = (url: string, script: string, signal?: AbortSignal) =>
  fetch(url, { method: "POST", body: script, signal });

/** The ids of the server's sandboxes. */
function sandboxes(directory: string): readonly string[] {
  const programs = [...Deno.readDirSync(join(directory, "programs"))].filter(({ name }) => !name.startsWith("."));
  const states = programs.map(({ name }) => join(directory, "programs", name, "state"));
  return states.flatMap((path) => [...Deno.readDirSync(path)].map(({ name }) => name));
}

Deno.test("examples/code_runner.ts runs scripts, and a client that goes away ends its sandbox", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-server-" });
  try {
    await withServer(directory, async (url) => {
      assertEquals(await (await fetch(`${url}/ping`)).text(), "pong\n");
      await runsScripts(url);
      // The pool is full again.
      await until("no sandboxes wait", () => sandboxes(directory).length === 4);
      const before = sandboxes(directory);
      const controller = new AbortController();
      const lasting = post(`${url}/run`, "sleep 1000", controller.signal).catch((error) => error.name);
      await until("no sandbox was taken", () => sandboxes(directory).length === 5);
      controller.abort();
      assertEquals(await lasting, "AbortError");
      await until("the sandbox is still there", () => before.some((id) => !sandboxes(directory).includes(id)));
    });
    // Removes what the server, which was killed, has left.
    await (await Sandbox.create({ directory })).close();
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

async function runsScripts(url: string): Promise<void> {
  const indexes = [0, 1, 2, 3, 4];
  const answers = await Promise.all(
    indexes.map(async (index) => await (await post(`${url}/run`, `echo ${index}; exit 3`)).json()),
  );
  const rest = { code: 3, oom: false, timedOut: false, truncated: false, stderr: "" };
  assertEquals(answers, indexes.map((index) => ({ ...rest, stdout: `${index}\n` })));
  const hungry = await post(`${url}/run?language=perl`, "my $x = q(x) x 300_000_000; print 1");
  assertEquals((await hungry.json()).oom, true);
  const wrong = await fetch(`${url}/run?language=cobol`, { method: "POST" });
  assertEquals([wrong.status, (await wrong.text()).length > 0], [404, true]);
}

/** Runs an example to its end. */
async function runExample(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { NO_COLOR: "1" };
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args], env }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const example = (name: string) => new URL(`../../../examples/${name}`, import.meta.url).pathname;

function inDirectory(name: string, test: (directory: string) => Promise<void>): void {
  Deno.test(name, async () => {
    const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-example-" });
    // The sandbox's user has to reach it.
    Deno.chmodSync(directory, 0o755);
    try {
      await test(directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

inDirectory("examples/grader.ts tells right, wrong, slow and hungry, and its tests are hidden", async (directory) => {
  const solution = join(directory, "solution.pl");
  Deno.writeTextFileSync(
    solution,
    `my $in = <STDIN>; chomp $in; if ($in eq "slow") { sleep 100 }
    if ($in eq "hungry") { my $n = 400_000_000; my $x = q(x) x $n; print 1 } if ($in eq "die") { exit 3 }
    if ($in eq "look") { print join(" ", glob("${directory}/* /solution* /tmp/*")) } else { print "$in$in\\n" }`,
  );
  const tests = Object.entries({ right: "rightright", wrong: "x", slow: "", hungry: "", die: "", look: "/solution" });
  const file = join(directory, "tests.json");
  Deno.writeTextFileSync(file, JSON.stringify(tests.map(([name, output]) => ({ name, input: `${name}\n`, output }))));
  const { code, stdout, stderr } = await runExample([
    "run",
    "-A",
    "--no-check",
    example("grader.ts"),
    solution,
    file,
    "perl",
  ]);
  assertEquals({ code, stderr, lines: stdout.trim().split("\n") }, {
    code: 1,
    stderr: "",
    lines: [
      "right: passed",
      "wrong: wrong answer",
      "slow: too slow",
      "hungry: too much memory",
      "die: ended with code 3",
      "look: passed",
    ],
  });
});

inDirectory("examples/build.ts writes to the output only", async (directory) => {
  const [source, output] = ["source", "output"].map((name) => join(directory, name));
  Deno.mkdirSync(source!);
  Deno.writeTextFileSync(join(source!, "in"), "text");
  const script = "tr a-z A-Z < in > /output/out; echo x > in; echo x > /usr/x; printf '\\033[31mred'; exit 5";
  const args = ["run", "-A", "--no-check", example("build.ts"), source!, output!, "sh", "-c", script];
  const { code, stdout } = await runExample(args);
  assertEquals([code, Deno.readTextFileSync(join(output!, "out"))], [5, "TEXT"]);
  assertEquals([Deno.readTextFileSync(join(source!, "in")), [...Deno.readDirSync(output!)].length], ["text", 1]);
  assert(stdout.includes("^[[31mred") && stdout.includes("Read-only file system"), stdout);
});

Deno.test("examples/sandbox_test.ts passes", async () => {
  const { code, stdout } = await runExample(["test", "-A", "--no-check", example("sandbox_test.ts")]);
  assertEquals([code, stdout.includes("2 passed | 0 failed")], [0, true], stdout);
});
