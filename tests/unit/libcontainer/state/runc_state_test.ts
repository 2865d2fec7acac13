// runc_1_1_5_state.json was written by Debian's runc 1.1.5 for runc_1_1_5_config.json with --no-pivot; only the bundle's
// path was changed afterwards.
import { assert, assertEquals, assertThrows } from "@std/assert";
import stateOfRunc from "../../../fixtures/runc_1_1_5_state.json" with { type: "json" };
import configOfRunc from "../../../fixtures/runc_1_1_5_config.json" with { type: "json" };
import { exactInteger } from "../../../../lib/specs/json.ts";
import { RuncError } from "../../../../lib/errors.ts";
import {
  annotationsOf,
  bundleOf,
  cgroupPathsOf,
  deviceRulesOf,
  hooksOf,
  initOf,
  isUnfinished,
  mappingsOfState,
  namespacesOf,
  parseRuncState,
  rootfsOf,
  rootlessCgroupsOf,
  rootlessEuidOf,
  seccompOf,
  systemdOf,
  versionOf,
} from "../../../../lib/libcontainer/state/runc_state.ts";
import { hasCpusetOf, memoryPolicyOf, personalityOf, umaskOf } from "../../../../lib/libcontainer/state/exec_state.ts";
import { completeProcess, processOf } from "../../../../lib/libcontainer/state/process_state.ts";
import { type StateInput, toRuncState } from "../../../../lib/libcontainer/state/to_runc_state.ts";
import { parseMounts } from "../../../../lib/libcontainer/config/mounts.ts";
import { toProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import type { Config, Process } from "../../../../lib/specs/config.ts";
import { parseConfig } from "../../../../lib/specs/parse.ts";

const config = parseConfig(JSON.stringify(configOfRunc));
const input: Omit<StateInput, "mounts"> = {
  config,
  id: stateOfRunc.id,
  bundle: "/srv/bundle",
  rootfs: "/srv/bundle/rootfs",
  pid: stateOfRunc.init_process_pid,
  startTime: stateOfRunc.init_process_start,
  created: stateOfRunc.created,
  cgroupPaths: stateOfRunc.cgroup_paths,
  kernelNamespaces: ["user", "ipc", "uts", "network", "pid", "mount", "cgroup"],
  externalDescriptors: stateOfRunc.external_descriptors,
  noPivot: true,
};

/** Without what Go's omitempty would leave out: runc 1.5 has it where 1.1 had not. */
function withoutZeros(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutZeros);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, withoutZeros(inner)] as const)
      .filter(([, inner]) => inner !== null && inner !== 0 && inner !== "" && inner !== false),
  );
}

function toState(changes: Partial<Omit<StateInput, "mounts">> = {}) {
  const all = { ...input, ...changes };
  return toRuncState({ ...all, mounts: parseMounts(all.config.mounts, all) });
}

/** As it comes back from the file. */
const written = (changes: Partial<Omit<StateInput, "mounts">> = {}) =>
  parseRuncState(JSON.stringify(toState(changes), exactInteger));

Deno.test("toRuncState() writes what runc 1.1.5 wrote for the same config", () => {
  const expected = withoutZeros(stateOfRunc) as { config: { version: string; mounts: object[] } };
  expected.config.version = "1.3.0";
  // "suid": runc remembers it since 1.2.
  Object.assign(expected.config.mounts.at(-1)!, { cleared_flags: 2 });
  assertEquals<unknown>(withoutZeros(toState()), expected);
});

Deno.test("toRuncState() has runc's fields in runc's order", () => {
  const known = Object.keys(stateOfRunc.config);
  const ours = Object.keys(toState().config).filter((key) => known.includes(key));
  assertEquals(ours, known.filter((key) => ours.includes(key)));
  assertEquals(Object.keys(toState()), [
    "id",
    "init_process_pid",
    "init_process_start",
    "created",
    "config",
    "cgroup_paths",
    "namespace_paths",
    "external_descriptors",
  ]);
});

