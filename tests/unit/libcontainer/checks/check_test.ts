import { assert, assertEquals } from "@std/assert";
import { checkConfig, checkText } from "../../../../lib/libcontainer/checks/check.ts";
import { problemsFirst } from "../../../../lib/libcontainer/checks/check_bundle.ts";
import { otherRules, ruleGroups } from "../../../../lib/libcontainer/checks/table.ts";
import { findingsJson } from "../../../../lib/cli/output/findings.ts";
import { parseMounts } from "../../../../lib/libcontainer/config/mounts.ts";
import { defaultSpec } from "../../../../lib/specs/default_spec.ts";
import { findingsOf, host, withUser } from "./fixture.ts";

const text = (change: object) => JSON.stringify({ ...defaultSpec({ cgroup2: false }), ...change });
const shown = (findings: ReturnType<typeof checkText>["findings"]) =>
  findings.map(({ rule, severity, pointer }) => [rule, severity, pointer]);

Deno.test("the configs that the cases change have no finding themselves", () => {
  assertEquals(findingsOf(() => {}), []);
  assertEquals(findingsOf(withUser), []);
});

Deno.test("there are more than 60 rules, each with an id of its own and with texts", () => {
  const ids = [...Object.keys(otherRules), ...ruleGroups.flatMap(({ rules }) => rules.map(({ id }) => id))];
  assert(ids.length > 60, `${ids.length} rules`);
  assertEquals(ids.length, new Set(ids).size);
  for (const { id, finds, why, fix } of ruleGroups.flatMap(({ rules }) => rules)) {
    assert(/^[a-z][a-z0-9-]*$/.test(id), id);
    for (const phrase of [finds, why, fix]) assert(phrase !== "" && !/[.|]$|\|/.test(phrase), `${id}: ${phrase}`);
  }
});

Deno.test("checkText() shows the upper levels of a value that is deeper than JSON can be written", () => {
  const deep = "[".repeat(9000) + "]".repeat(9000);
  const { findings } = checkText(text({}).replace('"hostname":"runc"', `"hostname":${deep}`));
  assertEquals(shown(findings), [["field-type", "problem", "/hostname"]]);
  assert(findingsJson("/b", findings).length < 20_000);
});

Deno.test("checkText() reports every wrong type, every unknown field, and reads the rest", () => {
  const { config, findings } = checkText(text({
    hostname: 1,
    root: { path: "rootfs", readonly: "yes" },
    mount: [],
    windows: {},
  }));
  assertEquals(
    shown(findings),
    [
      ["field-type", "problem", "/root/readonly"],
      ["field-type", "problem", "/hostname"],
      ["field-unknown", "warning", "/mount"],
    ].sort((one, other) => Number(one[2] === "/mount") - Number(other[2] === "/mount")),
  );
  assertEquals([config?.hostname, config?.root], ["", { path: "rootfs", readonly: false }]);
});

Deno.test("checkText() reports what is no JSON, and nothing else", () => {
  const { config, findings } = checkText('{"a": }');
  assertEquals([config, shown(findings)], [undefined, [["json-syntax", "problem", ""]]]);
});

Deno.test("checkConfig() leaves out what follows from a value of a wrong type", () => {
  const { config, findings } = checkText(text({ process: { args: "sh", cwd: "", user: { uid: 0, gid: 0 } } }));
  const rules = checkConfig(config!, host, [], findings).map(({ rule }) => rule);
  // args has become an empty list, which is not the problem; cwd is one of its own.
  assert(!rules.includes("args-present"));
  assert(rules.includes("cwd-absolute"));
});

Deno.test("problemsFirst() keeps the order otherwise", () => {
  const findings = findingsOf((config) => {
    config.process.noNewPrivileges = false;
    config.process.cwd = "";
    config.process.oomScoreAdj = -1000;
    config.process.args = [];
  });
  assertEquals(problemsFirst(findings).map(({ rule }) => rule), [
    "cwd-absolute",
    "args-present",
    "no-new-privileges",
    "oom-protected",
  ]);
});

Deno.test("a hint of the problem replaces the rule's fix", () => {
  const [finding] = findingsOf(withUser, { closedDirectory: "/root" });
  assertEquals(finding?.fix, "chmod o+x /root, or move the bundle");
});

/** The pointers of all values in a config. */
function* pointersIn(value: unknown, at: readonly string[] = []): Iterable<readonly string[]> {
  yield at;
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* pointersIn(inner, [...at, key]);
}

