/**
 * Rules for `linux.namespaces`, and for fields that require a certain namespace.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#namespaces
 * @module
 */

import { type Config, type IdMapping, namespaceTypes } from "../../../specs/config.ts";
import { pointerToken, type Problem } from "../../../specs/problem.ts";
import { hasNamespace } from "../namespaces.ts";
import { namespaceOf, quote, type ValidationFacts } from "./facts.ts";

const TYPES: readonly string[] = namespaceTypes;

/** Each entry has a known type, and each type occurs once. */
export function* namespacesKnownOnce(config: Config): Iterable<Problem> {
  const seen = new Set<string>();
  for (const [index, { type, path = "" }] of (config.linux?.namespaces ?? []).entries()) {
    const at = `/linux/namespaces/${index}`;
    const shown = `{${quote(type)} ${quote(path)}}`;
    if (!TYPES.includes(type)) {
      const wanted = TYPES.join(", ");
      yield { at: `${at}/type`, found: type, wanted, message: `namespace ${shown} does not exist` };
    } else if (seen.has(type)) {
      const message = `malformed spec file: duplicated ns ${shown}`;
      yield { at, found: type, wanted: "one namespace of each type", message };
    }
    seen.add(type);
  }
}

/** A user namespace by path has its own mappings: the config may repeat them, but not change them. */
export function* joinedUserMappings(config: Config, { joinedUser }: ValidationFacts): Iterable<Problem> {
  const path = namespaceOf(config, "user")?.path ?? "";
  if (path === "" || joinedUser === undefined) return;
  if ("error" in joinedUser) {
    const message = `failed to cache mappings for userns: ${joinedUser.error}`;
    yield { at: "/linux/namespaces", found: path, wanted: "a user namespace", message };
    return;
  }
  const { uidMappings = [], gidMappings = [] } = config.linux ?? {};
  if (uidMappings.length === 0 && gidMappings.length === 0) return;
  if (sameMappings(uidMappings, joinedUser.uidMappings) && sameMappings(gidMappings, joinedUser.gidMappings)) return;
  const message = "user namespaces enabled, but both namespace path and non-matching mapping specified " +
    "-- you may only provide one";
  yield { at: "/linux/uidMappings", found: uidMappings, wanted: `no mappings, or those of ${path}`, message };
}

/** Not an error: containerd and CRI-O write configs with a user namespace by path and also its mappings. */
export function* repeatedMappings(config: Config): Iterable<Problem> {
  const path = namespaceOf(config, "user")?.path ?? "";
  if (path === "") return;
  for (const field of ["uidMappings", "gidMappings"] as const) {
    const found = config.linux?.[field] ?? [];
    if (found.length === 0) continue;
    const message = `linux.${field} repeats what the user namespace ${path} has: one of the two is enough`;
    yield { at: `/linux/${field}`, found, wanted: "no mappings", message };
  }
}

function sameMappings(some: readonly IdMapping[], others: readonly IdMapping[]): boolean {
  return some.length === others.length && some.every(({ containerID, hostID, size }, index) => {
    const other = others[index]!;
    return containerID === other.containerID && hostID === other.hostID && size === other.size;
  });
}

/** The container's root owns its files, so it needs an id on the host. */
export function* rootIsMapped(config: Config, facts: ValidationFacts): Iterable<Problem> {
  if (!hasNamespace(config, "user")) return;
  for (const kind of ["uid", "gid"] as const) {
    const error = mappingError(config, facts, kind, 0);
    if (error !== undefined) yield { at: `/linux/${kind}Mappings`, wanted: "a mapping for id 0", message: error };
  }
}

/** The error for a container id without a host id; undefined if it has one, or if there is no user namespace. */
export function mappingError(
  config: Config,
  facts: ValidationFacts,
  kind: "uid" | "gid",
  id: number,
): string | undefined {
  if (!hasNamespace(config, "user")) return undefined;
  const mappings = mappingsOf(config, facts, kind);
  if (mappings === undefined) return undefined;
  if (mappings.length === 0) return `user namespaces enabled, but no ${kind} mappings found`;
  const mapped = mappings.some(({ containerID, size }) => id >= containerID && id < containerID + size);
  return mapped ? undefined : `user namespaces enabled, but no mapping found for ${kind} ${id}`;
}

