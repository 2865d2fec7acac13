/**
 * Whatever stands in config.json, there is a plan or an error with a name: every value of a config with everything is replaced by
 * values at and beyond the edges, one at a time, and all that is pure is done with the result.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { containerDeviceFilter } from "../../../lib/cgroups/devices/rules.ts";
import { deviceProgram, encodeProgram } from "../../../lib/cgroups/devices/v2.ts";
import { limitsV1, limitsV2 } from "../../../lib/cgroups/limits/limits.ts";
import { RuncError } from "../../../lib/errors.ts";
import { mapText } from "../../../lib/libcontainer/config/id_mappings.ts";
import { planCreate } from "../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../lib/libcontainer/plans/exec.ts";
import { filterFlags, toProfile } from "../../../lib/libcontainer/seccomp/profile.ts";
import { parseMounts } from "../../../lib/libcontainer/config/mounts.ts";
import { toRuncState } from "../../../lib/libcontainer/state/to_runc_state.ts";
import { configError, validate, type ValidationFacts } from "../../../lib/libcontainer/config/validate.ts";
import { encode } from "../../../lib/plan/native/encode.ts";
import type { Plan } from "../../../lib/plan/op.ts";
import type { Config } from "../../../lib/specs/config.ts";
import { exactInteger } from "../../../lib/specs/json.ts";
import { parseConfig } from "../../../lib/specs/parse.ts";
import { facts2, request } from "./fixed.ts";

const ids = [{ containerID: 0, hostID: 1000, size: 65536 }];
const hook = { path: "/hook", args: ["hook", "a"], env: ["A=b"], timeout: 5 };
const throttle = [{ major: 8, minor: 0, rate: 1000 }];

/** Every field that the specification has for Linux. */
const full = {
  ociVersion: "1.3.0",
  process: {
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    user: { uid: 1, gid: 2, umask: 18, additionalGids: [3], username: "a" },
    args: ["sh"],
    commandLine: "sh",
    env: ["PATH=/bin"],
    cwd: "/a",
    capabilities: {
      bounding: ["CAP_KILL"],
      effective: ["CAP_KILL"],
      inheritable: ["CAP_KILL"],
      permitted: ["CAP_KILL"],
      ambient: ["CAP_KILL"],
    },
    rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 512 }],
    noNewPrivileges: true,
    apparmorProfile: "profile",
    oomScoreAdj: 100,
    scheduler: { policy: "SCHED_DEADLINE", nice: 0, priority: 0, flags: [], runtime: 10, deadline: 20, period: 30 },
    selinuxLabel: "u:r:t",
    ioPriority: { class: "IOPRIO_CLASS_BE", priority: 3 },
    execCPUAffinity: { initial: "0-1", final: "1" },
  },
  root: { path: "rootfs", readonly: true },
  hostname: "host",
  domainname: "domain",
  mounts: [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["mode=755", "size=64k", "tmpcopyup"] },
    { destination: "/bound", type: "bind", source: "/b", options: ["rbind", "ro", "rprivate"] },
    { destination: "/mapped", source: "/m", options: ["bind"], uidMappings: ids, gidMappings: ids },
  ],
  hooks: {
    prestart: [hook],
    startContainer: [hook],
  },
  annotations: { "org.opencontainers.landlock.read": "/" },
  linux: {
    uidMappings: ids,
    gidMappings: ids,
    sysctl: { "net.ipv4.ip_forward": "1" },
    resources: {
      devices: [{ allow: true, type: "c", major: 1, minor: 3, access: "rwm" }],
      memory: {
        limit: 1000000,
        reservation: 500000,
        swap: 2000000,
        kernel: 0,
        kernelTCP: 0,
        swappiness: 60,
        disableOOMKiller: false,
        useHierarchy: true,
        checkBeforeUpdate: true,
      },
      cpu: {
        shares: 1024,
        quota: 50000,
        burst: 1000,
        period: 100000,
        realtimeRuntime: 0,
        realtimePeriod: 1000000,
        cpus: "0-1",
        mems: "0",
        idle: 0,
      },
      pids: { limit: 100 },
      blockIO: {
        weight: 500,
        leafWeight: 500,
        weightDevice: [{ major: 8, minor: 0, weight: 500, leafWeight: 500 }],
        throttleReadBpsDevice: throttle,
        throttleWriteBpsDevice: throttle,
        throttleReadIOPSDevice: throttle,
        throttleWriteIOPSDevice: throttle,
      },
      hugepageLimits: [{ pageSize: "2MB", limit: 4096 }],
      network: { classID: 1048577, priorities: [{ name: "lo", priority: 1 }] },
      rdma: { mlx5_1: { hcaHandles: 3, hcaObjects: 1000 } },
      unified: { "memory.high": "1000" },
    },
    cgroupsPath: "/box",
    namespaces: [
      { type: "pid" },
      { type: "mount" },
      { type: "uts" },
      { type: "user" },
      { type: "time" },
      { type: "cgroup" },
      { type: "ipc", path: "/proc/1/ns/ipc" },
      { type: "network" },
    ],
    devices: [{ path: "/dev/x", type: "c", major: 1, minor: 3, fileMode: 438, uid: 1, gid: 2 }],
    netDevices: { eth0: { name: "eth1" } },
    seccomp: {
      defaultAction: "SCMP_ACT_ERRNO",
      defaultErrnoRet: 38,
      architectures: ["SCMP_ARCH_X86_64"],
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      listenerPath: "/agent",
      listenerMetadata: "m",
      syscalls: [{
        names: ["personality"],
        action: "SCMP_ACT_ALLOW",
        errnoRet: 0,
        args: [{ index: 0, value: 8, valueTwo: 0, op: "SCMP_CMP_EQ" }],
      }],
    },
    rootfsPropagation: "rprivate",
    maskedPaths: ["/proc/kcore"],
    readonlyPaths: ["/proc/sys"],
    mountLabel: "u:r:t",
    intelRdt: {
      closID: "a",
      schemata: ["L3:0=f"],
      l3CacheSchema: "L3:0=f",
      memBwSchema: "MB:0=10",
      enableMonitoring: true,
      enableCMT: true,
      enableMBM: true,
    },
    memoryPolicy: { mode: "MPOL_INTERLEAVE", nodes: "0-1", flags: ["MPOL_F_STATIC_NODES"] },
    personality: { domain: "LINUX", flags: [] },
    timeOffsets: { monotonic: { secs: 5, nanosecs: 6 } },
  },
};

