/**
 * What tests make the parent's acts from: configs, requests and processes of each sort.
 *
 * @module
 */

import type { CheckpointOptions } from "../../../lib/libcontainer/config/criu_options.ts";
import type { HostFacts, LaunchRequest } from "../../../lib/libcontainer/config/launch_request.ts";
import { containerMounts } from "../../../lib/libcontainer/plans/create.ts";
import type { ExecRequest } from "../../../lib/libcontainer/plans/exec.ts";
import type { Controlled } from "../../../lib/libcontainer/plans/parent/control.ts";
import type { CreateInput } from "../../../lib/libcontainer/plans/parent/create.ts";
import type { RestoreInput } from "../../../lib/libcontainer/plans/parent/criu.ts";
import type { ExecInput } from "../../../lib/libcontainer/plans/parent/exec.ts";
import type { SeccompFilter } from "../../../lib/libcontainer/seccomp/filter.ts";
import { seccompActions } from "../../../lib/libcontainer/seccomp/names.ts";
import type { ToolRoot } from "../../../lib/libcontainer/steps/root/tool_root.ts";
import type { Config, Process } from "../../../lib/specs/config.ts";
import { pids } from "./fake_host.ts";
import { config, type Draft, facts, facts2, request } from "./fixed.ts";

/** The container's directory. */
export const DIRECTORY = "/run/runc/box";
/** Where resctrl is mounted. */
export const RESCTRL = "/sys/fs/resctrl";

const cgroups1 = Object.fromEntries(
  ["cpuset", "cpu", "cpuacct", "memory", "devices", "freezer", "pids"].map((name) => {
    const hierarchy = name.startsWith("cpu") && name !== "cpuset" ? "cpu,cpuacct" : name;
    return [name, `/sys/fs/cgroup/${hierarchy}/box`];
  }),
);
const cgroups2 = { "": "/sys/fs/cgroup/box" };
const unit2 = { "": "/sys/fs/cgroup/system.slice/runc-box.scope" };

interface Changes {
  readonly facts?: Partial<HostFacts>;
  readonly request?: Partial<LaunchRequest>;
  readonly cgroups?: CreateInput["cgroupPaths"];
  readonly resctrl?: string;
}

type Change = (draft: Draft<Config>) => void;

function input(change: Change = () => {}, changes: Changes = {}): CreateInput {
  const spec = config(change);
  const asked = { ...request, ...changes.request };
  return {
    config: spec,
    facts: { ...facts, ...changes.facts },
    request: asked,
    mounts: containerMounts(spec, asked),
    directory: DIRECTORY,
    cgroupPaths: changes.cgroups ?? cgroups1,
    resctrl: changes.resctrl,
  };
}

const on2: Changes = { facts: facts2, cgroups: cgroups2 };

function filter(...notifies: readonly string[]): SeccompFilter {
  const syscalls = notifies.map((name) => ({
    name,
    action: seccompActions.SCMP_ACT_NOTIFY,
    errnoRet: null,
    args: null,
  }));
  return {
    profile: { default_action: seccompActions.SCMP_ACT_ALLOW, syscalls, architectures: null },
    program: new Uint8Array(24),
    flags: 0,
  };
}

/** Compiled profiles without and with a listener. */
export const noListener = filter(), listener = filter("mkdir");

const idMap = [{ containerID: 0, hostID: 1000, size: 65536 }];

