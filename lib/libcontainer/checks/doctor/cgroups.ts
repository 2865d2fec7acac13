/**
 * Questions about cgroups and systemd.
 *
 * @module
 */

import { errnoName } from "../../../ffi/errno.ts";
import type { Config, Resources } from "../../../specs/config.ts";
import type { Question, Verdict } from "./answer.ts";
import type { DoctorFacts } from "./facts.ts";
import { installCommand } from "./packages.ts";

const ok = (message: string): Verdict => ({ state: "ok", message });

/** The controllers of the usual limits, by their names on v1 and on v2. */
const controllers = [
  { v1: "memory", v2: "memory", fields: ["memory"] },
  { v1: "cpu", v2: "cpu", fields: ["cpu"] },
  { v1: "cpuset", v2: "cpuset", fields: ["cpu"] },
  { v1: "pids", v2: "pids", fields: ["pids"] },
  { v1: "blkio", v2: "io", fields: ["blockIO"] },
  { v1: "hugetlb", v2: "hugetlb", fields: ["hugepageLimits"] },
  { v1: "rdma", v2: "rdma", fields: ["rdma"] },
] as const;

/** Elsewhere a container starts without cgroups and device rules of its own. */
const isHostRoot = ({ caller, inUserNamespace }: DoctorFacts) => caller.uid === 0 && !inUserNamespace;

/** Whether a config limits what a controller controls. */
function isLimited({ linux }: Config, fields: readonly (keyof Resources)[]): boolean {
  return fields.some((field) => Object.keys(linux?.resources?.[field] ?? {}).length > 0);
}

/** What the kernel's command line needs. On v2 a controller may be in use by v1. */
function bootCommand(controller: string, isV2: boolean): string {
  const parts = [isV2 ? "cgroup_no_v1=all" : "", controller === "memory" ? "cgroup_enable=memory" : ""];
  const given = parts.filter((part) => part !== "").join(" ");
  const without = `without cgroup_disable=${controller}`;
  return `boot ${given === "" ? "a kernel that has it" : `with ${given}`}, ${without}`;
}

/** Delegates the usual controllers to every user, from their next login on. */
const DELEGATE = "mkdir -p /etc/systemd/system/user@.service.d && " +
  "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf && " +
  "systemctl daemon-reload";

