/**
 * Warnings for settings that share parts of the host with the container: namespaces, mounts, /proc and /sys.
 *
 * @module
 */

import { MountAttr, MountFlag } from "../../../ffi/constants.ts";
import type { Config, NamespaceType } from "../../../specs/config.ts";
import { isBind, type ParsedMount } from "../../config/mounts.ts";
import { namespaceOf } from "../../config/validate/facts.ts";
import type { CheckFacts } from "../facts.ts";
import type { CheckRule } from "../rule.ts";
import { isBelow } from "./spec_mounts.ts";

/** Sockets of container engines: whoever can write to one can start a container as the host's root. */
const engineSockets: readonly string[] = [
  "/run/docker.sock",
  "/run/containerd/containerd.sock",
  "/run/podman/podman.sock",
  "/run/crio/crio.sock",
  "/run/buildkit/buildkitd.sock",
  "/run/k3s/containerd/containerd.sock",
];

/** The same in other places, such as those of users without root. */
const ENGINE_SOCKET = /\/(?:docker|containerd|podman|crio|buildkitd)\.sock$/;

/** Directories of the host through which a writer can become the host's root. */
const sensitiveDirectories: readonly string[] = [
  "/bin",
  "/boot",
  "/dev",
  "/etc",
  "/lib",
  "/lib64",
  "/proc",
  "/root",
  "/run",
  "/sbin",
  "/sys",
  "/usr",
  "/var",
  "/var/lib",
  "/var/lib/containerd",
  "/var/lib/containers",
  "/var/lib/docker",
  "/var/lib/kubelet",
  "/var/run",
];

/** /var/run is a symlink to /run on most hosts. */
const canonical = (path: string) => path.replace(/^\/var\/run(?=\/|$)/, "/run").replace(/(?<=.)\/+$/, "");

/** Whether a mount can be written to, as far as its own options say. */
function isWritable({ options: { flags, recursiveSet } }: ParsedMount): boolean {
  return (flags & MountFlag.MS_RDONLY) === 0 && (recursiveSet & MountAttr.MOUNT_ATTR_RDONLY) === 0;
}

const binds = (mounts: readonly ParsedMount[]) =>
  mounts.flatMap((mount) => mount.kind === "bind" ? [{ ...mount, source: canonical(mount.source) }] : []);

/** Whether `path` in the container is read-only or masked by the config. */
function isRestricted({ linux }: Config, path: string): boolean {
  return [...linux?.readonlyPaths ?? [], ...linux?.maskedPaths ?? []].some((one) => isBelow(path, one));
}

/** The last mount that shows a whole file system of that type; undefined if there is none. */
function shown(mounts: readonly ParsedMount[], type: string, path: string): ParsedMount | undefined {
  return mounts.findLast((mount) =>
    mount.kind === "remount" ? false : isBind(mount) ? mount.source === path : mount.mount.type === type
  );
}

