/**
 * A program that uses the library and is killed by SIGKILL before a given act of a command, as an engine's caller may
 * kill the runtime at any time.
 *
 * It prints each act before it does it. Arguments: command, state directory, id, bundle, and the number of the act; an
 * act that the command does not have is its end.
 */

import { createRuntime, Kernel, loadSpec, type OpenSpan, readConfig, type Runtime } from "../../mod.ts";
import { open } from "../../lib/ffi/files.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { runWaits, type Waits } from "../../lib/ffi/waits.ts";
import { ContainerHandle } from "../../lib/libcontainer/container/handle.ts";

const [command = "", root = "", id = "", bundle = "", number = ""] = Deno.args;
const kernel = new Kernel();
let acts = 0;

/** Each act is a span that begins. */
function die(name: string): void {
  console.log(name);
  if (acts++ === Number(number)) kill(kernel, kernel.pid, 9);
}

const ignored: OpenSpan = { set: () => {}, rename: () => {} };
const runtime: Runtime = createRuntime({
  kernel,
  root,
  // For CRIU.
  environment: { PATH: Deno.env.get("PATH") ?? "" },
  log: () => {},
  trace: {
    traceparent: "",
    span: (_name, action) => action(ignored),
    begin: (name) => {
      die(name);
      return { ...ignored, end: () => {} };
    },
    // The plan as it is.
    steps: ({ plan }) => ({ plan, started: () => {}, take: () => false, failed: () => {}, ended: () => {} }),
  },
});

const nothing = open(kernel, "/dev/null", 2).number;
const stdio = [nothing, nothing, nothing] as const;

const commands: Readonly<Record<string, () => Waits<unknown>>> = {
  create: () => {
    const spec = loadSpec(runtime, readConfig(bundle, runtime.log), bundle);
    return ContainerHandle.create(runtime, { id, spec, startBy: "fifo", stdio });
  },
  start: () => ContainerHandle.load(runtime, id).start(),
  exec: () => {
    const process = { ...readConfig(bundle, runtime.log).process!, args: ["sleep", "1000"] };
    return ContainerHandle.load(runtime, id).exec({ process, stdio });
  },
  update: () => ContainerHandle.load(runtime, id).update({ pids: { limit: 77 } }),
  checkpoint: () => ContainerHandle.load(runtime, id).checkpoint({ imagePath: `${bundle}/images` }),
  restore: () => {
    const spec = loadSpec(runtime, readConfig(bundle, runtime.log), bundle);
    return ContainerHandle.restore(runtime, { id, spec, imagePath: `${bundle}/images` });
  },
  delete: () => ContainerHandle.load(runtime, id).delete({ force: true }),
};

runWaits(runtime, commands[command]!());
die("(the end)");
