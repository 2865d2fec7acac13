/**
 * Rules for `mounts`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts
 * @module
 */

import type { Config, Mount } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import { isBind, type ParsedMount } from "../mounts.ts";
import { hasNamespace } from "../namespaces.ts";
import { quote, type ValidationFacts } from "./facts.ts";
import { mappingError } from "./namespaces.ts";

/** A mount needs a destination, and its fields must be valid strings for mount(2). */
export function* mountFields(_: Config, __: ValidationFacts, mounts: readonly ParsedMount[]): Iterable<Problem> {
  for (const { mount, from } of mounts) {
    if (mount.destination === "") {
      const message = `invalid mount ${show(mount)}: mount destination must not be empty`;
      yield { at: `${from}/destination`, wanted: "a path in the container", message };
    }
    for (const field of ["destination", "type", "source"] as const) {
      if (!mount[field]?.includes("\0")) continue;
      const message = `invalid mount ${show(mount)}: mount field contains null byte`;
      yield { at: `${from}/${field}`, found: mount[field], wanted: "no NUL", message };
    }
  }
}

/** The kernel ignores file system options of a bind mount; ignored options are an error. */
export function* bindsHaveNoData(_: Config, __: ValidationFacts, mounts: readonly ParsedMount[]): Iterable<Problem> {
  for (const parsed of mounts) {
    const { mount, from, options: { data } } = parsed;
    if (!isBind(parsed) || data === "") continue;
    const message = `invalid mount ${show(mount)}: ` +
      `bind mounts cannot have any filesystem-specific options applied (${data})`;
    yield { at: `${from}/options`, found: data, wanted: "options of bind mounts only", message };
  }
}

/** The conditions of mount_setattr(2) for an id-mapped mount. */
export function* idMappedMounts(
  config: Config,
  { rootlessEuid }: ValidationFacts,
  mounts: readonly ParsedMount[],
): Iterable<Problem> {
  for (const parsed of mounts) {
    const { mount, from, ids } = parsed;
    if (ids === undefined) continue;
    const { mappings } = ids;
    // A mount without mappings uses the container's.
    const isComplete = mappings === undefined
      ? hasNamespace(config, "user")
      : mappings.uid.length > 0 && mappings.gid.length > 0;
    const flaw = !isBind(parsed)
      ? "id-mapped mounts are only supported for bind-mounts"
      : rootlessEuid
      ? "id-mapped mounts are not supported for rootless containers"
      : !isComplete
      ? "id-mapped mounts must have both uid and gid mappings specified"
      : undefined;
    if (flaw === undefined) continue;
    const message = `invalid mount ${show(mount)}: ${flaw}`;
    yield { at: from, found: mount, wanted: "a mount without mappings", message };
  }
}

/** Without root, `uid=` and `gid=` of a file system must be ids of the user namespace. */
export function* rootlessMountIds(
  config: Config,
  facts: ValidationFacts,
  mounts: readonly ParsedMount[],
): Iterable<Problem> {
  if (!facts.rootlessEuid) return;
  for (const { from, options: { data } } of mounts) {
    for (const option of data.split(",")) {
      const [, kind, id] = option.match(/^(uid|gid)=(\d+)$/) ?? [];
      if (id === undefined) continue;
      const error = mappingError(config, facts, kind as "uid" | "gid", Number(id));
      if (error === undefined) continue;
      const message = `cannot specify ${option} mount option for rootless container: ${error}`;
      const hint = `add the id to linux.${kind}Mappings; /etc/sub${kind} must list it for you`;
      yield { at: `${from}/options`, found: option, wanted: "an id that is mapped", message, hint };
    }
  }
}

/** Not an error: a relative destination starts at the container's root, as in specifications before 1.0. */
export function* relativeDestinations({ mounts = [] }: Config): Iterable<Problem> {
  for (const [index, { destination }] of mounts.entries()) {
    if (destination === "" || destination.startsWith("/")) continue;
    const message = `mount destination ${destination} is not absolute. ` +
      "Support for non-absolute mount destinations will be removed in a future release.";
    yield { at: `/mounts/${index}/destination`, found: destination, wanted: "an absolute path", message };
  }
}

function show({ source = "", destination }: Mount): string {
  return `${quote(source)} at ${quote(destination)}`;
}
