/**
 * Rules for `mounts`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts
 * @module
 */

import type { Config, Mount } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import { parseMountOptions } from "../mount_options.ts";
import { isBind } from "../../steps/mounts/mounts.ts";
import { hasNamespace } from "../namespaces.ts";
import { quote, type ValidationFacts } from "./facts.ts";
import { mappingError } from "./namespaces.ts";

/** Each mount with its pointer. */
export function mountsWithPointers(config: Config): readonly (readonly [mount: Mount, at: string])[] {
  return (config.mounts ?? []).map((mount, index) => [mount, `/mounts/${index}`] as const);
}

/** There is a destination, and mount(2) can be told what the fields say. */
export function* mountFields(config: Config): Iterable<Problem> {
  for (const [mount, at] of mountsWithPointers(config)) {
    if (mount.destination === "") {
      const message = `invalid mount ${show(mount)}: mount destination must not be empty`;
      yield { at: `${at}/destination`, wanted: "a path in the container", message };
    }
    for (const field of ["destination", "type", "source"] as const) {
      if (!mount[field]?.includes("\0")) continue;
      const message = `invalid mount ${show(mount)}: mount field contains null byte`;
      yield { at: `${at}/${field}`, found: mount[field], wanted: "no NUL", message };
    }
  }
}

/** The kernel ignores a file system's options in a bind mount, and nothing may be ignored. */
export function* bindsHaveNoData(config: Config): Iterable<Problem> {
  for (const [mount, at] of mountsWithPointers(config)) {
    if (!isBind(mount)) continue;
    const { data } = parseMountOptions(mount.options ?? []);
    if (data === "") continue;
    const message = `invalid mount ${show(mount)}: ` +
      `bind mounts cannot have any filesystem-specific options applied (${data})`;
    yield { at: `${at}/options`, found: data, wanted: "options of bind mounts only", message };
  }
}

/** What mount_setattr(2) asks of an id-mapped mount. */
export function* idMappedMounts(config: Config, { rootlessEuid }: ValidationFacts): Iterable<Problem> {
  for (const [mount, at] of mountsWithPointers(config)) {
    const { uidMappings = [], gidMappings = [], options = [] } = mount;
    const hasNone = uidMappings.length === 0 && gidMappings.length === 0;
    if (hasNone && !options.includes("idmap") && !options.includes("ridmap")) continue;
    // Without mappings of its own a mount has those of the container.
    const isComplete = hasNone ? hasNamespace(config, "user") : uidMappings.length > 0 && gidMappings.length > 0;
    const flaw = !isBind(mount)
      ? "id-mapped mounts are only supported for bind-mounts"
      : rootlessEuid
      ? "id-mapped mounts are not supported for rootless containers"
      : !isComplete
      ? "id-mapped mounts must have both uid and gid mappings specified"
      : undefined;
    if (flaw === undefined) continue;
    yield { at, found: mount, wanted: "a mount without mappings", message: `invalid mount ${show(mount)}: ${flaw}` };
  }
}

/** Without root, a file system's `uid=` and `gid=` can only name ids that the user namespace has. */
export function* rootlessMountIds(config: Config, facts: ValidationFacts): Iterable<Problem> {
  if (!facts.rootlessEuid) return;
  for (const [{ options = [] }, at] of mountsWithPointers(config)) {
    for (const option of options.flatMap((entry) => entry.split(","))) {
      const [, kind, id] = option.match(/^(uid|gid)=(\d+)$/) ?? [];
      if (id === undefined) continue;
      const error = mappingError(config, facts, kind as "uid" | "gid", Number(id));
      if (error === undefined) continue;
      const message = `cannot specify ${option} mount option for rootless container: ${error}`;
      const hint = `linux.${kind}Mappings can have ids that /etc/sub${kind} lists for you`;
      yield { at: `${at}/options`, found: option, wanted: "an id that is mapped", message, hint };
    }
  }
}

/** Not an error: a relative destination is taken from the container's root, as specifications before 1.0 had it. */
export function* relativeDestinations(config: Config): Iterable<Problem> {
  for (const [{ destination }, at] of mountsWithPointers(config)) {
    if (destination === "" || destination.startsWith("/")) continue;
    const message = `mount destination ${destination} is not absolute. ` +
      "Support for non-absolute mount destinations will be removed in a future release.";
    yield { at: `${at}/destination`, found: destination, wanted: "an absolute path", message };
  }
}

function show({ source = "", destination }: Mount): string {
  return `${quote(source)} at ${quote(destination)}`;
}
