import { assertEquals, assertThrows } from "@std/assert";
import { containerDeviceFilter } from "../../../../lib/cgroups/devices/rules.ts";
import {
  cpuBits,
  deviceProperties,
  limitProperties,
  roundedQuota,
  startProperties,
  withoutIdleWeight,
} from "../../../../lib/cgroups/systemd/properties.ts";
import type { UnitProperty } from "../../../../lib/cgroups/systemd/annotations.ts";
import { RuncError } from "../../../../lib/errors.ts";
import type { Resources } from "../../../../lib/specs/config.ts";

/** `Name=value` a line, as systemctl would say it. */
const lines = (properties: readonly UnitProperty[]) =>
  properties.map(([name, { signature, value }]) => `${name} ${signature} ${[value].flat(2).join(" ")}`);

const UNLIMITED = "18446744073709551615";

function limits(resources: Resources, host: { cgroupVersion?: 1 | 2; systemdVersion?: number } = {}): string[] {
  return lines(limitProperties(resources, { cgroupVersion: 2, systemdVersion: 252, ...host }));
}

Deno.test("startProperties() of a scope and of a slice", () => {
  const accounting = ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"].map((one) =>
    `${one} b true`
  );
  assertEquals(
    lines(startProperties({ name: "runc-x.scope", slice: "a.slice", sliceFrom: "", container: "x" }, 7, 2)),
    [
      "Description s libcontainer container x",
      "Slice s a.slice",
      "Delegate b true",
      "PIDs au 7",
      ...accounting,
      "DefaultDependencies b false",
    ],
  );
  const slice = lines(
    startProperties({ name: "x.slice", slice: "a.slice", sliceFrom: "", container: "x.slice" }, 7, 1),
  );
  assertEquals([slice[1], slice.includes("Delegate b true")], ["Wants as a.slice", false]);
  assertEquals(slice.includes("BlockIOAccounting b true"), true);
});

Deno.test("limitProperties() on v2", () => {
  const cases: readonly [resources: Resources, expected: string[]][] = [
    [{}, []],
    [{ memory: { limit: 0 }, cpu: { shares: 0, quota: 0 } }, []],
    [{ memory: { limit: 1000, reservation: 500, swap: 3000 } }, [
      "MemoryMax t 1000",
      "MemoryLow t 500",
      "MemorySwapMax t 2000",
    ]],
    [{ memory: { limit: -1 } }, [`MemoryMax t ${UNLIMITED}`, `MemorySwapMax t ${UNLIMITED}`]],
    [{ cpu: { shares: 1024 } }, ["CPUWeight t 100"]],
    [{ cpu: { shares: 1024, idle: 1 } }, ["CPUWeight t 0"]],
    // A third of a processor: up to the next percent.
    [{ cpu: { quota: 33_333 } }, ["CPUQuotaPerSecUSec t 340000"]],
    [{ cpu: { quota: 5000, period: 10_000 } }, ["CPUQuotaPeriodUSec t 10000", "CPUQuotaPerSecUSec t 500000"]],
    [{ cpu: { quota: -1, period: 10_000 } }, ["CPUQuotaPeriodUSec t 10000", `CPUQuotaPerSecUSec t ${UNLIMITED}`]],
    [{ cpu: { cpus: "0-2,9", mems: "0" } }, ["AllowedCPUs ay 7 2", "AllowedMemoryNodes ay 1"]],
    [{ pids: { limit: 0 } }, ["TasksMax t 1"]],
    [{ pids: { limit: -1 } }, [`TasksMax t ${UNLIMITED}`]],
    [{ pids: { limit: 20 } }, ["TasksMax t 20"]],
    [{ unified: { "memory.high": " 5000 ", "pids.max": "max", "io.max": "8:0 rbps=1", "cpu.max": "5000 10000" } }, [
      "MemoryHigh t 5000",
      `TasksMax t ${UNLIMITED}`,
      "CPUQuotaPeriodUSec t 10000",
      "CPUQuotaPerSecUSec t 500000",
    ]],
    [{ unified: { "cpu.idle": "1", "cpu.weight": "500" } }, ["CPUWeight t 0"]],
    [{ unified: { "cpu.idle": "0", "cpu.weight": "500" } }, ["CPUWeight t 500"]],
  ];
  for (const [resources, expected] of cases) assertEquals(limits(resources), expected);
});