Deno.test("a state of runc's and one of ours read the same", () => {
  for (const state of [parseRuncState(JSON.stringify(stateOfRunc)), written()]) {
    assertEquals(bundleOf(state), "/srv/bundle");
    assertEquals(rootfsOf(state), "/srv/bundle/rootfs");
    assertEquals(annotationsOf(state), { "org.example.one": "a=b" });
    assertEquals(namespacesOf(state), [
      { type: "pid", path: "/proc/5177/ns/pid" },
      { type: "network", path: "/proc/5177/ns/net" },
      { type: "ipc", path: "/proc/5177/ns/ipc" },
      { type: "uts", path: "/proc/5177/ns/uts" },
      { type: "mount", path: "/proc/5177/ns/mnt" },
    ]);
    assertEquals(hooksOf(state), config.hooks ?? {});
    assertEquals(processOf(state).capabilities, { inheritable: [], ...config.process?.capabilities });
    assertEquals(mappingsOfState(state), { uidMappings: [], gidMappings: [] });
    assertEquals(cgroupPathsOf(state), stateOfRunc.cgroup_paths);
    assertEquals(deviceRulesOf(state).length, 13);
    assertEquals([umaskOf(state), systemdOf(state), rootlessCgroupsOf(state), rootlessEuidOf(state)], [
      18,
      false,
      false,
      false,
    ]);
  }
  assertEquals(versionOf(parseRuncState(JSON.stringify(stateOfRunc))), "1.0.2-dev");
  assertEquals(versionOf(written()), "1.3.0");
});

Deno.test("a hook's timeout comes back from the file, however long it is", () => {
  // In nanoseconds these are beyond the integers that a number holds exactly.
  for (const timeout of [1, 9_007_200, 4_294_967_296, 9_223_372_036]) {
    const hooks = { poststop: [{ path: "/bin/true", timeout }] };
    assertEquals(hooksOf(written({ config: { ...config, hooks } })), hooks);
  }
});

Deno.test("a hook's timeout that Go cannot hold is written as the longest one", () => {
  for (const timeout of [9_223_372_037, Number.MAX_SAFE_INTEGER]) {
    const state = written({ config: { ...config, hooks: { poststop: [{ path: "/bin/true", timeout }] } } });
    assertEquals(state.config.Hooks!.poststop![0]!.timeout, 9223372036854775807n);
  }
});

Deno.test("the accessors take what older files leave out for empty", () => {
  const state = parseRuncState(
    '{"id": "a", "init_process_pid": 1, "init_process_start": 2, "created": "", "namespace_paths": {}, ' +
      '"config": {"rootfs": "/r", "cgroups": null}}',
  );
  assertEquals(
    [
      bundleOf(state),
      annotationsOf(state),
      namespacesOf(state),
      hooksOf(state),
      processOf(state).capabilities,
      umaskOf(state),
    ],
    ["", {}, [], {}, undefined, undefined],
  );
  assertEquals(
    [cgroupPathsOf(state), deviceRulesOf(state), systemdOf(state), rootlessCgroupsOf(state), versionOf(state)],
    [{}, [], false, false, "1.3.0"],
  );
});

Deno.test("parseRuncState() refuses what is no state", () => {
  const texts = [
    "null",
    "{}",
    "[]",
    '{"id": "a", "init_process_pid": 1, "config": null}',
    '{"id": "a", "init_process_pid": 1, "config": {}, "cgroup_paths": {"pids": 1}}',
  ];
  for (const text of texts) {
    const error = assertThrows(() => parseRuncState(text), RuncError, "state.json is not the state of a container");
    assertEquals(error.code, "state-invalid");
  }
  assertEquals(assertThrows(() => parseRuncState("{"), RuncError, "state.json:1:2").code, "state-invalid");
});

Deno.test("the state of a restore that has no process yet is one", () => {
  const state = written({ pid: -1, startTime: 0 });
  assertEquals([initOf(state), isUnfinished(state)], [{ pid: -1, startTime: 0 }, true]);
});

