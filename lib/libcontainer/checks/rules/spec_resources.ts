/**
 * Rules for the values of `linux.resources` that every kernel refuses or ignores.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#control-groups
 * @see Documentation/scheduler/sched-bwc.rst, Documentation/admin-guide/cgroup-v2.rst
 * @module
 */

import type { Config, Integer64 } from "../../../specs/config.ts";
import { pointerToken, type Problem } from "../../../specs/problem.ts";
import { cpuListError } from "../../config/validate/cpu_list.ts";
import { quote } from "../../config/validate/facts.ts";
import type { CheckRule } from "../rule.ts";

const AT = "/linux/resources";

/** A problem if `value` is set, not 0, and out of its range. 0 means unset, as in runc. */
function* outside(
  value: Integer64 | undefined,
  [least, most]: readonly [bigint, bigint],
  at: string,
  unit = "",
): Iterable<Problem> {
  const number = BigInt(value ?? 0);
  if (number === 0n || (number >= least && number <= most)) return;
  const name = at.split("/").at(-1);
  yield { at, found: value, wanted: `${least} to ${most}${unit}`, message: `${name} ${number} is out of range` };
}

const UNLIMITED = 2n ** 63n - 1n;

/** Fields that only cgroup v1 has. */
function* onlyV1({ linux }: Config): Iterable<readonly [at: string, found: unknown]> {
  const { memory = {}, cpu = {}, blockIO = {}, network = {} } = linux?.resources ?? {};
  for (const field of ["swappiness", "disableOOMKiller", "kernelTCP", "useHierarchy"] as const) {
    yield [`${AT}/memory/${field}`, memory[field]];
  }
  for (const field of ["realtimeRuntime", "realtimePeriod"] as const) yield [`${AT}/cpu/${field}`, cpu[field]];
  yield [`${AT}/blockIO/leafWeight`, blockIO.leafWeight];
  yield [`${AT}/network/classID`, network.classID];
  yield [`${AT}/network/priorities`, network.priorities?.length || undefined];
}