/** A user namespace without bind mounts, which need a helper. */
const withUsers: Change = (draft) => {
  draft.linux.namespaces.push({ type: "user" } as never);
  draft.linux.uidMappings = idMap;
  draft.linux.gidMappings = idMap;
};
const withBind: Change = (draft) => {
  draft.mounts.push({ destination: "/data", type: "bind", source: "/srv", options: ["rbind"] } as never);
};
const withCopyUp: Change = (draft) => {
  draft.mounts.push({ destination: "/var", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] } as never);
};
const withDevices: Change = (draft) => draft.linux.netDevices = { eth1: {}, eth0: { name: "lan" } } as never;
const withLimits: Change = (draft) => {
  draft.linux.resources.pids = { limit: 64 };
  draft.linux.resources.memory = { limit: 1 << 26 } as never;
};
const withRdt: Change = (draft) => draft.linux.intelRdt = { schemata: ["L3:0=f"] } as never;
const withContainerHooks: Change = (draft) => {
  draft.hooks.createContainer = [{ path: "/in" }] as never;
  draft.hooks.startContainer = [{ path: "/late" }] as never;
};
const withHooks: Change = (draft) => {
  draft.hooks.prestart = [{ path: "/net" }, { path: "/gpu" }] as never;
  draft.hooks.createRuntime = [{ path: "/runtime" }] as never;
  draft.hooks.poststop = [{ path: "/stop" }, { path: "/clean" }] as never;
};
const sharedPids: Change = (draft) => {
  draft.linux.namespaces = draft.linux.namespaces.filter(({ type }) => type !== "pid");
};
const asDocker: Change = (draft) => {
  draft.process.env = ["PATH=/bin", "HOME=/root"];
  draft.process.noNewPrivileges = false;
  draft.process.rlimits = [];
  draft.hooks = { prestart: [{ path: "/proc/1/exe", args: ["libnetwork-setkey"] }] } as never;
  withLimits(draft);
};

/** Applies changes to a config, each of which needs `hooks`. */
function all(...changes: readonly Change[]): Change {
  return (draft) => {
    draft.hooks ??= {} as never;
    for (const change of changes) change(draft);
  };
}

const late = (draft: Draft<Config>) => void (draft.process.noNewPrivileges = true);
const early = (draft: Draft<Config>) => void (draft.process.noNewPrivileges = false);
const run: Partial<LaunchRequest> = { startBy: "parent" };

/** The creations, by name. */
export const creations = {
  typical: input(),
  "docker's": input(asDocker, { request: { seccomp: noListener } }),
  rootless: input(all(withUsers, withBind), {
    facts: { ...facts2, euid: 1000, mayTrace: false, rootlessCgroups: true },
    cgroups: cgroups2,
  }),
  "user namespace": input(all(withUsers, withLimits)),
  "with a helper": input(all(withUsers, withBind)),
  "network devices": input(withDevices),
  copyUp: input(withCopyUp),
  "container hooks": input(all(withContainerHooks)),
  "seccomp listener": input(early, { request: { seccomp: listener } }),
  "late seccomp listener": input(late, { request: { seccomp: listener, ...run } }),
  run: input(() => {}, { request: run }),
  "started at once": input(late, { request: { seccomp: noListener, startBy: "creation" } }),
  "started at once, with a listener": input(early, { request: { seccomp: listener, startBy: "creation" } }),
  "started at once, with a late listener": input(late, { request: { seccomp: listener, startBy: "creation" } }),
  v2: input(withLimits, on2),
  systemd: input(withLimits, { facts: facts2, cgroups: unit2, request: { stageIsMoved: true } }),
  rdt: input(withRdt, { ...on2, resctrl: RESCTRL, request: { stageIsMoved: true } }),
  hooks: input(all(withHooks, withContainerHooks)),
  "another's pid namespace": input(all(sharedPids, withHooks)),
  notify: input(() => {}, { request: { notifyDirectory: `${DIRECTORY}/notify` } }),
  joined: input((draft) => {
    draft.linux.namespaces.find(({ type }) => type === "network")!.path = "/run/netns/a";
  }),
  everything: input(
    all(asDocker, withUsers, withBind, withCopyUp, withDevices, withRdt, withHooks, withContainerHooks, sharedPids),
    {
      resctrl: RESCTRL,
      request: { notifyDirectory: `${DIRECTORY}/notify`, seccomp: listener, stageIsMoved: true, ...run },
    },
  ),
} as const satisfies Readonly<Record<string, CreateInput>>;

/** Their names. */
export const creationNames = Object.keys(creations) as readonly (keyof typeof creations)[];

/** Creates the container `box`. */
export type CreationName = keyof typeof creations;

const init = { pid: pids.first, startTime: 7 } as const;

function further(change: (draft: Draft<Process>) => void, asked: Partial<ExecRequest>, more: Partial<ExecInput> = {}) {
  const process = structuredClone(config().process!) as Draft<Process>;
  change(process);
  return {
    process: process as Process,
    facts,
    request: { ...request, namespaces: ["pid", "mount"], hasCpuset: false, ...asked },
    init,
    ...more,
  } as const satisfies ExecInput;
}