Deno.test("whatever value stands anywhere in a config, the rules have an answer", () => {
  const config = findableConfig();
  let count = 0;
  for (const pointer of pointersIn(config)) {
    const last = pointer.at(-1);
    if (last === undefined) continue;
    for (const value of [null, -1, 1e300, "x", [], {}, [null]]) {
      const changed = structuredClone(config) as Record<string, never>;
      const parent = pointer.slice(0, -1).reduce<Record<string, never>>((object, key) => object[key]!, changed);
      parent[last] = value as never;
      const { config: read, findings } = checkText(JSON.stringify(changed));
      const mounts = parseMounts(read!.mounts, { bundle: "/b", rootfs: "/b/rootfs" });
      checkConfig(read!, host, mounts, findings);
      count++;
    }
  }
  assert(count > 1500, `${count}`);
});

/** A config with nearly every field. */
function findableConfig(): unknown {
  const id = { containerID: 0, hostID: 1, size: 1 };
  return {
    ...defaultSpec({ cgroup2: true }),
    hooks: { prestart: [{ path: "/a", args: ["a"], env: ["A=1"], timeout: 1 }] },
    annotations: { "org.opencontainers.landlock.read": "/" },
    process: {
      ...defaultSpec({ cgroup2: true }).process,
      consoleSize: { height: 1, width: 1 },
      user: { uid: 1, gid: 1, umask: 18, additionalGids: [1] },
      scheduler: { policy: "SCHED_DEADLINE", runtime: 1, deadline: 1, period: 1, flags: [] },
      ioPriority: { class: "IOPRIO_CLASS_BE", priority: 1 },
      execCPUAffinity: { initial: "0", final: "0" },
      apparmorProfile: "a",
      selinuxLabel: "a",
      oomScoreAdj: 1,
    },
    mounts: [{
      destination: "/a",
      type: "bind",
      source: "/a",
      options: ["bind"],
      uidMappings: [id],
      gidMappings: [id],
    }],
    linux: {
      ...defaultSpec({ cgroup2: true }).linux,
      namespaces: [{ type: "user", path: "" }, { type: "network", path: "/proc/1/ns/net" }],
      uidMappings: [id],
      gidMappings: [id],
      sysctl: { "net.a": "1" },
      cgroupsPath: "/a",
      devices: [{ path: "/dev/a", type: "c", major: 1, minor: 1, fileMode: 1, uid: 1, gid: 1 }],
      netDevices: { eth0: { name: "a" } },
      seccomp: {
        defaultAction: "SCMP_ACT_ERRNO",
        defaultErrnoRet: 1,
        flags: ["SECCOMP_FILTER_FLAG_LOG"],
        listenerPath: "/a",
        listenerMetadata: "a",
        architectures: ["SCMP_ARCH_X86_64"],
        syscalls: [{
          names: ["read"],
          action: "SCMP_ACT_NOTIFY",
          errnoRet: 1,
          args: [{ index: 0, value: 1, op: "SCMP_CMP_EQ" }],
        }],
      },
      resources: {
        devices: [{ allow: true, type: "c", major: 1, minor: 1, access: "rwm" }],
        memory: { limit: 1, reservation: 1, swap: 1, kernel: 1, kernelTCP: 1, swappiness: 1, disableOOMKiller: true },
        cpu: {
          shares: 1,
          quota: 1,
          burst: 1,
          period: 1,
          realtimeRuntime: 1,
          realtimePeriod: 1,
          cpus: "0",
          mems: "0",
          idle: 1,
        },
        pids: { limit: 1 },
        blockIO: {
          weight: 1,
          weightDevice: [{ major: 1, minor: 1, weight: 1 }],
          throttleReadBpsDevice: [{ major: 1, minor: 1, rate: 1 }],
        },
        hugepageLimits: [{ pageSize: "2MB", limit: 1 }],
        network: { classID: 1, priorities: [{ name: "a", priority: 1 }] },
        rdma: { a: { hcaHandles: 1 } },
        unified: { "memory.high": "1" },
      },
      intelRdt: { closID: "a", l3CacheSchema: "a" },
      memoryPolicy: { mode: "MPOL_BIND", nodes: "0", flags: [] },
      personality: { domain: "LINUX", flags: [] },
      timeOffsets: { monotonic: { secs: 1, nanosecs: 1 } },
      mountLabel: "a",
      rootfsPropagation: "shared",
    },
  };
}
