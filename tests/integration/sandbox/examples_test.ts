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
      const controller = new AbortController();
      const lasting = post(`${url}/run`, "sleep 1000", controller.signal).catch((error) => error.name);
      await until("no sandbox was made", () => sandboxes(directory).length > 0);
      controller.abort();
      assertEquals(await lasting, "AbortError");
      await until("the sandbox is still there", () => sandboxes(directory).length === 0);
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