const isEarly = (draft: Draft<Process>) => void (draft.noNewPrivileges = false);

/** Programs of a debugger. */
const tools: ToolRoot = {
  entries: [{ path: "/usr", kind: "directory" }, { path: "/bin", kind: "symlink", target: "usr/bin" }],
  mounts: [{ source: "/usr", path: "/usr" }],
};

/** Further processes, by name. */
export const executions = {
  "without a filter": further(() => {}, {}),
  "early filter": further(isEarly, { seccomp: noListener }),
  "early filter with a listener": further(isEarly, { seccomp: listener }),
  "late filter": further(() => {}, { seccomp: noListener }),
  "late filter with a listener": further(() => {}, { seccomp: listener }),
  "user namespace": further((draft) => draft.env = ["HOME=/"], { namespaces: ["user", "pid", "mount"] }),
  "a cgroup below, resctrl": further(() => {}, { namespaces: ["user", "pid"] }, {
    subCgroups: { "": "/sys/fs/cgroup/box/below" },
    rdtGroup: `${RESCTRL}/box`,
  }),
  "a debugger": further(() => {}, { tools }),
} as const satisfies Readonly<Record<string, ExecInput>>;

/** Their names. */
export const executionNames = Object.keys(executions) as readonly (keyof typeof executions)[];

/** An existing container of each sort. */
export const containers = {
  typical: {
    id: "box",
    bundle: "/bundle",
    directory: DIRECTORY,
    ownsPids: true,
    hooks: {},
    cgroups: [...new Set(Object.values(cgroups1))],
  },
  v2: { id: "box", bundle: "/bundle", directory: DIRECTORY, ownsPids: true, hooks: {}, cgroups: [cgroups2[""]] },
  "with everything": {
    id: "box",
    bundle: "/bundle",
    directory: DIRECTORY,
    ownsPids: false,
    hooks: {
      poststart: [{ path: "/started" }, { path: "/watched" }],
      poststop: [{ path: "/stop" }, { path: "/clean" }],
    },
    cgroups: [cgroups2[""]],
    rdtGroup: `${RESCTRL}/box`,
  },
} as const satisfies Readonly<Record<string, Controlled>>;

/** Their names. */
export const containerNames = Object.keys(containers) as readonly (keyof typeof containers)[];

const images = { imagePath: "/images" } as const;

function restore(input: CreateInput, more: Partial<RestoreInput> = {}): RestoreInput {
  const { config, directory, cgroupPaths, resctrl, request: { notifyDirectory, bundle, rootfs } } = input;
  const criuRoot = `${directory}/criu-root`;
  const shared = { config, directory, cgroupPaths, resctrl, notifyDirectory, bundle, rootfs, criuRoot };
  return { ...shared, namespaces: [], options: images, ...more };
}

/** Restores of the container `box`, by name. */
export const restores = {
  typical: restore(creations.typical),
  v2: restore(creations.v2),
  hooks: restore(creations.hooks),
  notify: restore(creations.notify),
  joined: restore(creations.joined, { namespaces: [{ key: "extRootNetNS", path: "/run/netns/a" }] }),
  "without a terminal": restore(input((draft) => draft.process.terminal = false), {
    options: { ...images, workPath: "/work" },
  }),
  everything: restore(creations.everything, {
    options: { ...images, tcpEstablished: true, manageCgroupsMode: "soft", lsmProfile: "apparmor:box" },
  }),
} as const satisfies Readonly<Record<string, RestoreInput>>;

/** Their names. */
export const restoreNames = Object.keys(restores) as readonly (keyof typeof restores)[];

/** Options of dumps, by name. */
export const dumps = {
  typical: images,
  "--leave-running": { ...images, workPath: "/work", leaveRunning: true },
  "--pre-dump": { ...images, preDump: true },
  "--lazy-pages": { ...images, lazyPages: true, pageServer: { address: "127.0.0.1", port: 27 }, statusFd: 5 },
} as const satisfies Readonly<Record<string, CheckpointOptions>>;

/** Their names. */
export const dumpNames = Object.keys(dumps) as readonly (keyof typeof dumps)[];
