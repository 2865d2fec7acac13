/** `deno task compile`: says what it lacks, and leaves the program that was built alone. */

import { assertEquals, assertMatch } from "@std/assert";
import { distDir } from "../../tools/bundle.ts";
import { boxTest, execute, type Result } from "./harness.ts";

const project = new URL("../..", import.meta.url).pathname;

function compile(env: Record<string, string>): Result {
  const argv = [Deno.execPath(), "run", "--allow-all", "--config", `${project}deno.json`, `${project}tools/compile.ts`];
  // Where esbuild is, if it has been fetched.
  const cache = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;
  return execute(argv, { env: { DENO_DIR: cache, ...env } });
}

const script = () => Deno.readTextFileSync(`${distDir}/runc.js`);

boxTest("deno task compile names the file that it could not fetch, and where to put it", () => {
  const before = script();
  // Nobody listens there.
  const { code, stdout, stderr } = compile({ HTTPS_PROXY: "http://127.0.0.1:1", HTTP_PROXY: "http://127.0.0.1:1" });
  const file = "https://dl\\.deno\\.land/release/v[\\d.]+/denort-(x86_64|aarch64)-unknown-linux-gnu\\.zip";
  const lacks = new RegExp(`^error: deno compile needs denort .*: cannot download ${file}; .* DENORT_BIN .*$`, "m");
  // Whoever has compiled before has it.
  if (code === 0) assertMatch(stdout, /built dist\/runc-compiled, which contains Deno/);
  else assertMatch(stderr, lacks);
  assertEquals(script(), before);
});

boxTest("deno task compile tells of a DENORT_BIN that is not there, or none", () => {
  assertEquals(compile({ DENORT_BIN: "/missing" }).stderr, "error: DENORT_BIN: /missing does not exist\n");
  const { code, stderr } = compile({ DENORT_BIN: "/bin/true" });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^error: (deno compile failed: |the compiled program does not run: is \/bin\/true the denort)/m,
  );
});
