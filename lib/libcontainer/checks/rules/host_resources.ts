/**
 * Rules that compare limits, devices and parameters with the host.
 *
 * @module
 */

import type { Config } from "../../../specs/config.ts";
import { pointerToken } from "../../../specs/problem.ts";
import { cpuListError, parseCpuList } from "../../config/validate/cpu_list.ts";
import { dottedName } from "../../config/validate/sysctl.ts";
import { isBelow } from "./spec_mounts.ts";
import type { CheckRule } from "../rule.ts";

const AT = "/linux/resources";

/** The controllers that each part of `linux.resources` needs: the names on v1 and on v2. */
const controllersOf = {
  memory: ["memory", "memory"],
  cpu: ["cpu", "cpu"],
  cpuset: ["cpuset", "cpuset"],
  pids: ["pids", "pids"],
  blockIO: ["blkio", "io"],
  hugepageLimits: ["hugetlb", "hugetlb"],
  network: ["net_cls", ""],
  rdma: ["rdma", "rdma"],
} as const;

const hasValue = (value: object | undefined) =>
  Object.values(value ?? {}).some((one) => one !== undefined && one !== "");

/** The parts that a config has, with their pointers. */
function* partsOf({ linux }: Config): Iterable<readonly [part: keyof typeof controllersOf, at: string]> {
  const { cpu = {}, ...others } = linux?.resources ?? {};
  const { cpus, mems, ...time } = cpu;
  if (hasValue(time)) yield ["cpu", `${AT}/cpu`];
  if (hasValue({ cpus, mems })) yield ["cpuset", `${AT}/cpu`];
  for (const part of ["memory", "pids", "blockIO", "hugepageLimits", "network", "rdma"] as const) {
    if (hasValue(others[part])) yield [part, `${AT}/${part}`];
  }
}

/** Numbers of a list that the host does not have; empty for what is no list. */
function missing(list: string, present: readonly number[]): readonly number[] {
  if (cpuListError(list) !== undefined) return [];
  return parseCpuList(list).filter((number) => !present.includes(number));
}

const ofCgroups: readonly CheckRule[] = [
  {
    id: "controller-missing",
    severity: "problem",
    field: "linux.resources",
    finds: "a limit whose cgroup controller the host does not offer",
    why: "the limit cannot be set, and the container fails to start",
    fix: "enable the controller: mount it (cgroup v1), or have it delegated (cgroup v2, `runc doctor` shows how)",
    *find(config, { controllers, cgroup2, rootlessCgroups }) {
      if (rootlessCgroups) return;
      for (const [part, at] of partsOf(config)) {
        const name = controllersOf[part][cgroup2 ? 1 : 0];
        if (name === "" || controllers.includes(name)) continue;
        yield { at, wanted: "nothing", message: `this host has no cgroup controller ${name}` };
      }
    },
  },
  {
    id: "cgroup-closed",
    severity: "problem",
    field: "",
    finds: "a cgroup that the caller may not create, although the config has limits",
    why: "without root the cgroup has to be delegated to the user",
    fix: "run below systemd with delegation (systemd-run --user --scope -p Delegate=yes), or remove linux.resources",
    *find(config, { cgroup }) {
      const [first] = [...partsOf(config)];
      const [found] = cgroup.closed;
      if (first === undefined || found === undefined) return;
      yield { at: first[1], wanted: "a delegated cgroup", message: `no permission to create a cgroup in ${found}` };
    },
  },
  {
    id: "cgroup-in-use",
    severity: "problem",
    field: "linux.cgroupsPath",
    finds: "a `cgroupsPath` whose cgroup has processes",
    why: "another container or service is in it; creating the container fails",
    fix: "choose another path, or remove the other container",
    *find({ linux }, { cgroup: { processes } }) {
      const found = linux?.cgroupsPath ?? "";
      if (processes === 0) return;
      const message = `the cgroup ${found} has ${processes} process(es)`;
      yield { at: "/linux/cgroupsPath", found, wanted: "an unused cgroup", message };
    },
  },
  {
    id: "swap-accounting",
    severity: "problem",
    field: "linux.resources.memory.swap",
    finds: "a limit of swap on a host that does not account swap",
    why: "the file of the limit does not exist",
    fix: "remove memory.swap, or boot with swapaccount=1",
    *find({ linux }, { cgroup, cgroup2 }) {
      const { swap: found = 0, limit = 0 } = linux?.resources?.memory ?? {};
      // On v2 an unlimited swap, and one that equals the limit, need no file.
      if (cgroup.swap || BigInt(found) === 0n || (cgroup2 && BigInt(found) <= BigInt(limit))) return;
      yield { at: `${AT}/memory/swap`, found, wanted: "nothing", message: "this host does not account swap" };
    },
  },
  {
    id: "cpus-missing",
    severity: "problem",
    field: "",
    finds: "a processor in `cpu.cpus` or execCPUAffinity that the host does not have",
    why: "the kernel refuses the list",
    fix: "use numbers from /sys/devices/system/cpu/online",
    *find({ linux, process }, { cpus }) {
      const lists = [
        [`${AT}/cpu/cpus`, linux?.resources?.cpu?.cpus] as const,
        ["/process/execCPUAffinity/initial", process?.execCPUAffinity?.initial] as const,
        ["/process/execCPUAffinity/final", process?.execCPUAffinity?.final] as const,
      ];
      for (const [at, found = ""] of lists) {
        const lacking = missing(found, cpus);
        if (lacking.length === 0) continue;
        yield { at, found, wanted: "processors of this host", message: `no such processor: ${lacking.join(", ")}` };
      }
    },
  },
  {
    id: "nodes-missing",
    severity: "problem",
    field: "linux",
    finds: "a memory node in `cpu.mems` or memoryPolicy that the host does not have",
    why: "the kernel refuses the list",
    fix: "use numbers from /sys/devices/system/node/online",
    *find({ linux }, { memoryNodes }) {
      const lists = [
        [`${AT}/cpu/mems`, linux?.resources?.cpu?.mems] as const,
        ["/linux/memoryPolicy/nodes", linux?.memoryPolicy?.nodes] as const,
      ];
      for (const [at, found = ""] of lists) {
        const lacking = missing(found, memoryNodes);
        if (lacking.length === 0) continue;
        yield { at, found, wanted: "memory nodes of this host", message: `no such memory node: ${lacking.join(", ")}` };
      }
    },
  },
  {
    id: "hugepage-size",
    severity: "problem",
    field: "linux.resources.hugepageLimits",
    finds: "a huge page size that the kernel does not have",
    why: "the file of the limit does not exist",
    fix: "use a size from /sys/kernel/mm/hugepages",
    *find({ linux }, { hugepageSizes }) {
      for (const [index, { pageSize: found }] of (linux?.resources?.hugepageLimits ?? []).entries()) {
        if (hugepageSizes.includes(found)) continue;
        const message = `this kernel has no huge pages of ${found}`;
        const wanted = hugepageSizes.join(", ") || "nothing";
        yield { at: `${AT}/hugepageLimits/${index}/pageSize`, found, wanted, message };
      }
    },
  },
  {
    id: "block-device-missing",
    severity: "problem",
    field: "linux.resources.blockIO",
    finds: "a block I/O limit for a device that the host does not have",
    why: "the kernel refuses it with ENODEV",
    fix: "use numbers of `lsblk -o NAME,MAJ:MIN`, of whole disks",
    *find({ linux }, { hasBlockDevice }) {
      const blockIO = linux?.resources?.blockIO ?? {};
      const lists = [
        "weightDevice",
        "throttleReadBpsDevice",
        "throttleWriteBpsDevice",
        "throttleReadIOPSDevice",
        "throttleWriteIOPSDevice",
      ] as const;
      for (const list of lists) {
        for (const [index, { major, minor }] of (blockIO[list] ?? []).entries()) {
          const found = `${major}:${minor}`;
          if (hasBlockDevice(found)) continue;
          const message = `there is no block device ${found}`;
          yield { at: `${AT}/blockIO/${list}/${index}`, found, wanted: "a block device", message };
        }
      }
    },
  },
  {
    id: "rdma-device-missing",
    severity: "problem",
    field: "linux.resources.rdma",
    finds: "an RDMA limit for a device that the host does not have",
    why: "the kernel refuses it with ENODEV",
    fix: "use a name from /sys/class/infiniband",
    *find({ linux }, { rdmaDevices }) {
      for (const found of Object.keys(linux?.resources?.rdma ?? {})) {
        if (rdmaDevices.includes(found)) continue;
        const at = `${AT}/rdma${pointerToken(found)}`;
        yield { at, found, wanted: rdmaDevices.join(", ") || "nothing", message: `there is no RDMA device ${found}` };
      }
    },
  },
];

