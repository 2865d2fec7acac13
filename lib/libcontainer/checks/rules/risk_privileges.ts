/**
 * Warnings for capabilities and devices.
 *
 * @module
 */

import { capabilityNames } from "../../../ffi/constants.ts";
import type { DeviceRule } from "../../../specs/config.ts";
import { namespaceOf } from "../../config/validate/facts.ts";
import type { CheckRule } from "../rule.ts";

/** What each of these capabilities lets a program do to the host. */
const dangerous: Readonly<Record<string, string>> = {
  CAP_SYS_ADMIN: "mount file systems and use most kernel interfaces",
  CAP_SYS_MODULE: "load kernel modules",
  CAP_SYS_RAWIO: "access ports and the memory of devices",
  CAP_SYS_PTRACE: "read and change the memory of other processes",
  CAP_SYS_BOOT: "reboot the host",
  CAP_SYS_TIME: "set the host's clock",
  CAP_DAC_READ_SEARCH: "open any file of the host's file systems by its handle",
  CAP_BPF: "load BPF programs",
  CAP_PERFMON: "observe the kernel and all processes",
  CAP_SYSLOG: "read the kernel's log and addresses",
  CAP_MAC_ADMIN: "change the policy of security modules",
  CAP_MAC_OVERRIDE: "ignore the policy of security modules",
  CAP_AUDIT_CONTROL: "turn the host's audit off",
};

/** Character devices of the host's memory, include/uapi/linux/major.h: /dev/mem, /dev/kmem, /dev/port. */
const MEMORY_MAJOR = 1;
const memoryMinors: readonly number[] = [1, 2, 4];

/** Whether a rule allows every device. */
const allowsAll = ({ allow, type = "a", major, minor }: DeviceRule) =>
  allow && (type === "a" || type === "") && (major ?? -1) < 0 && (minor ?? -1) < 0;

const isReadOrWrite = ({ access = "" }: DeviceRule) => /[rw]/.test(access);

const capabilities: readonly CheckRule[] = [
  {
    id: "all-capabilities",
    severity: "warning",
    field: "process.capabilities",
    finds: "all capabilities",
    why: "root in the container has the powers of the host's root",
    fix: "list only what the program needs; most need none",
    *find(config, { lastCapability }) {
      const { bounding = [], permitted = [] } = config.process?.capabilities ?? {};
      const known = capabilityNames.slice(0, lastCapability + 1);
      for (const [set, found] of [["bounding", bounding], ["permitted", permitted]] as const) {
        if (!known.every((name) => found.includes(name))) continue;
        const at = `/process/capabilities/${set}`;
        yield { at, found: `${known.length} capabilities`, wanted: "a few", message: `${set} has all capabilities` };
        return;
      }
    },
  },
  {
    id: "capabilities-unset",
    severity: "warning",
    field: "process",
    finds: "no `process.capabilities`",
    why: "the program keeps all capabilities of the caller",
    fix: "set all five sets; empty lists are allowed",
    *find({ process }) {
      if (process?.capabilities !== undefined) return;
      yield { at: "/process/capabilities", wanted: "five sets", message: "the capabilities are those of the caller" };
    },
  },
  {
    id: "dangerous-capability",
    severity: "warning",
    field: "process.capabilities",
    finds: "a capability with which a program can take over the host, without a user namespace",
    why: "for example, CAP_SYS_ADMIN allows mounts and CAP_SYS_MODULE loads code into the kernel",
    fix: "remove it from every set, or add a user namespace, in which it has no power over the host",
    *find(config, { lastCapability }) {
      const { bounding = [], permitted = [] } = config.process?.capabilities ?? {};
      if (namespaceOf(config, "user") !== undefined) return;
      // The rule all-capabilities says it in one line.
      if (capabilityNames.slice(0, lastCapability + 1).every((name) => bounding.includes(name))) return;
      for (const found of Object.keys(dangerous)) {
        const set = bounding.includes(found) ? "bounding" : "permitted";
        const index = (set === "bounding" ? bounding : permitted).indexOf(found);
        if (index < 0) continue;
        const at = `/process/capabilities/${set}/${index}`;
        yield { at, found, wanted: "nothing", message: `${found} lets the container ${dangerous[found]}` };
      }
    },
  },
  {
    id: "host-network-admin",
    severity: "warning",
    field: "process.capabilities",
    finds: "CAP_NET_ADMIN in the host's network namespace",
    why: "the container can change the host's addresses, routes and firewall",
    fix: "remove the capability, or add a network namespace",
    *find(config) {
      const index = config.process?.capabilities?.bounding?.indexOf("CAP_NET_ADMIN") ?? -1;
      if (index < 0 || namespaceOf(config, "network") !== undefined || namespaceOf(config, "user")) return;
      const at = `/process/capabilities/bounding/${index}`;
      yield {
        at,
        found: "CAP_NET_ADMIN",
        wanted: "nothing",
        message: "the container can configure the host's network",
      };
    },
  },
  {
    id: "inheritable-capability",
    severity: "warning",
    field: "process.capabilities.inheritable",
    finds: "inheritable capabilities that are not ambient",
    why: "files with inheritable capabilities give them to any user of the container (CVE-2022-24769)",
    fix: "leave process.capabilities.inheritable empty",
    *find({ process }) {
      const { inheritable = [], ambient = [] } = process?.capabilities ?? {};
      const found = inheritable.filter((name) => !ambient.includes(name));
      if (found.length === 0) return;
      const message = `${found.length} capabilities are inheritable`;
      yield { at: "/process/capabilities/inheritable", found, wanted: "no capabilities", message };
    },
  },
  {
    id: "no-new-privileges",
    severity: "warning",
    field: "process",
    finds: "no `process.noNewPrivileges`",
    why: "setuid programs and file capabilities in the image give more privileges than the process has",
    fix: "set process.noNewPrivileges to true",
    *find({ process }) {
      if (process?.noNewPrivileges) return;
      const message = "the program may gain privileges by executing a setuid file";
      yield { at: "/process/noNewPrivileges", found: process?.noNewPrivileges, wanted: "true", message };
    },
  },
];