/** About cgroups. */
export const cgroupQuestions: readonly Question[] = [
  {
    id: "cgroup-mode",
    area: "cgroups",
    asks: "Which version of cgroups is mounted?",
    how: "the visible mounts of /proc/self/mountinfo",
    isBasic: () => true,
    neededBy: () => true,
    judge({ cgroups: { mode } }) {
      if (mode === undefined) {
        return {
          state: "off",
          message: "no cgroup file system is mounted",
          fix: "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        };
      }
      const names = { v1: "cgroup v1", v2: "cgroup v2", hybrid: "cgroup v1, with an empty cgroup v2 beside it" };
      return ok(names[mode]);
    },
  },
  ...controllers.map((names): Question => ({
    id: `controller-${names.v2}`,
    area: "cgroups",
    asks: `Is the controller ${names.v1 === names.v2 ? names.v1 : `${names.v1} (v1) or ${names.v2} (v2)`} available?`,
    how: "v1: the mounted hierarchies. v2: cgroup.controllers of the cgroup that the container's will be in",
    neededBy: (config) => isLimited(config, names.fields),
    judge({ cgroups }) {
      const name = cgroups.mode === "v2" ? names.v2 : names.v1;
      if (cgroups.controllers.includes(name)) return ok(`the controller ${name} is available`);
      const isKnown = cgroups.hostControllers.includes(name);
      if (cgroups.mode === "v2" && isKnown) {
        const message = `the controller ${name} is not delegated to this user`;
        return { state: "off", message, fix: DELEGATE };
      }
      if (cgroups.mode !== "v2" && isKnown) {
        const mount = `mkdir -p /sys/fs/cgroup/${name} && mount -t cgroup -o ${name} ${name} /sys/fs/cgroup/${name}`;
        return { state: "off", message: `the controller ${name} is not mounted`, fix: mount };
      }
      const message = `the kernel does not offer the controller ${name}`;
      return { state: "off", message, fix: bootCommand(name, cgroups.mode === "v2") };
    },
  })),
  {
    id: "devices",
    area: "cgroups",
    asks: "Can the container's access to devices be limited?",
    how: "v1: the devices hierarchy. v2: bpf(2) loads a filter, which is attached nowhere",
    isBasic: isHostRoot,
    neededBy: (_, facts) => isHostRoot(facts),
    judge({ caller, cgroups: { mode, controllers, deviceFilterErrno } }) {
      if (mode !== "v2") {
        if (controllers.includes("devices")) return ok("the controller devices is available");
        const fix = "mkdir -p /sys/fs/cgroup/devices && mount -t cgroup -o devices devices /sys/fs/cgroup/devices";
        return { state: "off", message: "the controller devices is not mounted", fix };
      }
      if (deviceFilterErrno === 0) return ok("device filters can be loaded");
      if (caller.uid !== 0) return { state: "off", message: "only root can load device filters" };
      const message = `a device filter cannot be loaded: ${errnoName(deviceFilterErrno ?? 0)}`;
      return { state: "off", message, fix: "boot a kernel with CONFIG_CGROUP_BPF=y, and give the caller CAP_BPF" };
    },
  },
  {
    id: "cgroup-delegation",
    area: "cgroups",
    asks: "May the caller make cgroups?",
    how: "faccessat(2) on the directories in which the container's cgroups are made",
    isBasic: isHostRoot,
    neededBy: ({ linux }, facts) => isHostRoot(facts) || Object.keys(linux?.resources ?? {}).length > 0,
    judge({ caller, cgroups: { closed, mode }, systemd }) {
      if (closed.length === 0) return ok("the caller may make cgroups");
      // Three: a line that can still be read. On v1 there is one for each hierarchy.
      const others = closed.length > 3 ? ` and ${closed.length - 3} more` : "";
      const message = `the caller may not make cgroups in ${closed.slice(0, 3).join(", ")}${others}`;
      if (caller.uid === 0) return { state: "off", message, fix: `mount -o remount,rw ${closed[0]}` };
      if (mode !== "v2") {
        return { state: "off", message, fix: "boot with systemd.unified_cgroup_hierarchy=1: v1 is not delegated" };
      }
      const fix = systemd.isRunning
        ? "systemd-run --user --scope -p Delegate=yes $SHELL"
        : `mkdir ${closed[0]}/containers && chown -R $(id -u) ${closed[0]}/containers   # as root`;
      return { state: "off", message, fix };
    },
  },
  {
    id: "swap-accounting",
    area: "cgroups",
    asks: "Can swap be limited?",
    how: "memory.memsw.limit_in_bytes (v1) or memory.swap.max (v2)",
    neededBy: ({ linux }) => BigInt(linux?.resources?.memory?.swap ?? 0) > 0n,
    judge({ cgroups: { swap } }) {
      if (swap) return ok("swap can be limited");
      return { state: "off", message: "swap is not accounted", fix: "boot with swapaccount=1" };
    },
  },
  {
    id: "systemd",
    area: "cgroups",
    asks: "Can systemd manage the cgroups (--systemd-cgroup)?",
    how: "/run/systemd/system, dlopen(3) of libsystemd, and the socket of the bus",
    neededBy: () => false,
    judge({ systemd: { isRunning, hasLibrary, hasBus }, distribution }) {
      if (!isRunning) return { state: "off", message: "systemd does not run on this host" };
      if (!hasLibrary) {
        const fix = installCommand(distribution, "libsystemd");
        return { state: "off", message: "systemd runs, but libsystemd.so.0 is not installed", fix };
      }
      if (!hasBus) {
        const message = "systemd runs, but its bus cannot be reached";
        return { state: "off", message, fix: "loginctl enable-linger, then log in again" };
      }
      return ok("systemd can manage the cgroups");
    },
  },
  {
    id: "resctrl",
    area: "cgroups",
    asks: "Can the cache and the memory bandwidth be limited (Intel RDT)?",
    how: "statfs(2) on the mounts of resctrl",
    neededBy: ({ linux }) => linux?.intelRdt !== undefined,
    judge({ resctrl }) {
      if (resctrl) return ok("resctrl is mounted");
      return { state: "off", message: "resctrl is not mounted", fix: "mount -t resctrl resctrl /sys/fs/resctrl" };
    },
  },
];