Deno.test("parseRuncState() names the first field of another type, wherever it is", () => {
  type Json = Record<string, unknown>;
  const cases: readonly [at: string, change: (state: Json, config: Json) => void][] = [
    ["/init_process_pid", (state) => state.init_process_pid = 1.5],
    ["/init_process_pid", (state) => state.init_process_pid = 2 ** 31],
    ["/created", (state) => delete state.created],
    ["/external_descriptors/0", (state) => state.external_descriptors = [1]],
    ["/config/labels", (_, config) => config.labels = 5],
    ["/config/namespaces", (_, config) => config.namespaces = "pid"],
    ["/config/mounts/0/destination", (_, config) => config.mounts = [{ source: "a", device: "bind" }]],
    ["/config/mask_paths", (_, config) => config.mask_paths = {}],
    ["/config/uid_mappings", (_, config) => config.uid_mappings = { size: 1 }],
    ["/config/devices/0/type", (_, config) => config.devices = [{}]],
    ["/config/Hooks/prestart/0", (_, config) => config.Hooks = { prestart: [null] }],
    ["/config/cgroups/memory", (_, config) => config.cgroups = { memory: "1" }],
    ["/config/cgroups/devices/0", (_, config) => config.cgroups = { devices: ["a"] }],
    ["/config/scheduler/policy", (_, config) => config.scheduler = {}],
    ["/config/seccomp/syscalls/0/name", (_, config) => config.seccomp = { default_action: 1, syscalls: [{}] }],
  ];
  for (const [at, change] of cases) {
    const state = structuredClone(stateOfRunc) as unknown as Json;
    change(state, state.config as Json);
    assertThrows(() => parseRuncState(JSON.stringify(state)), RuncError, `container: ${at} is missing or of another`);
  }
});

Deno.test("parseRuncState() keeps fields that it does not know, and refuses those that could not be written again", () => {
  const withUnknown = (levels: number) => {
    const deep = "[".repeat(levels) + "]".repeat(levels);
    return JSON.stringify(stateOfRunc).replace("{", `{"unknown":${deep},`);
  };
  assertEquals(JSON.stringify(parseRuncState(withUnknown(90))), withUnknown(90));
  assertThrows(() => parseRuncState(withUnknown(5000)), RuncError, "more than 100 levels");
});

Deno.test("toRuncState() says who started it and how", () => {
  const state = written({ rootlessEuid: true, rootlessCgroups: true, noNewKeyring: true, noPivot: false });
  assertEquals([state.rootless, rootlessEuidOf(state), rootlessCgroupsOf(state)], [true, true, true]);
  assertEquals([state.config.no_new_keyring, state.config.no_pivot_root], [true, undefined]);
  assertEquals(written({ rootlessCgroups: true }).rootless, undefined);
});

Deno.test("toRuncState() says where the cgroup is", () => {
  const cgroups = (cgroupsPath: string | undefined, systemdCgroup: boolean) => {
    const { name, parent, path, scope_prefix, Systemd } =
      written({ systemdCgroup, config: { ...config, linux: { ...config.linux, cgroupsPath } } }).config.cgroups ?? {};
    return { name, parent, path, scope_prefix, Systemd };
  };
  const none = { name: undefined, parent: undefined, path: undefined, scope_prefix: undefined, Systemd: undefined };
  assertEquals(cgroups(undefined, false), { ...none, name: "hctest" });
  assertEquals(cgroups("/a/../b", false), { ...none, path: "/b" });
  assertEquals(cgroups(undefined, true), { ...none, name: "hctest", scope_prefix: "runc", Systemd: true });
  assertEquals(cgroups("a.slice:b:c", true), {
    name: "c",
    parent: "a.slice",
    path: undefined,
    scope_prefix: "b",
    Systemd: true,
  });
});

