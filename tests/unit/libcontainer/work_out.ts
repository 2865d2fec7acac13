/**
 * All that is worked out from a config before the first system call, and while a container is made.
 *
 * @module
 */

import { containerDeviceFilter } from "../../../lib/cgroups/devices/rules.ts";
import { deviceProgram, encodeProgram } from "../../../lib/cgroups/devices/v2.ts";
import { limitsV1, limitsV2 } from "../../../lib/cgroups/limits/limits.ts";
import { mapText } from "../../../lib/libcontainer/config/id_mappings.ts";
import { planCreate } from "../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../lib/libcontainer/plans/exec.ts";
import { filterFlags, toProfile } from "../../../lib/libcontainer/seccomp/profile.ts";
import { type ParsedMount, parseMounts } from "../../../lib/libcontainer/config/mounts.ts";
import type { RuncState } from "../../../lib/libcontainer/state/runc_state.ts";
import { toRuncState } from "../../../lib/libcontainer/state/to_runc_state.ts";
import { configError, validate, type ValidationFacts } from "../../../lib/libcontainer/config/validate.ts";
import { encode } from "../../../lib/plan/native/encode.ts";
import type { Plan } from "../../../lib/plan/op.ts";
import type { Config } from "../../../lib/specs/config.ts";
import { exactInteger } from "../../../lib/specs/json.ts";
import { parseConfig } from "../../../lib/specs/parse.ts";
import { facts2, request } from "./fixed.ts";

/** A host on which everything is there. */
export const host: ValidationFacts = {
  rootfs: { path: "/bundle/rootfs", resolved: "/bundle/rootfs", isDirectory: true },
  rootlessEuid: false,
  groups: { mappings: [{ containerID: 0, hostID: 0, size: 4294967295 }], isDenied: false },
  rootlessCgroups: false,
  cgroup2: true,
  systemdCgroup: false,
  noPivot: false,
  selinux: true,
  kernelNamespaces: ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"],
  intelRdt: { cat: true, mba: true },
};

/** A number for whatever a plan names. */
const fds = new Proxy<Record<string, number>>({}, { get: () => 10 });

const programs = (config: Config) =>
  config.linux?.seccomp === undefined ? undefined : {
    profile: toProfile(config.linux.seccomp),
    program: new Uint8Array(8),
    flags: filterFlags(toProfile(config.linux.seccomp)),
  };

/** The bytes of a plan. */
export const execute = (plan: Plan) => encode(plan, { arch: "x86_64", fds, fold: false });

/** What came of a config, as far as a test looks at it. */
export interface WorkedOut {
  readonly config: Config;
  readonly mounts: readonly ParsedMount[];
  /** That of `create`. */
  readonly plan: Plan;
  readonly state: RuncState;
}

/** Parses and validates a config, and makes everything of it. @throws {RuncError} */
export function workOut(text: string): WorkedOut {
  const config = parseConfig(text);
  const mounts = parseMounts(config.mounts, request);
  const problems = validate(config, host, mounts);
  if (problems.length > 0) throw configError(problems);
  const seccomp = programs(config);
  const plan = planCreate(config, facts2, { ...request, seccomp }, mounts);
  execute(plan);
  execute(planExec(config.process!, facts2, {
    id: "box",
    namespaces: ["user", "pid"],
    cgroup: request.cgroup,
    noNewKeyring: false,
    umask: config.process!.user.umask,
    inheritedFds: 0,
    listenFds: 0,
    pidfdSocket: false,
    annotations: config.annotations,
    seccomp,
  }));
  const resources = config.linux?.resources ?? {};
  limitsV1(resources, { currentLimit: 0n, swapAccounting: true });
  limitsV2(resources);
  encodeProgram(deviceProgram(containerDeviceFilter(resources.devices ?? [])));
  mapText(config.linux?.uidMappings ?? []);
  const state = toRuncState({
    config,
    mounts,
    id: "box",
    bundle: "/bundle",
    rootfs: "/bundle/rootfs",
    pid: 1,
    startTime: 1,
    created: "2026-01-01T00:00:00Z",
    cgroupPaths: {},
    kernelNamespaces: host.kernelNamespaces,
  });
  JSON.stringify(state, exactInteger);
  return { config, mounts, plan, state };
}
