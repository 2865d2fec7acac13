/**
 * Grades a program with hidden tests: each test in a sandbox of its own. The program gets a test's input and cannot see
 * what is expected, nor other tests. Needs root for its limits:
 *
 *     deno run -A examples/grader.ts solution.py tests.json python3
 *
 * `tests.json` is a list of `{ "name": …, "input": …, "output": … }`. The last arguments are the program that runs the
 * solution. Prints a line for each test. The status is 0 if all have passed.
 */

import { Sandbox } from "../mod.ts";

interface Test {
  readonly name: string;
  readonly input: string;
  readonly output: string;
}

const [solution, testsFile, ...interpreter] = Deno.args;
if (solution === undefined || testsFile === undefined || interpreter.length === 0) {
  console.error("usage: grader.ts SOLUTION TESTS.json INTERPRETER...");
  Deno.exit(2);
}
const tests: readonly Test[] = JSON.parse(Deno.readTextFileSync(testsFile));

await using pool = Sandbox.pool({
  size: 2,
  max: navigator.hardwareConcurrency + 2,
  memory: "256MiB",
  pids: 32,
  timeout: "10s",
  maxOutput: "1MiB",
  mounts: [{ source: Deno.realPathSync(solution), target: "/solution" }],
});

/** `passed`, or why not. */
async function grade({ input, output }: Test): Promise<string> {
  await using sandbox = await pool.acquire();
  const [program = "", ...args] = interpreter;
  const child = await sandbox.spawn(program, {
    args: [...args, "/solution"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
    timeout: "2s",
  });
  // A solution need not read its input.
  new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
  const { code, stdoutText, oom, timedOut, truncated } = await child.output();
  if (timedOut) return "too slow";
  if (oom) return "too much memory";
  if (truncated) return "too much output";
  if (code !== 0) return `ended with code ${code}`;
  return stdoutText!.trimEnd() === output.trimEnd() ? "passed" : "wrong answer";
}

const results = await Promise.all(tests.map(grade));
for (const [index, { name }] of tests.entries()) console.log(`${name}: ${results[index]}`);
await pool.close();
Deno.exit(results.every((result) => result === "passed") ? 0 : 1);