/** Rules for CPU and memory. */
const cpuAndMemory: readonly CheckRule[] = [
  {
    id: "cpu-shares",
    severity: "problem",
    field: "linux.resources.cpu",
    finds: "`cpu.shares` outside 2 to 262144",
    why: "the kernel takes the nearest value, which runc and this runtime report as an error",
    fix: "choose a value from 2 to 262144; 1024 is the default of every cgroup",
    *find({ linux }) {
      yield* outside(linux?.resources?.cpu?.shares, [2n, 262_144n], `${AT}/cpu/shares`);
    },
  },
  {
    id: "cpu-period",
    severity: "problem",
    field: "linux.resources.cpu",
    finds: "`cpu.period` outside 1000 to 1000000 microseconds",
    why: "the kernel refuses it with EINVAL",
    fix: "choose a period from 1000 to 1000000; 100000 is the default",
    *find({ linux }) {
      yield* outside(linux?.resources?.cpu?.period, [1000n, 1_000_000n], `${AT}/cpu/period`, " microseconds");
    },
  },
  {
    id: "cpu-quota",
    severity: "problem",
    field: "linux.resources.cpu",
    finds: "a positive `cpu.quota` below 1000 microseconds",
    why: "the kernel refuses it with EINVAL",
    fix: "raise quota and period in the same proportion, or use -1 for no limit",
    *find({ linux }) {
      const quota = linux?.resources?.cpu?.quota;
      if (BigInt(quota ?? 0) <= 0n) return;
      yield* outside(quota, [1000n, UNLIMITED], `${AT}/cpu/quota`, " microseconds");
    },
  },
  {
    id: "cpu-burst",
    severity: "problem",
    field: "linux.resources.cpu",
    finds: "`cpu.burst` above `cpu.quota`",
    why: "the kernel refuses it with EINVAL",
    fix: "set burst to at most the quota",
    *find({ linux }) {
      const { burst = 0, quota = 0 } = linux?.resources?.cpu ?? {};
      if (BigInt(quota) <= 0n || BigInt(burst) <= BigInt(quota)) return;
      const message = `burst ${burst} is above the quota ${quota}`;
      yield { at: `${AT}/cpu/burst`, found: burst, wanted: `at most ${quota}`, message };
    },
  },
  {
    id: "cpu-idle",
    severity: "problem",
    field: "linux.resources.cpu",
    finds: "`cpu.idle` other than 0 and 1",
    why: "the kernel refuses it with EINVAL",
    fix: "set it to 1 for a cgroup that runs only when the processor is otherwise idle, else to 0",
    *find({ linux }) {
      yield* outside(linux?.resources?.cpu?.idle, [0n, 1n], `${AT}/cpu/idle`);
    },
  },
  {
    id: "cpu-list",
    severity: "problem",
    field: "linux.resources.cpu",
    finds: "`cpu.cpus` or `cpu.mems` that is not a list such as 0-3,7",
    why: "the kernel refuses it with EINVAL",
    fix: "write numbers and ranges, separated by commas",
    *find({ linux }) {
      for (const field of ["cpus", "mems"] as const) {
        const found = linux?.resources?.cpu?.[field] ?? "";
        const error = cpuListError(found);
        if (error === undefined) continue;
        yield { at: `${AT}/cpu/${field}`, found, wanted: "a list such as 0-3,7", message: `${field}: ${error}` };
      }
    },
  },
  {
    id: "memory-swappiness",
    severity: "problem",
    field: "linux.resources.memory",
    finds: "`memory.swappiness` above 100",
    why: "the kernel refuses it with EINVAL",
    fix: "choose a value from 0 to 100",
    *find({ linux }) {
      yield* outside(linux?.resources?.memory?.swappiness, [0n, 100n], `${AT}/memory/swappiness`);
    },
  },
  {
    id: "memory-limit-small",
    severity: "warning",
    field: "linux.resources.memory",
    finds: "a memory limit below 512 KiB",
    why: "starting a program takes 208 KiB in the best case; the limit is in bytes",
    fix: "write the limit in bytes: 64 MiB is 67108864",
    *find({ linux }) {
      const limit = linux?.resources?.memory?.limit;
      if (BigInt(limit ?? 0) <= 0n) return;
      yield* outside(limit, [512n * 1024n, UNLIMITED], `${AT}/memory/limit`, " bytes");
    },
  },
  {
    id: "memory-reservation",
    severity: "warning",
    field: "linux.resources.memory",
    finds: "a memory reservation above the limit",
    why: "the limit is always reached first, so the reservation has no effect",
    fix: "set reservation below limit",
    *find({ linux }) {
      const { limit = 0, reservation = 0 } = linux?.resources?.memory ?? {};
      if (BigInt(limit) <= 0n || BigInt(reservation) <= BigInt(limit)) return;
      const message = `the reservation ${reservation} is above the limit ${limit}`;
      yield { at: `${AT}/memory/reservation`, found: reservation, wanted: `at most ${limit}`, message };
    },
  },
  {
    id: "memory-kernel",
    severity: "warning",
    field: "linux.resources.memory",
    finds: "`memory.kernel` or `memory.kernelTCP`",
    why: "the specification deprecates them, and kernels since 5.16 ignore the first",
    fix: "remove the field; memory.limit includes the kernel's memory",
    *find({ linux }) {
      for (const field of ["kernel", "kernelTCP"] as const) {
        const found = linux?.resources?.memory?.[field];
        if (found === undefined) continue;
        yield { at: `${AT}/memory/${field}`, found, wanted: "nothing", message: `memory.${field} is deprecated` };
      }
    },
  },
];