const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
const long = "x".repeat(10_000);
/** JSON texts. */
const extremes: readonly string[] = [
  ...["-1", "0", "1", "2147483647", "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296"],
  ...["9007199254740991", "9007199254740992", "9223372036854775807", "9223372036854775808", "-9223372036854775809"],
  ...["18446744073709551615", "18446744073709551616", "1e19", "1e400", "-1e400", "1.5", "-0", "9".repeat(5000)],
  ...[
    '""',
    '"a"',
    '"/"',
    '" "',
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\n"',
    '"-1"',
    '"0-4294967296"',
    '"1-"',
    '"\\u00e9"',
  ],
  ...[
    '"99999999999999999999"',
    '"0-99999999"',
    '"size=1"',
    '"bind"',
    '"remount"',
    '"rw"',
    '"../../x"',
    '"MPOL_BIND"',
    '"SCHED_FIFO"',
  ],
  ...["null", "true", "false", "{}", "[]", '{"a":1}', '[""]', "[null]", '{"":""}', '{"__proto__":null}'],
  ...[JSON.stringify(long), JSON.stringify(`/${"a/".repeat(5_000)}`), JSON.stringify(`A=${long}`), deep(5_000)],
];

/** Where in a JSON text a value stands: it begins and ends. */
interface Place {
  readonly pointer: string;
  readonly from: number;
  readonly to: number;
}

/** A text of `value`, and the places of all that is in it. */
function write(value: unknown): { readonly text: string; readonly places: readonly Place[] } {
  let text = "";
  const places: Place[] = [];
  const add = (value: unknown, pointer: string) => {
    const from = text.length;
    if (typeof value !== "object" || value === null) text += JSON.stringify(value);
    else {
      const isList = Array.isArray(value);
      text += isList ? "[" : "{";
      Object.entries(value).forEach(([key, item], index) => {
        text += (index > 0 ? "," : "") + (isList ? "" : `${JSON.stringify(key)}:`);
        add(item, `${pointer}/${key}`);
      });
      text += isList ? "]" : "}";
    }
    places.push({ pointer, from, to: text.length });
  };
  add(value, "");
  return { text, places };
}

const host: ValidationFacts = {
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

const execute = (plan: Plan) => encode(plan, { arch: "x86_64", fds, fold: false });

/** All that is worked out from a config before the first system call, and while a container is made. */
function workOut(text: string): void {
  const config = parseConfig(text);
  const problems = validate(config, host);
  if (problems.length > 0) throw configError(problems);
  const seccomp = programs(config);
  execute(planCreate(config, facts2, { ...request, seccomp }));
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
    mounts: parseMounts(config.mounts, request),
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
}

const { text, places } = write(full);

Deno.test("the config with everything has a plan", () => workOut(text));

Deno.test("extreme values anywhere in config.json have a plan, or an error with a name", () => {
  let [worked, refused] = [0, 0];
  const wrong: string[] = [];
  for (const { pointer, from, to } of places) {
    for (const value of extremes) {
      try {
        workOut(text.slice(0, from) + value + text.slice(to));
        worked++;
      } catch (error) {
        if (error instanceof RuncError && error.code !== "internal" && error.message !== "") refused++;
        else wrong.push(`${pointer} = ${value.slice(0, 40)}: ${(error as Error).stack?.slice(0, 400)}`);
      }
    }
  }
  assertEquals(wrong.slice(0, 20), []);
  // Both happen often: what is replaced is what is looked at.
  assertMatch(`${worked > 1000} ${refused > 4000}`, /^true true$/);
});
