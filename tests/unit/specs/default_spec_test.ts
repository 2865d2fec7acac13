import { assertEquals } from "@std/assert";
import typical from "../../fixtures/typical_config.json" with { type: "json" };
import { defaultSpec, rootlessSpec } from "../../../lib/specs/default_spec.ts";
import { parseConfig } from "../../../lib/specs/parse.ts";

const capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

Deno.test("defaultSpec() is what older versions of runc wrote, with fewer capability sets", () => {
  assertEquals<unknown>(defaultSpec({ cgroup2: false }), {
    ...typical,
    ociVersion: "1.3.0",
    process: {
      ...typical.process,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    },
  });
});

Deno.test("defaultSpec() has a cgroup namespace on cgroup v2 only", () => {
  const types = (cgroup2: boolean) => defaultSpec({ cgroup2 }).linux?.namespaces?.map(({ type }) => type);
  assertEquals(types(false), ["pid", "network", "ipc", "uts", "mount"]);
  assertEquals(types(true), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
});

Deno.test("defaultSpec() is valid for the parser", () => {
  const spec = defaultSpec({ cgroup2: true });
  assertEquals(parseConfig(JSON.stringify(spec)), spec);
});

Deno.test("rootlessSpec() trades the network namespace for a user namespace with one id", () => {
  const spec = rootlessSpec(defaultSpec({ cgroup2: true }), { uid: 1000, gid: 1001 });
  assertEquals(spec.linux?.namespaces?.map(({ type }) => type), ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
  assertEquals(spec.linux?.uidMappings, [{ containerID: 0, hostID: 1000, size: 1 }]);
  assertEquals(spec.linux?.gidMappings, [{ containerID: 0, hostID: 1001, size: 1 }]);
  assertEquals(spec.linux?.resources, undefined);
  assertEquals(parseConfig(JSON.stringify(spec)), spec);
});

Deno.test("rootlessSpec() binds /sys and drops ids from mount options", () => {
  const mounts = rootlessSpec(
    {
      ociVersion: "1.3.0",
      mounts: [
        { destination: "/sys/", type: "sysfs", source: "sysfs" },
        { destination: "/dev/pts", type: "devpts", options: ["nosuid", "gid=5", "uid=1", "mode=0620"] },
        { destination: "/proc", type: "proc" },
      ],
      linux: { uidMappings: [{ containerID: 0, hostID: 7, size: 9 }] },
    },
    { uid: 1, gid: 1 },
  );
  assertEquals(mounts.mounts, [
    { destination: "/sys", type: "none", source: "/sys", options: ["rbind", "nosuid", "noexec", "nodev", "ro"] },
    { destination: "/dev/pts", type: "devpts", options: ["nosuid", "mode=0620"] },
    { destination: "/proc", type: "proc" },
  ]);
  assertEquals(mounts.linux?.uidMappings, [{ containerID: 0, hostID: 1, size: 1 }]);
});
