/**
 * Builds in a sandbox: the source is read-only, one directory is writable, there is no network. Whatever a build script
 * does, it changes nothing else:
 *
 *     deno run -A examples/build.ts SOURCE OUTPUT make -C /source OUT=/output
 *
 * The directories are /source and /output in the sandbox. The status is that of the command.
 */

import { Sandbox } from "../mod.ts";

const [source, output, program, ...args] = Deno.args;
if (source === undefined || output === undefined || program === undefined) {
  console.error("usage: build.ts SOURCE OUTPUT COMMAND...");
  Deno.exit(2);
}
Deno.mkdirSync(output, { recursive: true });
// Who owns the output can write to it. This is no user of the host that has any right: there are no capabilities.
const { uid, gid } = Deno.statSync(output);

await using sandbox = await Sandbox.create({
  memory: "2GiB",
  disk: "1GiB",
  timeout: "15m",
  // Without root, the caller is the only user who owns something.
  user: Deno.uid() === 0 ? { uid: uid ?? 0, gid: gid ?? 0 } : "root",
  cwd: "/source",
  mounts: [
    { source: Deno.realPathSync(source), target: "/source" },
    { source: Deno.realPathSync(output), target: "/output", readonly: false },
  ],
});
// What it prints is the build scripts' own, and may have escape sequences for terminals: they are shown as text.
const escape = String.fromCharCode(27);
const child = await sandbox.spawn(program, { args, stdout: "piped", stderr: "piped" });
const shown = [child.stdout, child.stderr].map(async (stream) => {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    console.log(text.trimEnd().replaceAll(escape, "^["));
  }
});
const { code, timedOut, oom } = await child.status;
await Promise.all(shown);
if (timedOut) console.error("the build has reached its time limit");
if (oom) console.error("the build has reached its limit of memory");
await sandbox.close();
Deno.exit(code);
