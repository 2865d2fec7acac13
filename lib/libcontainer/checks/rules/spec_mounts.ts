/**
 * Rules of the specification and of mount(2) for `mounts`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts
 * @module
 */

import { splitData } from "../../config/mount_options.ts";
import { isBind, type ParsedMount } from "../../config/mounts.ts";
import { namespaceOf, quote } from "../../config/validate/facts.ts";
import { hasNamespace } from "../../config/namespaces.ts";
import type { CheckRule } from "../rule.ts";

/** Whether `path` is `directory` or below it. */
export function isBelow(path: string, directory: string): boolean {
  return path === directory || directory === "/" || path.startsWith(`${directory}/`);
}

/** The first later mount that covers this one. */
function coverOf(mount: ParsedMount, mounts: readonly ParsedMount[]): ParsedMount | undefined {
  return mounts.find((later) =>
    later.index > mount.index && later.kind !== "remount" && isBelow(mount.destination, later.destination)
  );
}

/** Rules for mounts. */
export const mountChecks: readonly CheckRule[] = [
  {
    id: "mount-type",
    severity: "problem",
    field: "mounts",
    finds: "a mount without a type that is not a bind mount",
    why: "mount(2) fails with ENODEV",
    fix: "set the type, or add the option bind",
    *find(_config, _facts, mounts) {
      for (const { kind, mount, from } of mounts) {
        if (kind !== "fileSystem" || !["", "bind", "none"].includes(mount.type ?? "")) continue;
        const message = `the mount at ${mount.destination} has neither a file system type nor the option bind`;
        yield { at: `${from}/type`, found: mount.type, wanted: "a file system type", message };
      }
    },
  },
  {
    id: "mount-source",
    severity: "problem",
    field: "mounts",
    finds: "a bind mount without a source",
    why: "the bundle itself would be mounted",
    fix: "set source to a path of the host",
    *find(_config, _facts, mounts) {
      for (const { kind, mount, from } of mounts) {
        if (kind !== "bind" || (mount.source ?? "") !== "") continue;
        const message = `the bind mount at ${mount.destination} has no source`;
        yield { at: `${from}/source`, wanted: "a path of the host", message };
      }
    },
  },
  {
    id: "mount-hidden",
    severity: "warning",
    field: "mounts",
    finds: "a mount that a later mount covers",
    why: "mounts are made in the order of the list, and the container never sees this one",
    fix: "move the mount behind the one that covers it, or remove one of them",
    *find(_config, _facts, mounts) {
      for (const mount of mounts) {
        const cover = mount.kind === "remount" ? undefined : coverOf(mount, mounts);
        if (cover === undefined) continue;
        const message =
          `the mount at ${mount.destination} is hidden by the one at ${cover.destination} (${cover.from})`;
        yield { at: mount.from, found: mount.mount.destination, wanted: "a visible mount", message };
      }
    },
  },
  {
    id: "mount-id-unmapped",
    severity: "problem",
    field: "mounts",
    finds: "a mount option `uid=` or `gid=` with an id that the user namespace does not map",
    why: "mount(2) fails with EINVAL; the usual case is gid=5 of devpts",
    fix: "remove the option, or map the id",
    *find(config, { rootlessEuid }, mounts) {
      // Without root the rule rootless-mount-ids reports it.
      if (rootlessEuid || namespaceOf(config, "user") === undefined || namespaceOf(config, "user")?.path) return;
      for (const { from, options: { data } } of mounts) {
        for (const found of splitData(data)) {
          const [, kind, text] = /^(uid|gid)=(\d+)$/.exec(found) ?? [];
          if (text === undefined) continue;
          const id = Number(text);
          const mappings = config.linux?.[kind === "uid" ? "uidMappings" : "gidMappings"] ?? [];
          if (mappings.some(({ containerID, size }) => id >= containerID && id < containerID + size)) continue;
          const message = `the mount option ${found} names an id that is not mapped`;
          yield { at: `${from}/options`, found, wanted: `an id of linux.${kind}Mappings`, message };
        }
      }
    },
  },
  {
    id: "mount-needs-namespace",
    severity: "problem",
    field: "mounts",
    finds: "a mount of proc, sysfs or mqueue in a user namespace whose namespace of that kind is the host's",
    why: "mount(2) fails with EPERM: the user namespace has to own the pid, network or ipc namespace",
    fix: "add the namespace, or bind-mount the host's directory",
    *find(config, _facts, mounts) {
      if (namespaceOf(config, "user") === undefined) return;
      const owners = { proc: "pid", sysfs: "network", mqueue: "ipc" } as const;
      for (const parsed of mounts) {
        const { mount: { type = "", destination }, from } = parsed;
        const owner = Object.hasOwn(owners, type) ? owners[type as keyof typeof owners] : undefined;
        if (isBind(parsed) || owner === undefined || hasNamespace(config, owner)) continue;
        const message = `${type} at ${destination} needs a new ${owner} namespace, because there is a user namespace`;
        yield {
          at: `${from}/type`,
          found: type,
          wanted: `an entry of type ${quote(owner)} in linux.namespaces`,
          message,
        };
      }
    },
  },
];