const ofDevices: readonly CheckRule[] = [
  {
    id: "interface-missing",
    severity: "problem",
    field: "linux.netDevices",
    finds: "a network interface to move that the host does not have",
    why: "the container fails to start",
    fix: "create the interface first, or use a name of `ip link`",
    *find({ linux }, { networkInterfaces }) {
      for (const found of Object.keys(linux?.netDevices ?? {})) {
        if (networkInterfaces.includes(found)) continue;
        const at = `/linux/netDevices${pointerToken(found)}`;
        yield { at, found, wanted: networkInterfaces.join(", "), message: `there is no network interface ${found}` };
      }
    },
  },
  {
    id: "device-source-missing",
    severity: "problem",
    field: "linux.devices",
    finds: "a device that has to be bind-mounted in a user namespace, and that the host does not have",
    why: "mknod(2) is not allowed in a user namespace, so the host's file is used",
    fix: "create the device on the host, or remove it from linux.devices",
    *find(config, { fileAt, rootlessEuid }) {
      const isMapped = config.linux?.namespaces?.some(({ type }) => type === "user") ?? false;
      if (!rootlessEuid && !isMapped) return;
      for (const [index, { path: found }] of (config.linux?.devices ?? []).entries()) {
        if (!isBelow(found, "/dev") || fileAt(found) !== undefined) continue;
        const at = `/linux/devices/${index}/path`;
        yield { at, found, wanted: "a device of the host", message: `${found} does not exist on the host` };
      }
    },
  },
  {
    id: "sysctl-missing",
    severity: "problem",
    field: "linux.sysctl",
    finds: "a kernel parameter that the host does not have",
    why: "the file in /proc/sys does not exist",
    fix: "correct the name, or load the module that adds the parameter",
    *find({ linux }, { hasSysctl }) {
      for (const [key, found] of Object.entries(linux?.sysctl ?? {})) {
        if (hasSysctl(dottedName(key))) continue;
        const at = `/linux/sysctl${pointerToken(key)}`;
        yield { at, found, wanted: "a parameter of this kernel", message: `this kernel has no parameter ${key}` };
      }
    },
  },
];

/** Rules for cgroups, devices and parameters. */
export const hostResourceChecks: readonly CheckRule[] = [...ofCgroups, ...ofDevices];
