/**
 * Makes the container of a sandbox: config, root, first process.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { openFlag } from "../../ffi/constants.ts";
import type { Fd } from "../../ffi/fd.ts";
import { open } from "../../ffi/files.ts";
import { alloc } from "../../ffi/kernel.ts";
import { POLLIN } from "../../ffi/poll.ts";
import { pollAsync } from "../../ffi/poller.ts";
import { streamPair } from "../../ffi/sockets.ts";
import { Container, type ContainerProcess } from "../../libcontainer/container/container.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { homeIn } from "./home.ts";
import type { SandboxOptions } from "./options.ts";
import { type Recipe, recipeFor, specFor } from "./recipe.ts";

/** A sandbox that runs. */
export interface LaunchedSandbox {
  readonly id: string;
  readonly runtime: Runtime;
  readonly container: Container;
  /** Process 1. */
  readonly first: ContainerProcess;
  /** The sandbox lives as long as it is open. */
  readonly lifeline: Fd;
  /** How it was made, and how its processes are. */
  readonly recipe: Recipe;
}

/** Creates and starts. @throws {RuncError} Nothing is left then. */
export async function launch(options: SandboxOptions): Promise<LaunchedSandbox> {
  const { signal } = options;
  const home = await homeIn(options.directory);
  const { kernel } = home;
  const runtime = { ...home.runtime, log: options.log ?? home.runtime.log };
  const id = `sandbox-${crypto.randomUUID()}`;
  const recipe = await recipeFor(home, runtime, options);
  checkLimits(recipe.unlimited, options);
  signal?.throwIfAborted();
  const [lifeline, theirs] = streamPair(kernel, "lifeline");
  using _theirs = theirs;
  using nowhere = open(kernel, "/dev/null", openFlag(kernel.arch).O_RDWR);
  try {
    const { container, process: first } = await Container.create(runtime, {
      id,
      spec: specFor(recipe, id),
      seccomp: recipe.seccomp,
      rootLayers: recipe.rootLayers,
      images: recipe.images,
      isBrief: true,
      signal,
      startBy: "creation",
      stdio: [theirs.number, nowhere.number, nowhere.number],
    });
    theirs.close();
    try {
      await isRunning(runtime, lifeline);
      signal?.throwIfAborted();
    } catch (error) {
      await first.abort();
      first[Symbol.dispose]();
      await container.destroy();
      throw error;
    }
    return { id, runtime, container, first, lifeline, recipe };
  } catch (error) {
    lifeline.close();
    throw error;
  }
}

function checkLimits(unlimited: Recipe["unlimited"], { requireLimits, log }: SandboxOptions): void {
  if (unlimited.length === 0) return;
  const message = `the sandbox has no limit of ${unlimited.join(", ")}: its caller has no cgroup for that`;
  const hint = "run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes …";
  if (requireLimits) throw new RuncError("host-lacks", message, { hint });
  log?.("warning", `${message}; ${hint}`);
}

/** Waits until process 1 has said that it runs. */
async function isRunning({ kernel }: Runtime, lifeline: Fd): Promise<void> {
  await pollAsync(kernel, [{ fd: lifeline.number, events: POLLIN }]);
  if (kernel.retry("read", lifeline.number, alloc(1), 1) === 1) return;
  throw new RuncError("container-state", "the sandbox's first process has ended", {
    hint: "the option memory may be too low",
  });
}