Deno.test("toRuncState() gives devices and a writable cgroup to the container's root", () => {
  const idMappings = [{ containerID: 0, hostID: 1000, size: 10 }];
  const small: Config = {
    ociVersion: "1.3.0",
    process: { cwd: "/", user: { uid: 3, gid: 3 } },
    mounts: [{ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup" }],
    linux: {
      namespaces: [{ type: "user" }, { type: "cgroup" }],
      uidMappings: idMappings,
      gidMappings: idMappings,
      devices: [{ path: "/dev/null", type: "c", major: 1, minor: 3, fileMode: 0o100600 }],
    },
  };
  const state = written({ config: small });
  assertEquals(state.config.devices?.map(({ path, uid, gid }) => [path, uid, gid]), [
    ["/dev/random", 1000, 1000],
    ["/dev/full", 1000, 1000],
    ["/dev/tty", 1000, 1000],
    ["/dev/zero", 1000, 1000],
    ["/dev/urandom", 1000, 1000],
    ["/dev/null", 1000, 1000],
  ]);
  assertEquals(state.config.devices?.at(-1)?.file_mode, 0o600);
  // The config's own /dev/null takes the default one's rule with it.
  assertEquals(deviceRulesOf(state).length, 10);
  assertEquals(state.config.cgroups?.owner_uid, 1003);
  assertEquals(mappingsOfState(state), { uidMappings: idMappings, gidMappings: idMappings });
  assertEquals(state.config.uid_mappings, [{ container_id: 0, host_id: 1000, size: 10 }]);
});

Deno.test("toRuncState() has the ids of each mount: its own, or those of the container's user namespace", () => {
  const idMappings = [{ containerID: 0, hostID: 1000, size: 10 }];
  const own = [{ containerID: 0, hostID: 7, size: 1 }];
  const mounts = [
    { destination: "/a", source: "/x", options: ["bind", "idmap"] },
    { destination: "/b", source: "/x", options: ["rbind", "ridmap"], uidMappings: own, gidMappings: own },
    { destination: "/c", source: "/x", options: ["bind"] },
  ];
  const ids = (path?: string) => {
    const linux = { namespaces: [{ type: "user" as const, path }], uidMappings: idMappings, gidMappings: idMappings };
    return written({ config: { ...config, mounts, linux } }).config.mounts?.map(({ id_mapping }) => id_mapping);
  };
  const written7 = [{ container_id: 0, host_id: 7, size: 1 }];
  const writtenOwn = { recursive: true, uid_mappings: written7, gid_mappings: written7 };
  const container = [{ container_id: 0, host_id: 1000, size: 10 }];
  assertEquals(ids(), [{ uid_mappings: container, gid_mappings: container }, writtenOwn, undefined]);
  assertEquals(ids("/proc/7/ns/user"), [{ userns_path: "/proc/7/ns/user" }, writtenOwn, undefined]);
});

Deno.test("toRuncState() has the mappings of a user namespace that is joined", () => {
  const idMappings = [{ containerID: 0, hostID: 5, size: 1 }];
  const namespaces = [{ type: "user", path: "/proc/7/ns/user" }] as const;
  const linux = { namespaces, uidMappings: idMappings, gidMappings: idMappings };
  const state = written({ config: { ...config, linux } });
  assertEquals(mappingsOfState(state).uidMappings, idMappings);
  assertEquals(state.config.namespaces, [{ type: "NEWUSER", path: "/proc/7/ns/user" }]);
});

Deno.test("toRuncState() keeps how processes are scheduled, for exec", () => {
  const scheduler = { policy: "SCHED_BATCH", nice: 19 };
  const ioPriority = { class: "IOPRIO_CLASS_IDLE", priority: 0 };
  const scheduled: Config = {
    ...config,
    process: { ...config.process!, scheduler, ioPriority, execCPUAffinity: { initial: "0-1", final: "" } },
    linux: {
      ...config.linux,
      personality: { domain: "LINUX32" },
      memoryPolicy: { mode: "MPOL_BIND", nodes: "0,65", flags: ["MPOL_F_STATIC_NODES"] },
    },
  };
  const state = written({ config: scheduled });
  const words = (...first: number[]) => [...first, ...Array(16 - first.length).fill(0)];
  assertEquals(state.config.memory_policy, { mode: 2, flags: 0x8000, nodes: words(1, 2) });
  assertEquals(state.config.exec_cpu_affinity, { Initial: words(3), Final: null });
  assertEquals([state.config.scheduler, state.config.personality], [scheduler, { domain: 8 }]);
  const execCPUAffinity = { initial: "0,1", final: "" };
  const kept = processOf(state);
  assertEquals([kept.scheduler, kept.ioPriority, kept.execCPUAffinity], [scheduler, ioPriority, execCPUAffinity]);
  assertEquals([personalityOf(state), memoryPolicyOf(state)], [8, { mode: 2, flags: 0x8000, nodes: [0, 65] }]);
  // A policy of zeros is one all the same.
  const plain = written({ config: { ...config, linux: { memoryPolicy: { mode: "MPOL_DEFAULT", nodes: "" } } } });
  assertEquals([plain.config.memory_policy, memoryPolicyOf(plain)?.mode], [{}, 0]);
});

Deno.test("a state without any of it says nothing of how processes are scheduled", () => {
  const state = written({});
  const { scheduler, ioPriority, execCPUAffinity } = processOf(state);
  assertEquals([scheduler, ioPriority, execCPUAffinity], [undefined, undefined, undefined]);
  assertEquals([personalityOf(state), memoryPolicyOf(state), hasCpusetOf(state)], [undefined, undefined, false]);
});

Deno.test("linux.seccomp is kept with 64-bit values exact, and read from files of runc's", () => {
  const profile = toProfile({
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{
      names: ["mkdir"],
      action: "SCMP_ACT_ERRNO",
      args: [{ index: 0, value: 0xffff_ffff_ffff_fffen, op: "SCMP_CMP_EQ" }],
    }],
  });
  const state = toState({ seccomp: profile });
  assertEquals(seccompOf(state), profile);
  const text = JSON.stringify(state, (_, value) => typeof value === "bigint" ? "big" : value);
  assert(text.includes('"seccomp":{"default_action":4,"architectures":null,'), text);
  assertEquals([seccompOf(written()), seccompOf(parseRuncState(JSON.stringify(stateOfRunc)))], [undefined, undefined]);
});

Deno.test("completeProcess() takes from the container what the process does not say, and the OOM score always", () => {
  const container = {
    apparmor_profile: "theirs",
    process_label: "label",
    no_new_privileges: true,
    oom_score_adj: 100,
    scheduler: { policy: "SCHED_BATCH" },
  };
  const process: Process = {
    cwd: "/",
    args: ["true"],
    user: { uid: 0, gid: 0 },
    apparmorProfile: "own",
    selinuxLabel: "",
    noNewPrivileges: false,
    oomScoreAdj: 5,
  };
  const complete = completeProcess(process, { config: container });
  assertEquals(complete, {
    ...process,
    selinuxLabel: "label",
    oomScoreAdj: 100,
    scheduler: { policy: "SCHED_BATCH" },
    capabilities: undefined,
    ioPriority: undefined,
    execCPUAffinity: undefined,
  });
  assertEquals(completeProcess(process, { config: {} }).oomScoreAdj, undefined);
});

Deno.test("toRuncState() of containers that are made from the same parts is that of each alone", () => {
  const { linux = {} } = config;
  const mounts = parseMounts(config.mounts, input);
  const changes: readonly [name: string, Partial<StateInput>][] = [
    ["another id and cgroup", { id: "other", pid: 7, config: { ...config, linux: { ...linux, cgroupsPath: "/b" } } }],
    ["the same again", { id: "third", config: { ...config, linux: { ...linux, cgroupsPath: "/c" } } }],
    ["no path", { id: "fourth", config: { ...config, linux: { ...linux, cgroupsPath: undefined } } }],
    ["another hostname", { config: { ...config, hostname: "h", linux: { ...linux, cgroupsPath: "/d" } } }],
    ["other limits", {
      config: { ...config, linux: { ...linux, cgroupsPath: "/e", resources: { pids: { limit: 3 } } } },
    }],
    ["systemd", { systemdCgroup: true, config: { ...config, linux: { ...linux, cgroupsPath: "a:b:c" } } }],
    ["rootless", { rootlessCgroups: true, config: { ...config, linux: { ...linux, cgroupsPath: "/f" } } }],
    ["a flag", { noPivot: true, config: { ...config, linux: { ...linux, cgroupsPath: "/g" } } }],
  ];
  for (const [name, change] of changes) {
    const changed = { ...input, ...change };
    const alone = JSON.stringify(toRuncState({ ...changed, mounts: [...mounts] }), exactInteger);
    assertEquals(JSON.stringify(toRuncState({ ...changed, mounts }), exactInteger), alone, name);
  }
});
