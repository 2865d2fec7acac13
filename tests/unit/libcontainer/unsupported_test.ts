import { assertEquals } from "@std/assert";
import { configError } from "../../../lib/libcontainer/validate.ts";
import { unsupported } from "../../../lib/libcontainer/unsupported.ts";
import { defaultSpec, rootlessSpec } from "../../../lib/specs/default_spec.ts";
import { parseConfig } from "../../../lib/specs/parse.ts";

const fieldsOf = (value: unknown) => unsupported(parseConfig(JSON.stringify(value))).map(({ at }) => at);

Deno.test("unsupported() has nothing to say about the default configs", () => {
  const spec = defaultSpec({ cgroup2: true });
  assertEquals(unsupported(spec), []);
  assertEquals(unsupported(rootlessSpec(spec, { uid: 1, gid: 1 })), []);
});

Deno.test("unsupported() names every field that is not built", () => {
  const cases: readonly (readonly [at: string, value: unknown])[] = [
    ...["solaris", "windows", "vm", "zos", "freebsd"].map((name) => [`/${name}`, { [name]: {} }] as const),
  ];
  for (const [at, value] of cases) assertEquals(fieldsOf(value), [at], JSON.stringify(value));
});

Deno.test("unsupported() names every limit", () => {
  const cases: readonly [at: string, resources: unknown][] = [
    ["/memory/limit", { memory: { limit: 1 } }],
    ["/memory/reservation", { memory: { reservation: 1 } }],
    ["/memory/swap", { memory: { swap: 1 } }],
    ["/memory/kernel", { memory: { kernel: 1 } }],
    ["/memory/kernelTCP", { memory: { kernelTCP: 1 } }],
    ["/memory/swappiness", { memory: { swappiness: 0 } }],
    ["/memory/disableOOMKiller", { memory: { disableOOMKiller: true } }],
    ["/cpu/shares", { cpu: { shares: 2 } }],
    ["/cpu/quota", { cpu: { quota: 1000 } }],
    ["/cpu/burst", { cpu: { burst: 1 } }],
    ["/cpu/period", { cpu: { period: 1000 } }],
    ["/cpu/realtimeRuntime", { cpu: { realtimeRuntime: 1 } }],
    ["/cpu/realtimePeriod", { cpu: { realtimePeriod: 1 } }],
    ["/cpu/cpus", { cpu: { cpus: "0" } }],
    ["/cpu/mems", { cpu: { mems: "0" } }],
    ["/cpu/idle", { cpu: { idle: 1 } }],
    ["/pids/limit", { pids: { limit: 0 } }],
    ["/blockIO", { blockIO: { weight: 10 } }],
    ["/blockIO", { blockIO: { throttleReadBpsDevice: [{ major: 0, minor: 0, rate: 1 }] } }],
    ["/hugepageLimits", { hugepageLimits: [{ pageSize: "2MB", limit: 0 }] }],
    ["/network", { network: { classID: 1 } }],
    ["/rdma", { rdma: { mlx5: { hcaHandles: 1 } } }],
    ["/unified", { unified: { "memory.high": "1" } }],
  ];
  for (const [at, resources] of cases) {
    assertEquals(fieldsOf({ linux: { resources } }), [`/linux/resources${at}`], JSON.stringify(resources));
  }
});

Deno.test("unsupported() lets values pass that ask for nothing", () => {
  const config = {
    process: { apparmorProfile: "" },
    mounts: [{
      options: ["rbind", "ro", "rprivate", "relatime", "remount", "rw", "rslave", "rro", "rsuid"],
      uidMappings: [],
    }],
    linux: {
      seccomp: { defaultAction: "SCMP_ACT_ALLOW" },
      netDevices: {},
      resources: {
        devices: [{ allow: false, access: "rwm" }],
        memory: { limit: -1, swap: -1, reservation: 0, kernel: -1, disableOOMKiller: false, checkBeforeUpdate: true },
        cpu: { shares: 0, quota: -1, cpus: "" },
        pids: { limit: -1 },
        blockIO: { weight: 0, weightDevice: [] },
        network: { classID: 0, priorities: [] },
        hugepageLimits: [],
        rdma: {},
        unified: {},
      },
    },
  };
  assertEquals(fieldsOf(config), []);
});

Deno.test("unsupported() gives an error with a code of its own", () => {
  const error = configError(unsupported(parseConfig('{"windows": {}}')));
  assertEquals(
    [error.code, error.message],
    ["unsupported", "/windows is not supported by this version"],
  );
});