/** The container's mappings; undefined if they could not be read, which is already reported. */
function mappingsOf(
  config: Config,
  { joinedUser }: ValidationFacts,
  kind: "uid" | "gid",
): readonly IdMapping[] | undefined {
  if ((namespaceOf(config, "user")?.path ?? "") === "") return config.linux?.[`${kind}Mappings`] ?? [];
  return joinedUser === undefined || "error" in joinedUser ? undefined : joinedUser[`${kind}Mappings`];
}

/** hostname and domainname belong to the UTS namespace: without a new one they would change the host's. */
export function* namesNeedUts(config: Config): Iterable<Problem> {
  if (hasNamespace(config, "uts")) return;
  for (const field of ["hostname", "domainname"] as const) {
    const found = config[field] ?? "";
    if (found === "") continue;
    const message = `unable to set ${field} without a private UTS namespace`;
    yield { at: `/${field}`, found, wanted: 'an entry of type "uts" in linux.namespaces', message };
  }
}

/** Paths are masked by mounts: without a mount namespace this would change the host. */
export function* restrictionsNeedMount(config: Config): Iterable<Problem> {
  if (hasNamespace(config, "mount")) return;
  for (const field of ["maskedPaths", "readonlyPaths"] as const) {
    const found = config.linux?.[field] ?? [];
    if (found.length === 0) continue;
    const message = "unable to restrict sys entries without a private MNT namespace";
    yield { at: `/linux/${field}`, found, wanted: 'an entry of type "mount" in linux.namespaces', message };
  }
}

/** The kernel must support every requested type of namespace. */
export function* kernelHasNamespaces(config: Config, { kernelNamespaces }: ValidationFacts): Iterable<Problem> {
  for (const [index, { type }] of (config.linux?.namespaces ?? []).entries()) {
    if (kernelNamespaces.includes(type) || !TYPES.includes(type)) continue;
    const message = `${type} namespaces aren't enabled in the kernel`;
    yield { at: `/linux/namespaces/${index}/type`, found: type, wanted: kernelNamespaces.join(", "), message };
  }
}

/** Mappings require a user namespace. */
export function* mappingsNeedUser(config: Config): Iterable<Problem> {
  if (hasNamespace(config, "user")) return;
  for (const field of ["uidMappings", "gidMappings"] as const) {
    const found = config.linux?.[field] ?? [];
    if (found.length === 0) continue;
    const message = "user namespace mappings specified, but user namespace isn't enabled in the config";
    yield { at: `/linux/${field}`, found, wanted: 'an entry of type "user" in linux.namespaces', message };
  }
}

/** time_namespaces(7): offsets are set once, before the first process enters a new namespace. */
export function* offsetsNeedTime(config: Config): Iterable<Problem> {
  const offsets = config.linux?.timeOffsets ?? {};
  const clocks = Object.entries(offsets);
  if (clocks.length === 0) return;
  const at = "/linux/timeOffsets";
  const namespace = namespaceOf(config, "time");
  if (namespace === undefined) {
    const message = "time namespace offsets specified, but time namespace isn't enabled in the config";
    yield { at, found: offsets, wanted: 'an entry of type "time" in linux.namespaces', message };
  } else if ((namespace.path ?? "") !== "") {
    const message = "time namespace enabled, but both namespace path and time offsets specified " +
      "-- you may only provide one";
    yield { at, found: offsets, wanted: "no offsets", message };
  }
  for (const [clock, { nanosecs = 0 }] of clocks) {
    const here = at + pointerToken(clock);
    if (clock !== "monotonic" && clock !== "boottime") {
      yield {
        at: here,
        found: clock,
        wanted: "monotonic, boottime",
        message: `invalid time offset clock ${quote(clock)}`,
      };
    } else if (nanosecs >= 1e9) {
      const message = `invalid time offset nanosecs: ${nanosecs}`;
      yield { at: `${here}/nanosecs`, found: nanosecs, wanted: "less than a second", message };
    }
  }
}
