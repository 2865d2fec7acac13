/**
 * Rules of the specification for `linux`: namespaces, id mappings, devices and paths.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md
 * @module
 */

import type { IdMapping } from "../../../specs/config.ts";
import { quote } from "../../config/validate/facts.ts";
import type { CheckRule } from "../rule.ts";

/** UID_GID_MAP_MAX_EXTENTS, include/linux/user_namespace.h */
const MAPPING_LIMIT = 340;
/** The id that means "none" in system calls. */
const LAST_ID = 0xffff_ffff;

const kinds = ["uidMappings", "gidMappings"] as const;

/** All pairs of mappings that share an id inside or outside. Returns the index of the second one of each pair. */
function overlapping(mappings: readonly IdMapping[]): readonly number[] {
  const meet = (first: number, size: number, other: number, otherSize: number) =>
    first < other + otherSize && other < first + size;
  return [...mappings.keys()].filter((index) => {
    const { containerID, hostID, size } = mappings[index]!;
    return mappings.slice(0, index).some((other) =>
      meet(containerID, size, other.containerID, other.size) || meet(hostID, size, other.hostID, other.size)
    );
  });
}

/** Rules for namespaces, mappings, devices and paths. */
export const linuxChecks: readonly CheckRule[] = [
  {
    id: "namespace-path",
    severity: "problem",
    field: "linux.namespaces",
    finds: "a namespace whose `path` is not absolute",
    why: "the specification requires an absolute path in the runtime's mount namespace",
    fix: "write the absolute path of the namespace file",
    *find({ linux }) {
      for (const [index, { path: found = "" }] of (linux?.namespaces ?? []).entries()) {
        if (found === "" || found.startsWith("/")) continue;
        const message = `the path of a namespace is not absolute: ${quote(found)}`;
        yield { at: `/linux/namespaces/${index}/path`, found, wanted: "an absolute path", message };
      }
    },
  },
  {
    id: "mapping-size",
    severity: "problem",
    field: "linux",
    finds: "an id mapping of size 0, or one that goes beyond the largest id",
    why: "the kernel refuses the whole map with EINVAL",
    fix: "give the range a size of at least 1 that ends at or below 4294967294",
    *find({ linux }) {
      for (const kind of kinds) {
        for (const [index, found] of (linux?.[kind] ?? []).entries()) {
          const { containerID, hostID, size } = found;
          if (size > 0 && Math.max(containerID, hostID) + size <= LAST_ID) continue;
          const message = size === 0 ? "the mapping is empty" : "the mapping goes beyond the largest id";
          yield { at: `/linux/${kind}/${index}`, found, wanted: "a range of ids", message };
        }
      }
    },
  },
  {
    id: "mapping-overlap",
    severity: "problem",
    field: "linux",
    finds: "two id mappings with an id in common, in the container or on the host",
    why: "the kernel refuses the whole map with EINVAL",
    fix: "map each id once",
    *find({ linux }) {
      for (const kind of kinds) {
        const mappings = linux?.[kind] ?? [];
        for (const index of overlapping(mappings)) {
          const message = "the mapping overlaps an earlier one";
          yield { at: `/linux/${kind}/${index}`, found: mappings[index], wanted: "other ids", message };
        }
      }
    },
  },
  {
    id: "mapping-count",
    severity: "problem",
    field: "linux",
    finds: `more than ${MAPPING_LIMIT} id mappings`,
    why: "the kernel accepts no more lines in a map",
    fix: "join neighbouring ranges",
    *find({ linux }) {
      for (const kind of kinds) {
        const count = linux?.[kind]?.length ?? 0;
        if (count <= MAPPING_LIMIT) continue;
        yield { at: `/linux/${kind}`, wanted: `at most ${MAPPING_LIMIT}`, message: `${count} mappings are too many` };
      }
    },
  },
  {
    id: "device-path",
    severity: "problem",
    field: "linux.devices",
    finds: "a device whose `path` is not absolute",
    why: "the specification requires the full path in the container",
    fix: "write the absolute path, such as /dev/fuse",
    *find({ linux }) {
      for (const [index, { path: found }] of (linux?.devices ?? []).entries()) {
        if (found === "" || found.startsWith("/")) continue;
        const message = `the path of a device is not absolute: ${quote(found)}`;
        yield { at: `/linux/devices/${index}/path`, found, wanted: "an absolute path", message };
      }
    },
  },
  {
    id: "device-conflict",
    severity: "problem",
    field: "linux.devices",
    finds: "two different devices at the same path",
    why: "the specification requires an error if the path has another device",
    fix: "remove one of them",
    *find({ linux }) {
      const seen = new Map<string, string>();
      for (const [index, { path: found, type, major, minor }] of (linux?.devices ?? []).entries()) {
        const device = `${type === "u" ? "c" : type} ${major}:${minor}`;
        const other = seen.get(found) ?? device;
        seen.set(found, other);
        if (other === device) continue;
        const message = `${found} is to be device ${other} and device ${device}`;
        yield { at: `/linux/devices/${index}/path`, found, wanted: "one device at each path", message };
      }
    },
  },
  {
    id: "device-repeated",
    severity: "warning",
    field: "linux.devices",
    finds: "the same device at several paths",
    why: "the specification advises against it",
    fix: "keep one node, and make the other a symlink",
    *find({ linux }) {
      const seen = new Map<string, string>();
      for (const [index, found] of (linux?.devices ?? []).entries()) {
        const { type, major, minor, path } = found;
        if (type === "p") continue;
        const device = `${type === "u" ? "c" : type} ${major}:${minor}`;
        const other = seen.get(device) ?? path;
        seen.set(device, other);
        if (other === path) continue;
        const message = `${path} is the same device as ${other}`;
        yield { at: `/linux/devices/${index}`, found, wanted: "each device once", message };
      }
    },
  },
  {
    id: "restricted-path",
    severity: "problem",
    field: "linux",
    finds: "an entry of `maskedPaths` or `readonlyPaths` that is not absolute",
    why: "the specification requires absolute paths; a relative one protects nothing that its author meant",
    fix: "write the absolute path in the container",
    *find({ linux }) {
      for (const field of ["maskedPaths", "readonlyPaths"] as const) {
        for (const [index, found] of (linux?.[field] ?? []).entries()) {
          if (found.startsWith("/")) continue;
          const message = `an entry of ${field} is not absolute: ${quote(found)}`;
          yield { at: `/linux/${field}/${index}`, found, wanted: "an absolute path", message };
        }
      }
    },
  },
];
