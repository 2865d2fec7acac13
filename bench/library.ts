/**
 * Times containers that a running Deno program starts with the library.
 *
 * @module
 */

import { join } from "@std/path";
import { createRuntime, loadSpec, readConfig, runOutput } from "../mod.ts";
import { monotonicMs } from "../lib/ffi/clock.ts";
import { makeBundle } from "./bundles.ts";
import { kernel } from "./timed.ts";

/**
 * Runs `true` in containers, one after the other. Returns for each the time from parsing the config to the end, in
 * milliseconds.
 */
export async function libraryRuns(
  options: { readonly directory: string; readonly busybox: string; readonly count: number },
): Promise<readonly number[]> {
  const bundle = join(options.directory, "library");
  makeBundle(bundle, { busybox: options.busybox, args: ["true"], cgroup: `/runc-bench-${Deno.pid}-library` });
  const runtime = createRuntime({ kernel, root: join(options.directory, "library-state") });
  const times: number[] = [];
  for (let index = 0; index < options.count; index++) {
    const before = monotonicMs(kernel);
    const spec = loadSpec(runtime, readConfig(bundle, runtime.log), bundle);
    const { code } = await runOutput(runtime, { id: `library-${index}`, spec });
    if (code !== 0) throw new Error(`the library's container exited with status ${code}`);
    times.push(monotonicMs(kernel) - before);
  }
  return times;
}