Deno.test("withoutIdleWeight() leaves out a weight beside idle, where systemd has one property for both", () => {
  const host = { cgroupVersion: 2, systemdVersion: 252 } as const;
  const given: Resources = { cpu: { shares: 200, idle: 1 }, unified: { "cpu.idle": "1", "cpu.weight": "8" } };
  const { resources, warnings } = withoutIdleWeight(given, host);
  assertEquals(resources, { cpu: { shares: undefined, idle: 1 }, unified: { "cpu.idle": "1" } });
  assertEquals(warnings.length, 2);
  for (const same of [{ ...host, systemdVersion: 251 }, { ...host, cgroupVersion: 1 } as const]) {
    assertEquals(withoutIdleWeight(given, same), { resources: given, warnings: [] });
  }
  const busy: Resources = { cpu: { shares: 200, idle: 0 }, unified: { "cpu.weight": "8" } };
  assertEquals(withoutIdleWeight(busy, host), { resources: busy, warnings: [] });
});

Deno.test("limitProperties() on v1", () => {
  const resources: Resources = { memory: { limit: 1000, swap: 3000 }, cpu: { shares: 512 }, blockIO: { weight: 100 } };
  assertEquals(limits(resources, { cgroupVersion: 1 }), [
    "MemoryLimit t 1000",
    "CPUShares t 512",
    "BlockIOWeight t 100",
  ]);
});

Deno.test("limitProperties() leaves out what an older systemd does not know", () => {
  const resources: Resources = { cpu: { quota: 5000, period: 10_000, cpus: "0", idle: 1 } };
  assertEquals(limits(resources, { systemdVersion: 241 }), ["CPUQuotaPerSecUSec t 500000"]);
});

Deno.test("roundedQuota() is what systemd's whole percents come to", () => {
  const cases: readonly [cpu: Resources["cpu"] & object, quota: bigint | number | undefined][] = [
    [{ quota: 33_333 }, 34_000n],
    [{ quota: 50_000, period: 100_000 }, 50_000n],
    [{ quota: 1001, period: 10_000 }, 1100n],
    [{ quota: -1 }, -1],
    [{ quota: 0 }, 0],
    [{}, undefined],
  ];
  for (const [cpu, quota] of cases) assertEquals(roundedQuota(cpu), quota);
});

Deno.test("cpuBits() refuses what is no list", () => {
  for (const list of ["", ",", "a", "3-1", "1-", "-1", "999999"]) assertThrows(() => cpuBits(list), RuncError);
});

Deno.test("deviceProperties() lists what is allowed, and tells what it cannot", () => {
  const own = "block-* m char-* m";
  const denied = containerDeviceFilter([
    { allow: false, access: "rwm" },
    { allow: true, type: "c", major: 1, minor: 11, access: "rw" },
    { allow: true, type: "b", major: 8, access: "r" },
    { allow: true, type: "c", minor: 5, access: "r" },
  ]);
  const { properties, left } = deviceProperties(denied);
  const [reset, policy, allow = ""] = lines(properties);
  assertEquals([reset, policy], ["DeviceAllow a(ss) ", "DevicePolicy s strict"]);
  for (const entry of ["/dev/char/1:11 rw", "block-8 r", "/dev/char/1:3 rwm", ...own.split(/(?<=m) /)]) {
    assertEquals(allow.includes(entry), true, entry);
  }
  assertEquals(left, ["c *:5 r"]);
});

Deno.test("deviceProperties() of a filter that allows all, and of one that denies some", () => {
  const all = deviceProperties(containerDeviceFilter([{ allow: true, access: "rwm" }]));
  assertEquals([lines(all.properties), all.left], [["DeviceAllow a(ss) ", "DevicePolicy s auto"], []]);
  const some = deviceProperties(
    containerDeviceFilter([{ allow: true, access: "rwm" }, {
      allow: false,
      type: "c",
      major: 1,
      minor: 11,
      access: "w",
    }]),
  );
  assertEquals(lines(some.properties), ["DeviceAllow a(ss) ", "DevicePolicy s strict"]);
  assertEquals(some.left, ["c 1:11 w"]);
});
