/**
 * Runs a command in a container and prints what it wrote. As root, with a root file system that has a shell:
 *
 *     deno run -A examples/hello.ts <rootfs>
 */

import { createRuntime, defaultSpec, hasOnlyCgroup2, loadSpec, runOutput } from "../mod.ts";

const [rootfs] = Deno.args;
if (rootfs === undefined) {
  console.error("usage: deno run -A examples/hello.ts <rootfs>");
  Deno.exit(2);
}

// State is kept here while the container lives. The command line's is /run/runc.
const root = Deno.makeTempDirSync({ prefix: "runc-hello-" });
const runtime = createRuntime({ root, log: (level, message) => level === "debug" || console.error(message) });

// What `runc spec` writes, with a command of our own, and no terminal: we want its output.
const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
const args = ["sh", "-c", 'echo "Hello from $(hostname), where I am process $$"'];
const spec = loadSpec(runtime, {
  ...config,
  process: { ...config.process!, terminal: false, args },
  root: { path: Deno.realPathSync(rootfs), readonly: true },
}, Deno.cwd());

try {
  // Creates the container, starts it, waits for its end and removes it. The event loop goes on meanwhile.
  const { code, stdout, stderr } = await runOutput(runtime, { id: "hello", spec });
  const decoder = new TextDecoder();
  console.log(decoder.decode(stdout).trimEnd());
  console.error(decoder.decode(stderr) + `It ended with status ${code}`);
} finally {
  Deno.removeSync(root, { recursive: true });
}