/** Rules for the other controllers. */
const otherControllers: readonly CheckRule[] = [
  {
    id: "block-io-weight",
    severity: "problem",
    field: "linux.resources.blockIO",
    finds: "a block I/O weight outside 10 to 1000",
    why: "the kernel refuses it with EINVAL",
    fix: "choose a weight from 10 to 1000",
    *find({ linux }) {
      const { weight, leafWeight, weightDevice = [] } = linux?.resources?.blockIO ?? {};
      const range = [10n, 1000n] as const;
      yield* outside(weight, range, `${AT}/blockIO/weight`);
      yield* outside(leafWeight, range, `${AT}/blockIO/leafWeight`);
      for (const [index, device] of weightDevice.entries()) {
        yield* outside(device.weight, range, `${AT}/blockIO/weightDevice/${index}/weight`);
        yield* outside(device.leafWeight, range, `${AT}/blockIO/weightDevice/${index}/leafWeight`);
      }
    },
  },
  {
    id: "hugepage-format",
    severity: "problem",
    field: "linux.resources.hugepageLimits",
    finds: "a huge page size that is not written like 64KB, 2MB or 1GB, or that occurs twice",
    why: "the size is a part of the name of the controller's file",
    fix: "write the size as in the names of the files hugetlb.*.limit_in_bytes or hugetlb.*.max",
    *find({ linux }) {
      const seen = new Set<string>();
      for (const [index, { pageSize: found }] of (linux?.resources?.hugepageLimits ?? []).entries()) {
        const at = `${AT}/hugepageLimits/${index}/pageSize`;
        const wanted = "a size such as 2MB, once";
        if (!/^[1-9]\d*[KMG]B$/.test(found)) yield { at, found, wanted, message: `${quote(found)} is not a page size` };
        else if (seen.has(found)) yield { at, found, wanted, message: `the page size ${found} occurs twice` };
        seen.add(found);
      }
    },
  },
  {
    id: "unified-key",
    severity: "problem",
    field: "linux.resources.unified",
    finds: "a key of `unified` that is not the name of a controller's file",
    why: "the key is used as the name of a file in the container's cgroup",
    fix: "write the name of the file, such as memory.high",
    *find({ linux }) {
      for (const [key, found] of Object.entries(linux?.resources?.unified ?? {})) {
        if (/^[a-z_]+\.[A-Za-z0-9._-]+$/.test(key)) continue;
        const message = `${quote(key)} is not a file of a controller`;
        yield { at: `${AT}/unified${pointerToken(key)}`, found, wanted: "a file such as memory.high", message };
      }
    },
  },
  {
    id: "resource-only-v1",
    severity: "warning",
    field: "linux.resources",
    finds: "a limit that only cgroup v1 has, on a host with cgroup v2",
    why: "it is ignored",
    fix: "remove it, or use the file of cgroup v2 in linux.resources.unified",
    *find(config, { cgroup2 }) {
      if (!cgroup2) return;
      for (const [at, found] of onlyV1(config)) {
        if (found === undefined) continue;
        const name = at.slice(AT.length + 1).replace("/", ".");
        yield { at, found, wanted: "nothing", message: `${name} has no effect on cgroup v2` };
      }
    },
  },
  {
    id: "cgroups-path-dots",
    severity: "warning",
    field: "linux.cgroupsPath",
    finds: "`..` in `linux.cgroupsPath`",
    why:
      "the path is cleaned before it is used, and cannot leave the hierarchy: the container is elsewhere than it says",
    fix: "write the path without dots",
    *find({ linux }) {
      const found = linux?.cgroupsPath ?? "";
      if (!found.split("/").includes("..")) return;
      yield { at: "/linux/cgroupsPath", found, wanted: "a path without ..", message: `cgroupsPath has ..: ${found}` };
    },
  },
];

/** Rules for `linux.resources` and `linux.cgroupsPath`. */
export const resourceChecks: readonly CheckRule[] = [...cpuAndMemory, ...otherControllers];
