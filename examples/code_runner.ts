/**
 * An HTTP server that runs what it is sent, each request in a sandbox of its own. Needs root for its limits:
 *
 *     deno run -A examples/code_runner.ts 8000
 *     curl --data-binary 'print(6 * 7)' 'http://localhost:8000/run?language=python3'
 *
 * A second argument is the directory for the state of the sandboxes.
 *
 * The answer is JSON: `{ code, oom, timedOut, truncated, stdout, stderr }`. A client that goes away ends its sandbox. A
 * pool keeps sandboxes ready.
 */

import { RuncError, Sandbox } from "../mod.ts";

/** Programs that take a script as their standard input. */
const interpreters: Readonly<Record<string, readonly string[]>> = {
  sh: ["sh", "-s"],
  perl: ["perl", "-"],
  python3: ["python3", "-"],
};

const [port = "8000", directory] = Deno.args;
const LONGEST_SCRIPT = 64 * 1024;

/** Ready before there is a request. More requests at once than `max` wait. */
const pool = Sandbox.pool({
  size: 4,
  max: 32,
  memory: "128MiB",
  pids: 32,
  cpus: 1,
  disk: "16MiB",
  timeout: "10s",
  maxOutput: "1MiB",
  directory,
});

async function run(request: Request, [program, ...args]: readonly string[]): Promise<Response> {
  const script = new Uint8Array(await request.arrayBuffer());
  if (script.length > LONGEST_SCRIPT) return new Response("the script is too long\n", { status: 413 });
  await using sandbox = await pool.acquire({ signal: request.signal });
  const child = await sandbox.spawn(program!, { args, stdin: "piped", stdout: "piped", stderr: "piped" });
  const stdin = child.stdin.getWriter();
  // A program need not read its script to the end.
  for (const written of [stdin.write(script), stdin.close()]) written.catch(() => {});
  const { code, oom, timedOut, truncated, stdoutText: stdout, stderrText: stderr } = await child.output();
  return Response.json({ code, oom, timedOut, truncated, stdout, stderr });
}

async function answer(request: Request): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/ping") return new Response("pong\n");
  const interpreter = interpreters[searchParams.get("language") ?? "sh"];
  if (pathname !== "/run" || request.method !== "POST" || interpreter === undefined) {
    return new Response("POST a script to /run?language=sh, perl or python3\n", { status: 404 });
  }
  try {
    return await run(request, interpreter);
  } catch (error) {
    if (request.signal.aborted) return new Response(null, { status: 499 });
    // What went wrong on the host is for the log, not for the client.
    console.error(error instanceof RuncError ? error.message : error);
    return new Response("the sandbox failed\n", { status: 500 });
  }
}

Deno.serve({ hostname: "127.0.0.1", port: Number(port) }, answer);
