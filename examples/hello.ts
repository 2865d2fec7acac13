/**
 * Runs a command in a container and prints its output. Needs root, and a root file system with a shell:
 *
 *     deno run -A examples/hello.ts <rootfs>
 */

import { createRuntime, defaultSpec, hasOnlyCgroup2, loadSpec, runOutput } from "../mod.ts";

const [rootfs] = Deno.args;
if (rootfs === undefined) {
  console.error("usage: deno run -A examples/hello.ts <rootfs>");
  Deno.exit(2);
}

// The state directory for this container. The command line uses /run/runc.
const root = Deno.makeTempDirSync({ prefix: "runc-hello-" });
const runtime = createRuntime({ root, log: (level, message) => level === "debug" || console.error(message) });

// The config that `runc spec` writes, with our own command and no terminal, so that we can read the output.
const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
const args = ["sh", "-c", 'echo "Hello from $(hostname), where I am process $$"'];
const spec = loadSpec(runtime, {
  ...config,
  process: { ...config.process!, terminal: false, args },
  root: { path: Deno.realPathSync(rootfs), readonly: true },
}, Deno.cwd());

try {
  // Creates the container, starts it, waits until it ends and deletes it. The event loop keeps running meanwhile.
  const { code, stdout, stderr } = await runOutput(runtime, { id: "hello", spec });
  const decoder = new TextDecoder();
  console.log(decoder.decode(stdout).trimEnd());
  console.error(decoder.decode(stderr) + `The command exited with status ${code}`);
} finally {
  Deno.removeSync(root, { recursive: true });
}
