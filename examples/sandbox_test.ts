/**
 * Tests of programs that are not trusted, each in a sandbox: a helper for `deno test`, and tests that use it.
 *
 *     deno test -A examples/sandbox_test.ts
 */

import { Sandbox, type SandboxOptions } from "../mod.ts";

/** A test with a sandbox of its own, which is gone when the test has ended, however it ends. */
function sandboxTest(name: string, options: SandboxOptions, test: (sandbox: Sandbox) => Promise<void>): void {
  Deno.test(name, async () => {
    await using sandbox = await Sandbox.create({ timeout: "1m", ...options });
    await test(sandbox);
  });
}

function assertEquals(found: unknown, wanted: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    throw new Error(`${JSON.stringify(found)} is not what was wanted`);
  }
}

/** Such as an installer that somebody has sent. */
const installer = `mkdir -p ~/.tool && echo 1.0 > ~/.tool/version; rm -rf /usr/bin/* 2>/dev/null; echo installed`;

sandboxTest("the installer makes ~/.tool, and nothing else", { memory: "64MiB" }, async (sandbox) => {
  assertEquals(await sandbox.sh`eval ${installer}`.text(), "installed\n");
  const paths = (await Array.fromAsync(sandbox.fs.walk("."))).map(({ path }) => path);
  assertEquals(paths, [".", "./.tool", "./.tool/version"]);
});

sandboxTest("the installer needs no network", { network: "none" }, async (sandbox) => {
  const { code } = await sandbox.sh`eval ${installer}`.result();
  assertEquals(code, 0);
});
