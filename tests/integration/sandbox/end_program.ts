/** A program with a sandbox that it does not close. Arguments: directory, how it ends, an image and a cache if any. */

import { Sandbox } from "../../../mod.ts";

const [directory, how, image, cache] = Deno.args;
const root = image === undefined ? "host" : { image, cache };
if (how === "early") {
  // Is killed in the middle of a creation: when the cgroups exist, and the state is to be written.
  const write = Deno.writeTextFileSync;
  Deno.writeTextFileSync = (path, data, options) => {
    if (/\/state-\d+$/.test(`${path}`)) {
      console.log(JSON.stringify({ id: `${path}`.split("/").at(-2), pids: [] }));
      Deno.kill(Deno.pid, "SIGKILL");
    }
    write(path, data, options);
  };
}
const sandbox = await Sandbox.create({ directory, root });
// A program that ignores what it can, in a session of its own, and holds all streams.
const script = "trap '' TERM INT HUP PIPE; echo ready; setsid sleep 1000 & sleep 1000";
const child = await sandbox.spawn("sh", { args: ["-c", script], stdin: "piped", stdout: "piped" });
const reader = child.stdout.getReader();
await reader.read();
console.log(JSON.stringify({ id: sandbox.id, pid: sandbox.pid, pids: [sandbox.pid, child.pid] }));
if (how === "exit") Deno.exit(3);
if (how === "closing") {
  // Exits in the middle of a close: it has the lock then, and removes the state.
  const remove = Deno.removeSync;
  Deno.removeSync = (path, options) => {
    if (`${path}`.endsWith(`/${sandbox.id}`)) {
      Deno.removeSync = remove;
      Deno.exit(3);
    }
    remove(path, options);
  };
  await sandbox.close();
}
if (how === "unref") child.unref();
if (how === "throw") throw new Error("thrown");
if (how === "wait") await child.status;
