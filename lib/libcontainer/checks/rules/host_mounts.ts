/**
 * Rules that compare mounts, namespaces and the root file system with the host.
 *
 * @module
 */

import { isBind, type ParsedMount } from "../../config/mounts.ts";
import { namespaceOf, quote } from "../../config/validate/facts.ts";
import type { CheckRule } from "../rule.ts";

const isDirectory = (kind: string) => kind === "directory";

/** Options with which the source may be a symlink that leads nowhere. */
const ofSymlinks: readonly string[] = ["copy-symlink", "src-nofollow"];

/** Bind mounts of files of the host, not of /proc/self/fd and the like, which depend on the process. */
const hostBinds = (mounts: readonly ParsedMount[]) =>
  mounts.flatMap((mount) =>
    mount.kind === "bind" && (mount.mount.source ?? "") !== "" && !mount.source.startsWith("/proc/self/") &&
      !mount.options.extensions.some((option) => ofSymlinks.includes(option))
      ? [mount]
      : []
  );

const ofMounts: readonly CheckRule[] = [
  {
    id: "mount-source-missing",
    severity: "problem",
    field: "mounts",
    finds: "a bind mount whose source is not on the host",
    why: "mount(2) fails with ENOENT; runtimes do not create sources",
    fix: "create the file or directory, or correct the path",
    *find(_config, { fileAt }, mounts) {
      for (const { from, source: found } of hostBinds(mounts)) {
        if (fileAt(found) !== undefined) continue;
        yield {
          at: `${from}/source`,
          found,
          wanted: "an existing path",
          message: `${found} does not exist on the host`,
        };
      }
    },
  },
  {
    id: "mount-target-type",
    severity: "problem",
    field: "mounts",
    finds: "a bind mount of a file on a directory, or of a directory on a file",
    why: "mount(2) fails with ENOTDIR",
    fix: "remove what is at the destination in the root file system, or correct the source",
    *find(_config, { fileAt, targetOf }, mounts) {
      for (const { from, source, destination: found, index } of hostBinds(mounts)) {
        const [file, target] = [fileAt(source), targetOf(index)];
        if (file === undefined || target === undefined || isDirectory(file.kind) === isDirectory(target)) continue;
        const [one, other] = isDirectory(target) ? ["file", "directory"] : ["directory", "file"];
        const message = `the source ${source} is a ${one}, but the root file system has a ${other} at ${found}`;
        yield { at: `${from}/destination`, found, wanted: `a ${one}`, message };
      }
    },
  },
  {
    id: "mount-type-unknown",
    severity: "warning",
    field: "mounts",
    finds: "a mount of a file system type that is not in /proc/filesystems",
    why: "mount(2) fails with ENODEV, unless the kernel finds a module for it",
    fix: "load the module (modprobe TYPE), or correct the type",
    *find(_config, { fileSystems }, mounts) {
      for (const { kind, mount: { type: found = "" }, from } of mounts) {
        if (kind !== "fileSystem" || ["", "none", "bind"].includes(found) || fileSystems.includes(found)) continue;
        const message = `the kernel does not know the file system ${quote(found)}`;
        yield { at: `${from}/type`, found, wanted: "a type of /proc/filesystems", message };
      }
    },
  },
  {
    id: "idmap-file-system",
    severity: "problem",
    field: "mounts",
    finds: "an id-mapped mount of a file system that does not support it",
    why: "mount_setattr(2) fails with EINVAL",
    fix: "put the source on a file system that does, such as ext4, xfs or btrfs, or use a newer kernel",
    *find(_config, { refusesIdmap }, mounts) {
      for (const { ids, from, source: found } of hostBinds(mounts)) {
        if (ids === undefined || !refusesIdmap(found)) continue;
        const message = `the file system of ${found} does not support id-mapped mounts`;
        yield { at: `${from}/source`, found, wanted: "another file system", message };
      }
    },
  },
  {
    id: "proc-hidden",
    severity: "problem",
    field: "mounts",
    finds: "a mount of proc in a new user namespace, on a host where every /proc is partly covered",
    why: "mount(2) fails with EPERM: a user namespace may not uncover what its parent hides",
    fix:
      "run outside of that container, or let its runtime leave /proc uncovered (Docker: --security-opt systempaths=unconfined)",
    *find(config, { showsAllOfProc }, mounts) {
      if (namespaceOf(config, "user") === undefined || showsAllOfProc) return;
      for (const parsed of mounts) {
        if (isBind(parsed) || parsed.mount.type !== "proc") continue;
        const message = "/proc of this host is partly covered, so a user namespace may not mount proc";
        yield { at: parsed.from, found: "proc", wanted: "a host whose /proc is uncovered", message };
      }
    },
  },
];

const ofRootfs: readonly CheckRule[] = [
  {
    id: "rootfs-noexec",
    severity: "problem",
    field: "root",
    finds: "a root file system on a mount with noexec",
    why: "execve(2) fails with EACCES for every program in it",
    fix: "move the bundle to another file system, or remount this one with exec",
    *find({ root }, { isNoexec }) {
      if (!isNoexec) return;
      const message = "the root file system is on a mount with noexec";
      yield { at: "/root/path", found: root?.path, wanted: "a file system with exec", message };
    },
  },
  {
    id: "rootfs-closed",
    severity: "problem",
    field: "root",
    finds: "a directory above the root file system that the container's root may not search",
    why: "in a user namespace the container's root is another user of the host, and gets EACCES",
    fix: "let others search the directory (chmod o+x), or move the bundle",
    *find({ root }, { closedDirectory }) {
      if (closedDirectory === undefined) return;
      const message = `the container's root may not search ${closedDirectory}`;
      const hint = `chmod o+x ${closedDirectory}, or move the bundle`;
      yield {
        at: "/root/path",
        found: root?.path,
        wanted: "a path that the container's root can reach",
        message,
        hint,
      };
    },
  },
];

const ofNamespaces: readonly CheckRule[] = [
  {
    id: "namespace-missing",
    severity: "problem",
    field: "linux.namespaces",
    finds: "a namespace to join that cannot be opened",
    why: "the process whose namespace it was has ended, or the path is wrong",
    fix: "start the container that owns the namespace first, or remove the path for a new namespace",
    *find({ linux }, { namespaceAt }) {
      for (const [index, { path: found = "" }] of (linux?.namespaces ?? []).entries()) {
        const namespace = found.startsWith("/") ? namespaceAt(found) : "other";
        if (typeof namespace === "string") continue;
        const message = `the namespace ${found} cannot be opened: ${namespace.error}`;
        yield { at: `/linux/namespaces/${index}/path`, found, wanted: "a namespace", message };
      }
    },
  },
  {
    id: "namespace-other-type",
    severity: "problem",
    field: "linux.namespaces",
    finds: "a namespace to join that has another type than the entry",
    why: "setns(2) fails with EINVAL; the specification requires an error",
    fix: "correct the path or the type",
    *find({ linux }, { namespaceAt }) {
      for (const [index, { type, path: found = "" }] of (linux?.namespaces ?? []).entries()) {
        const namespace = found.startsWith("/") ? namespaceAt(found) : type;
        if (typeof namespace !== "string" || namespace === type) continue;
        const message = namespace === "other" ? `${found} is no namespace` : `${found} is a ${namespace} namespace`;
        yield { at: `/linux/namespaces/${index}/path`, found, wanted: `a ${type} namespace`, message };
      }
    },
  },
];

/** Rules for mounts, the root file system and namespaces. */
export const hostMountChecks: readonly CheckRule[] = [...ofMounts, ...ofRootfs, ...ofNamespaces];
