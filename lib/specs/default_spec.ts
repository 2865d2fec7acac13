/**
 * The config that `spec` writes, and its variant for users without root.
 *
 * @module
 */

import type { Config, Mount, NamespaceType } from "./config.ts";
import { OCI_VERSION } from "./state.ts";

const CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"] as const;

/** Options for mounts that hold only data. */
const HARDENED = ["nosuid", "noexec", "nodev"] as const;

/**
 * The default config: a shell in a read-only root file system, with runc's values in runc's order. `cgroup2`: whether
 * the host has only the unified hierarchy; then the container also gets a cgroup namespace.
 */
export function defaultSpec(host: { readonly cgroup2: boolean }): Config {
  const namespaces: readonly NamespaceType[] = ["pid", "network", "ipc", "uts", "mount"];
  return {
    ociVersion: OCI_VERSION,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ["sh"],
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
      cwd: "/",
      // No inheritable or ambient capabilities: CVE-2022-24769.
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "runc",
    mounts: defaultMounts(),
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: [...namespaces, ...(host.cgroup2 ? ["cgroup"] as const : [])].map((type) => ({ type })),
      maskedPaths: [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
      ],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

function defaultMounts(): readonly Mount[] {
  return [
    { destination: "/proc", type: "proc", source: "proc" },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/dev/shm", type: "tmpfs", source: "shm", options: [...HARDENED, "mode=1777", "size=65536k"] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: [...HARDENED] },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: [...HARDENED, "ro"] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [...HARDENED, "relatime", "ro"] },
  ];
}

/**
 * The same config for a user without root. `ids` are the effective ids on the host; they become root's in the
 * container.
 */
export function rootlessSpec(config: Config, ids: { readonly uid: number; readonly gid: number }): Config {
  const { resources: _, uidMappings: _uids, gidMappings: _gids, ...linux } = config.linux ?? {};
  const namespaces = linux.namespaces ?? [];
  return {
    ...config,
    mounts: config.mounts?.map(rootlessMount),
    linux: {
      uidMappings: [{ containerID: 0, hostID: ids.uid, size: 1 }],
      gidMappings: [{ containerID: 0, hostID: ids.gid, size: 1 }],
      ...linux,
      namespaces: [...namespaces.filter(({ type }) => type !== "network" && type !== "user"), { type: "user" }],
    },
  };
}

function rootlessMount(mount: Mount): Mount {
  // Mounting sysfs requires owning the network namespace, and that is the host's.
  if (mount.destination.replace(/\/+$/, "") === "/sys") {
    return { destination: "/sys", type: "none", source: "/sys", options: ["rbind", ...HARDENED, "ro"] };
  }
  if (mount.options === undefined) return mount;
  // Only one id is mapped, root's.
  return { ...mount, options: mount.options.filter((option) => !/^[ug]id=/.test(option)) };
}
