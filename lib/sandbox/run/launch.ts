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
import { loadSpec } from "../../libcontainer/container/bundle.ts";
import { Container, type ContainerProcess } from "../../libcontainer/container/container.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import type { RootLayers } from "../../libcontainer/config/launch_request.ts";
import type { SeccompFilter } from "../../libcontainer/seccomp/filter.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { Config, Process } from "../../specs/config.ts";
import { readSandboxFacts } from "../config/facts.ts";
import { readHostLayout } from "../config/host_layout.ts";
import { type RootRequest, type SandboxConfig, sandboxConfig, type SandboxRequest } from "../config/sandbox_config.ts";
import { writeSkeleton } from "../config/skeleton.ts";
import { defaults } from "../config/options.ts";
import { badOption, parseSize } from "../config/units.ts";
import { type Home, homeIn } from "./home.ts";
import { prepareImage } from "./image_root.ts";
import type { SandboxOptions } from "./options.ts";

/** A sandbox that runs. */
export interface LaunchedSandbox {
  readonly id: string;
  readonly runtime: Runtime;
  readonly container: Container;
  /** Process 1. */
  readonly first: ContainerProcess;
  /** The sandbox lives as long as it is open. */
  readonly lifeline: Fd;
  /** What other processes are made from. */
  readonly process: Process;
  readonly seccomp: SeccompFilter | undefined;
  readonly unlimited: SandboxConfig["unlimited"];
  /** What an image starts by default; empty without an image. */
  readonly command: readonly string[];
}

/** Where the program of process 1 is in the sandbox. */
const FIRST_PROCESS = "/dev/sandbox-init";

/** Creates and starts. @throws {RuncError} Nothing is left then. */
export async function launch(options: SandboxOptions): Promise<LaunchedSandbox> {
  const { signal } = options;
  const home = await homeIn(options.directory);
  const { kernel } = home;
  const runtime = { ...home.runtime, log: options.log ?? home.runtime.log };
  const id = `sandbox-${crypto.randomUUID()}`;
  const planned = await plan(home, id, options);
  const { config, unlimited, rootLayers, command } = planned;
  checkLimits(unlimited, options);
  const spec = loadSpec(runtime, withFirstProcess(planned, home), home.program);
  const seccomp = compileSeccomp(runtime, spec.config);
  signal?.throwIfAborted();
  const [lifeline, theirs] = streamPair(kernel, "lifeline");
  using _theirs = theirs;
  using nowhere = open(kernel, "/dev/null", openFlag(kernel.arch).O_RDWR);
  try {
    const { container, process: first } = await Container.create(runtime, {
      id,
      spec,
      seccomp,
      rootLayers,
      signal,
      startBy: "parent",
      stdio: [theirs.number, nowhere.number, nowhere.number],
    });
    theirs.close();
    try {
      await first.start();
      await isRunning(runtime, lifeline);
      signal?.throwIfAborted();
    } catch (error) {
      await first.abort();
      first[Symbol.dispose]();
      await container.destroy();
      throw error;
    }
    return { id, runtime, container, first, lifeline, process: config.process!, seccomp, unlimited, command };
  } catch (error) {
    lifeline.close();
    throw error;
  }
}

/** A sandbox's config, and what its container has beside it. */
interface Planned extends SandboxConfig {
  readonly rootLayers?: RootLayers;
  readonly command: readonly string[];
}

async function plan(home: Home, id: string, options: SandboxOptions): Promise<Planned> {
  const { kernel, directory } = home;
  const { root = "host" } = options;
  const request = {
    options,
    facts: readSandboxFacts(kernel, options.mounts),
    // Without root, it is below the caller's own.
    cgroupsPath: Deno.uid() === 0 ? `/runc-${id}` : undefined,
    args: [FIRST_PROCESS],
  };
  const make = (more: Pick<SandboxRequest, "root" | "rootPath">) => sandboxConfig({ ...request, ...more });
  if (root === "host") {
    const host: RootRequest = { kind: "host", layout: readHostLayout() };
    const { skeleton } = make({ root: host, rootPath: "/" });
    const rootPath = writeSkeleton(kernel, `${directory}/roots`, skeleton);
    return { ...make({ root: host, rootPath }), command: [] };
  }
  if (typeof root === "object" && "image" in root && typeof root.image === "string") {
    const image = await prepareImage(kernel, root, options.signal);
    const maximumBytes = parseSize("disk", options.disk ?? defaults.disk);
    const planned = make({ root: image.root, rootPath: home.imagePlace });
    return { ...planned, rootLayers: { ...image.layers, maximumBytes }, command: image.command };
  }
  if (typeof root === "object" && "directory" in root && `${root.directory}`.startsWith("/")) {
    return { ...make({ root: { kind: "directory" }, rootPath: root.directory }), command: [] };
  }
  throw badOption("root", root, '"host", or an object with the absolute path of a directory or an image');
}

/** The container's own process is ours; its program's place is under /dev, which each sandbox has for itself. */
function withFirstProcess({ config, rootLayers }: Planned, { firstProcess }: Home): Config {
  // An image need not have its working directory. It is made in the layer for changes.
  const cwd = rootLayers === undefined ? "/" : config.process!.cwd;
  return {
    ...config,
    process: { ...config.process!, cwd, env: [] },
    mounts: [...config.mounts ?? [], {
      destination: FIRST_PROCESS,
      type: "none",
      source: firstProcess,
      // /run may be mounted without exec, and root can allow it here.
      options: ["bind", "private", "ro", "nosuid", "nodev", ...(Deno.uid() === 0 ? ["exec"] : [])],
    }],
  };
}

function checkLimits(unlimited: SandboxConfig["unlimited"], { requireLimits, log }: SandboxOptions): void {
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
  throw new RuncError("container-state", "the sandbox's first process has ended");
}
