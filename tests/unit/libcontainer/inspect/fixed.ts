/**
 * A container and what the kernel shows of it, for tests: nothing is read from the machine that runs the tests.
 *
 * @module
 */

import { assert } from "@std/assert";
import { alwaysAllowed, containerDeviceFilter, formatRule } from "../../../../lib/cgroups/devices/rules.ts";
import { parseMounts } from "../../../../lib/libcontainer/config/mounts.ts";
import type { InspectFinding } from "../../../../lib/libcontainer/inspect/finding.ts";
import type { FileView, KernelView, ProcessView } from "../../../../lib/libcontainer/inspect/kernel_view.ts";
import { parseMountinfo } from "../../../../lib/libcontainer/inspect/proc_files.ts";
import { toProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import { parseRuncState, type RuncState } from "../../../../lib/libcontainer/state/runc_state.ts";
import { toRuncState } from "../../../../lib/libcontainer/state/to_runc_state.ts";
import type { Config, Linux, Process } from "../../../../lib/specs/config.ts";
import { exactInteger } from "../../../../lib/specs/json.ts";

/** The process of {@link stateOf}. */
export const process: Process = { user: { uid: 0, gid: 0 }, cwd: "/", args: ["true"] };

/** The state of a container with this config, as it comes back from the file. */
export function stateOf(
  config: Omit<Partial<Config>, "linux" | "process"> & { linux?: Linux; process?: Partial<Process> } = {},
  cgroupPaths: Readonly<Record<string, string>> = { memory: "/sys/fs/cgroup/memory/box" },
): RuncState {
  const whole: Config = {
    ociVersion: "1.3.0",
    root: { path: "rootfs" },
    ...config,
    process: { ...process, ...config.process },
  };
  const state = toRuncState({
    config: whole,
    mounts: parseMounts(whole.mounts, { bundle: "/bundle", rootfs: "/bundle/rootfs" }),
    id: "box",
    bundle: "/bundle",
    rootfs: "/bundle/rootfs",
    pid: 42,
    startTime: 7,
    created: "2026-01-02T03:04:05.000000006Z",
    cgroupPaths,
    kernelNamespaces: [],
    seccomp: whole.linux?.seccomp && toProfile(whole.linux.seccomp),
  });
  return parseRuncState(JSON.stringify(state, exactInteger));
}

/** The lines of /proc/PID/status that are compared. */
export const status = {
  Uid: "0\t0\t0\t0",
  Gid: "0\t0\t0\t0",
  Groups: "",
  Umask: "0022",
  CapInh: "0000000000000000",
  CapPrm: "0000000000000000",
  CapEff: "0000000000000000",
  CapBnd: "0000000000000000",
  CapAmb: "0000000000000000",
  NoNewPrivs: "0",
  Seccomp: "0",
  Seccomp_filters: "0",
} as const;

/** A view of a running process, changed. */
export function viewOf(
  changed: Partial<Omit<ProcessView, "mounts" | "status">> & { mounts?: string; status?: Record<string, string> } = {},
  rest: Partial<Omit<KernelView, "process">> = {},
): KernelView {
  const { mounts = "1 0 0:1 / / rw - overlay overlay rw\n", ...others } = changed;
  return {
    process: {
      namespaces: {},
      files: {},
      ...others,
      mounts: parseMountinfo(mounts),
      status: { ...status, ...changed.status },
    },
    own: { namespaces: {}, seccomp: "0" },
    joined: {},
    cgroups: { paths: {}, entered: {}, files: {}, ceilings: {} },
    ...rest,
  };
}

/** The view of a container whose process has ended. */
export const endedView: KernelView = { ...viewOf(), process: undefined };

/** A file in the container at `path`, on the mount with this id. */
export function fileAt(path: string, mountId?: number): FileView {
  return { path, mountId, mode: 0o100644, uid: 0, gid: 0, device: { major: 0, minor: 0 } };
}

/** The finding with this name. */
export function named(findings: readonly InspectFinding[], name: string): InspectFinding {
  const found = findings.filter((finding) => finding.name === name);
  assert(found.length === 1, `${found.length} findings with the name ${name}`);
  return found[0]!;
}

/** devices.list of a container without rules of its own. */
export const usualDevicesList = containerDeviceFilter([...alwaysAllowed]).exceptions
  .map((exception) => `${formatRule({ allow: true, ...exception })}\n`).join("");