/** Whether the container uses the host's namespace of a type: no entry, or one whose path is the host's. */
function isHosts(config: Config, type: NamespaceType, { joinedNetwork }: CheckFacts): boolean {
  const namespace = namespaceOf(config, type);
  if (namespace === undefined) return true;
  if (/^\/proc\/(?:1|self|thread-self)\/ns\//.test(namespace.path ?? "")) return true;
  return type === "network" && joinedNetwork !== undefined && "isOurs" in joinedNetwork && joinedNetwork.isOurs;
}

/** A rule for one type of namespace. */
function hostNamespace(type: NamespaceType, why: string): CheckRule {
  return {
    id: `host-${type}`,
    severity: "warning",
    field: "",
    finds: `no new ${type} namespace`,
    why,
    fix: `add {"type": "${type}"} to linux.namespaces`,
    *find(config, facts) {
      if (!isHosts(config, type, facts)) return;
      const message = `the container shares the host's ${type} namespace`;
      yield { at: "/linux/namespaces", wanted: `an entry of type "${type}"`, message };
    },
  };
}

const namespaces: readonly CheckRule[] = [
  hostNamespace("pid", "the container sees the host's processes, and can signal or trace those of its user"),
  hostNamespace("network", "the container reaches the host's loopback services and abstract sockets"),
  hostNamespace("ipc", "the container can read and remove the host's shared memory and queues"),
  hostNamespace("uts", "with CAP_SYS_ADMIN the container can rename the host"),
  hostNamespace("mount", "all mounts of the container are made on the host"),
];

const kernelInterfaces: readonly CheckRule[] = [
  {
    id: "proc-sys-writable",
    severity: "warning",
    field: "mounts",
    finds: "a /proc/sys that is neither read-only nor masked",
    why:
      "root in the container can change the host's kernel, for example kernel.core_pattern, and run programs on the host",
    fix: 'add "/proc/sys" to linux.readonlyPaths',
    *find(config, _facts, mounts) {
      const proc = shown(mounts, "proc", "/proc");
      if (proc === undefined || !isWritable(proc) || isRestricted(config, `${proc.destination}/sys`)) return;
      const found = config.linux?.readonlyPaths;
      const message = `${proc.destination}/sys can be written to`;
      yield { at: "/linux/readonlyPaths", found, wanted: `an entry "${proc.destination}/sys"`, message };
    },
  },
  {
    id: "proc-trigger-writable",
    severity: "warning",
    field: "mounts",
    finds: "a /proc/sysrq-trigger, /proc/irq or /proc/bus that is neither read-only nor masked",
    why: "root in the container can reboot the host or configure its devices",
    fix: 'add "/proc/sysrq-trigger", "/proc/irq" and "/proc/bus" to linux.readonlyPaths',
    *find(config, _facts, mounts) {
      const proc = shown(mounts, "proc", "/proc");
      if (proc === undefined || !isWritable(proc)) return;
      const open = ["sysrq-trigger", "irq", "bus"].map((name) => `${proc.destination}/${name}`)
        .filter((path) => !isRestricted(config, path));
      if (open.length === 0) return;
      const message = `${open.join(", ")} can be written to`;
      yield { at: "/linux/readonlyPaths", found: config.linux?.readonlyPaths, wanted: open.join(", "), message };
    },
  },
  {
    id: "proc-secrets-visible",
    severity: "warning",
    field: "mounts",
    finds: "a /proc/kcore, /proc/keys or /proc/timer_list that is not masked",
    why: "these files show the host's memory, keys and timers",
    fix: 'add "/proc/kcore", "/proc/keys" and "/proc/timer_list" to linux.maskedPaths',
    *find({ linux }, _facts, mounts) {
      const proc = shown(mounts, "proc", "/proc");
      if (proc === undefined) return;
      const open = ["kcore", "keys", "timer_list"].map((name) => `${proc.destination}/${name}`)
        .filter((path) => !(linux?.maskedPaths ?? []).some((one) => isBelow(path, one)));
      if (open.length === 0) return;
      const message = `${open.join(", ")} can be read`;
      yield { at: "/linux/maskedPaths", found: linux?.maskedPaths, wanted: open.join(", "), message };
    },
  },
  {
    id: "sysfs-writable",
    severity: "warning",
    field: "mounts",
    finds: "a writable sysfs",
    why: "root in the container can configure the host's devices and, by uevent_helper, run programs on the host",
    fix: "add the option ro to the mount",
    *find(config, _facts, mounts) {
      for (const mount of mounts) {
        if (isBind(mount) || mount.mount.type !== "sysfs" || !isWritable(mount)) continue;
        if (isRestricted(config, mount.destination)) continue;
        const message = `sysfs at ${mount.destination} can be written to`;
        yield { at: `${mount.from}/options`, found: mount.mount.options, wanted: "the option ro", message };
      }
    },
  },
  {
    id: "cgroup-writable",
    severity: "warning",
    field: "mounts",
    finds: "a writable cgroup file system without a cgroup namespace, or on cgroup v1",
    why: "root in the container can raise its own limits and, by release_agent of cgroup v1, run programs on the host",
    fix: "add the option ro to the mount",
    *find(config, { cgroup2 }, mounts) {
      for (const mount of mounts) {
        const isCgroup = mount.kind === "cgroup" || ["cgroup", "cgroup2"].includes(mount.mount.type ?? "");
        if (!isCgroup || !isWritable(mount) || (cgroup2 && namespaceOf(config, "cgroup") !== undefined)) continue;
        const message = `the cgroups at ${mount.destination} can be written to`;
        yield { at: `${mount.from}/options`, found: mount.mount.options, wanted: "the option ro", message };
      }
    },
  },
];

const hostFiles: readonly CheckRule[] = [
  {
    id: "engine-socket",
    severity: "warning",
    field: "mounts",
    finds: "a bind mount of the socket of a container engine, such as docker.sock, or of its directory",
    why:
      "who can write to the socket can start a privileged container, and so is root of the host; ro does not prevent it",
    fix: "remove the mount, or put a proxy with a list of allowed requests in between",
    *find(_config, _facts, mounts) {
      for (const { from, source: found } of binds(mounts)) {
        // The whole host has a rule of its own.
        const socket = engineSockets.find((path) => isBelow(path, found)) ??
          (ENGINE_SOCKET.test(found) ? found : undefined);
        if (found === "/" || socket === undefined) continue;
        const message = `the container gets ${socket}`;
        yield { at: `${from}/source`, found, wanted: "no socket of an engine", message };
      }
    },
  },
  {
    id: "host-root-mounted",
    severity: "warning",
    field: "mounts",
    finds: "a bind mount of the host's root directory",
    why: "the container can read every file of the host, and with write access is root of the host",
    fix: "mount only the directories that the program needs",
    *find(_config, _facts, mounts) {
      for (const { from, source: found } of binds(mounts)) {
        if (found !== "/") continue;
        yield {
          at: `${from}/source`,
          found,
          wanted: "a directory",
          message: "the container gets all files of the host",
        };
      }
    },
  },
  {
    id: "host-directory-writable",
    severity: "warning",
    field: "mounts",
    finds: "a writable bind mount of a system directory of the host, such as /etc",
    why: "who can write there can change what the host's root executes",
    fix: "add the option ro, or mount only the files that the program needs",
    *find(_config, _facts, mounts) {
      for (const { from, source: found, ...mount } of binds(mounts)) {
        if (!sensitiveDirectories.includes(found) || !isWritable({ from, source: found, ...mount })) continue;
        const message = `the container can write to ${found} of the host`;
        yield { at: `${from}/options`, found: mount.mount.options, wanted: "the option ro", message };
      }
    },
  },
  {
    id: "mount-shared",
    severity: "warning",
    field: "mounts",
    finds: "a mount with shared propagation",
    why: "mounts that the container makes there appear on the host",
    fix: "use rslave or rprivate",
    *find(_config, _facts, mounts) {
      for (const { from, mount, options: { propagation } } of mounts) {
        if (((propagation.at(-1) ?? 0) & MountFlag.MS_SHARED) === 0) continue;
        const message = `mounts at ${mount.destination} propagate to the host`;
        yield { at: `${from}/options`, found: mount.options, wanted: "rslave or rprivate", message };
      }
    },
  },
  {
    id: "rootfs-shared",
    severity: "warning",
    field: "linux.rootfsPropagation",
    finds: "a `rootfsPropagation` of shared or rshared",
    why: "mounts that the container makes appear on the host",
    fix: "use rslave or rprivate",
    *find({ linux }) {
      const found = linux?.rootfsPropagation ?? "";
      if (!["shared", "rshared"].includes(found)) return;
      const message = "mounts of the container propagate to the host";
      yield { at: "/linux/rootfsPropagation", found, wanted: "rslave or rprivate", message };
    },
  },
  {
    id: "bundle-open",
    severity: "warning",
    field: "",
    finds: "a bundle, config.json or hook that other users can write to",
    why: "they decide what the caller of the runtime executes",
    fix: "remove the permission: chmod o-w",
    *find({ hooks = {} }, { openToOthers, fileAt }) {
      for (const path of openToOthers) {
        yield {
          at: "",
          found: path,
          wanted: "no write permission for others",
          message: `${path} can be written by others`,
        };
      }
      for (const [name, list] of Object.entries(hooks)) {
        for (const [index, { path: found }] of (name === "startContainer" ? [] : list ?? []).entries()) {
          const file = found.startsWith("/") ? fileAt(found) : undefined;
          if (file?.kind !== "file" || (file.mode & 0o002) === 0) continue;
          const at = `/hooks/${name}/${index}/path`;
          yield { at, found, wanted: "no write permission for others", message: `${found} can be written by others` };
        }
      }
    },
  },
];

/** Warnings about what the container shares with the host. */
export const isolationRisks: readonly CheckRule[] = [...namespaces, ...kernelInterfaces, ...hostFiles];
