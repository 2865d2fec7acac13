/**
 * Containers on a fake host, for tests of what creates and changes them.
 *
 * @module
 */

import { Kernel } from "../../../lib/ffi/kernel.ts";
import { runWaits, type Waits } from "../../../lib/ffi/waits.ts";
import { loadSpec, type Spec } from "../../../lib/libcontainer/container/bundle.ts";
import { createRuntime } from "../../../lib/libcontainer/container/create_runtime.ts";
import { ContainerHandle, type CreateHandleOptions } from "../../../lib/libcontainer/container/handle.ts";
import type { ProcessHandle } from "../../../lib/libcontainer/container/container_process.ts";
import type { Runtime } from "../../../lib/libcontainer/runtime.ts";
import type { Config } from "../../../lib/specs/config.ts";
import { defaultSpec } from "../../../lib/specs/default_spec.ts";
import type { Draft } from "../libcontainer/fixed.ts";
import { directory, type FakeHost, type Program } from "./host.ts";
import { type Conduct, stageOf } from "./stage.ts";

/** A runtime on a fake host, and what it logs. */
export interface Logged {
  readonly runtime: Runtime;
  readonly log: string[];
  /** Runs work that waits. */
  readonly wait: <Result>(waits: Waits<Result>) => Result;
}

/** A runtime whose libc is the fake host's. */
export function runtimeOn(host: FakeHost, more: Partial<Runtime> = {}): Logged {
  const log: string[] = [];
  const runtime = createRuntime({
    kernel: new Kernel(),
    log: (level, message) => void log.push(`${level}: ${message}`),
    ...more,
  });
  host.calls.length = 0;
  return { runtime, log, wait: (waits) => runWaits(runtime, waits) };
}

/** The default config for a container that needs little, changed. */
export function plainConfig(host: FakeHost, change: (config: Draft<Config>) => void = () => {}): Config {
  const draft = structuredClone(defaultSpec({ cgroup2: host.cgroups === "v2" })) as Draft<Config>;
  draft.process.terminal = false;
  draft.process.args = ["sleep", "1000"];
  draft.linux.cgroupsPath = "/box";
  change(draft);
  return draft as Config;
}

/** A config, read and checked, with a bundle at /bundle. */
export function specOn(host: FakeHost, { runtime }: Logged, change?: (config: Draft<Config>) => void): Spec {
  if (host.fs.find("/bundle/rootfs") === undefined) host.fs.put("/bundle/rootfs", directory());
  return loadSpec(runtime, plainConfig(host, change), "/bundle");
}

/** The namespaces that the default config makes. */
const madeNamespaces = ["pid", "net", "ipc", "uts", "mnt"];

/** How a container is created in tests. */
export interface Creating {
  readonly change?: (config: Draft<Config>) => void;
  readonly conduct?: Conduct;
  /** Instead of the stage that behaves as `conduct` says. */
  readonly stage?: Program;
  readonly options?: Partial<CreateHandleOptions>;
}

/** Creates container `box`. */
export function createOn(
  host: FakeHost,
  logged: Logged,
  { change, conduct, stage, options }: Creating = {},
): { container: ContainerHandle; process: ProcessHandle } {
  const spec = specOn(host, logged, change);
  const startBy = options?.startBy ?? "fifo";
  host.stage = stage ?? stageOf({ cgroup: "/box", namespaces: madeNamespaces, startBy, ...conduct });
  return logged.wait(
    ContainerHandle.create(logged.runtime, { id: "box", spec, startBy, stdio: [0, 1, 2], ...options }),
  );
}

/** What a failed creation must not leave. Empty is right. */
export function leftovers(host: FakeHost, root = "/run/runc"): readonly string[] {
  return [
    ...host.openFiles,
    ...host.others.map(({ pid, name, hasEnded }) => `process ${pid} (${name})${hasEnded ? " not reaped" : ""}`),
    ...host.fs.paths(root),
    ...host.fs.paths("/sys/fs/cgroup").filter((path) => path.endsWith("/box")),
  ];
}