const devices: readonly CheckRule[] = [
  {
    id: "all-devices",
    severity: "warning",
    field: "linux.resources.devices",
    finds: "a device rule that allows all devices (a *:* rwm)",
    why: "with CAP_MKNOD the container can read and write the host's disks",
    fix: "allow only the devices that the program needs, with their numbers",
    *find({ linux }) {
      const rules = linux?.resources?.devices ?? [];
      // The last matching rule decides.
      const last = rules.findLastIndex((rule) => (rule.type ?? "a") === "a" && (rule.major ?? -1) < 0);
      for (const [index, found] of rules.entries()) {
        if (index < last || !allowsAll(found)) continue;
        const at = `/linux/resources/devices/${index}`;
        yield { at, found, wanted: "single devices", message: "all devices of the host are allowed" };
      }
    },
  },
  {
    id: "block-device",
    severity: "warning",
    field: "linux.resources.devices",
    finds: "a rule that allows a block device, or all of them",
    why: "who writes to the disk below a file system of the host can change every file on it",
    fix: "mount the file system on the host, and bind-mount its directory",
    *find({ linux }) {
      for (const [index, found] of (linux?.resources?.devices ?? []).entries()) {
        const { allow, type, major = -1, minor = -1 } = found;
        if (!allow || type !== "b" || !isReadOrWrite(found)) continue;
        const numbers = [major, minor].map((number) => number < 0 ? "*" : number).join(":");
        const at = `/linux/resources/devices/${index}`;
        yield { at, found, wanted: "no block device", message: `the block device ${numbers} is allowed` };
      }
    },
  },
  {
    id: "memory-device",
    severity: "warning",
    field: "linux",
    finds: "/dev/mem, /dev/kmem or /dev/port",
    why: "the container can read and change the host's memory",
    fix: "remove the device",
    *find({ linux }) {
      for (const [index, found] of (linux?.devices ?? []).entries()) {
        const { type, major, minor, path } = found;
        if (!["c", "u"].includes(type) || major !== MEMORY_MAJOR || !memoryMinors.includes(minor)) continue;
        yield { at: `/linux/devices/${index}`, found, wanted: "nothing", message: `${path} is the host's memory` };
      }
      for (const [index, found] of (linux?.resources?.devices ?? []).entries()) {
        const { allow, type, major, minor = -1 } = found;
        if (!allow || type !== "c" || major !== MEMORY_MAJOR || !memoryMinors.includes(minor)) continue;
        const at = `/linux/resources/devices/${index}`;
        yield { at, found, wanted: "nothing", message: `the device 1:${minor}, the host's memory, is allowed` };
      }
    },
  },
];

/** Warnings about what the container may do. */
export const privilegeRisks: readonly CheckRule[] = [...capabilities, ...devices];
