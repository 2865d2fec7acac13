/**
 * The facts for the rules that `create` applies, too. Runs in: parent.
 *
 * @module
 */

import type { CgroupLayout } from "../../../cgroups/layout.ts";
import { resctrlFeatures, resctrlRoot } from "../../../cgroups/rdt/resctrl.ts";
import { isThere } from "../../../ffi/files.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import { type Config, type NamespaceType, namespaceTypes } from "../../../specs/config.ts";
import { deniesSetgroups } from "../../config/facts.ts";
import { namespaceKinds } from "../../config/namespaces.ts";
import { namespaceOf } from "../../config/validate/facts.ts";
import type { RootfsFacts, Unreadable, ValidationFacts } from "../../config/validate.ts";
import { groupFacts } from "../../launch/id_maps.ts";
import type { JoinedMaps } from "../../launch/joined_maps.ts";
import { namesIn, once } from "./host_files.ts";

/** What the reader must know already. */
export interface FactsInput {
  readonly kernel: Kernel;
  readonly layout: CgroupLayout;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute path of the root file system. */
  readonly rootfs: string;
  readonly rootlessCgroups: boolean;
  readonly systemdCgroup: boolean;
  /** The caller's environment. */
  readonly environment: (name: string) => string | undefined;
  /** Reads the maps of a user namespace. */
  readonly readMaps: (path: string) => JoinedMaps;
}

function rootfsFacts(path: string): RootfsFacts {
  try {
    return { path, resolved: Deno.realPathSync(path), isDirectory: Deno.statSync(path).isDirectory };
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "no such file or directory" : (cause as Error).message;
    return { path, error: `stat ${path}: ${why}` };
  }
}

function kernelNamespaces(): readonly NamespaceType[] {
  const files = namesIn("/proc/self/ns");
  return namespaceTypes.filter((type) => files.includes(namespaceKinds[type].file));
}

function joinedNetwork(path: string): ValidationFacts["joinedNetwork"] {
  try {
    const [theirs, ours] = [Deno.statSync(path), Deno.statSync("/proc/self/ns/net")];
    return { isOurs: theirs.dev === ours.dev && theirs.ino === ours.ino };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function joinedUser(path: string, readMaps: FactsInput["readMaps"]): JoinedMaps | Unreadable {
  try {
    return readMaps(path);
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** Reads the facts about `config`. */
export function readValidationFacts(config: Config, input: FactsInput): ValidationFacts {
  const { kernel, layout } = input;
  const userPath = namespaceOf(config, "user")?.path ?? "";
  const networkPath = namespaceOf(config, "network")?.path ?? "";
  const theirs = once(() => userPath === "" ? undefined : joinedUser(userPath, input.readMaps));
  return {
    rootfs: rootfsFacts(input.rootfs),
    rootlessEuid: Deno.uid() !== 0,
    rootlessCgroups: input.rootlessCgroups,
    cgroup2: layout.mode === "v2",
    systemdCgroup: input.systemdCgroup,
    noPivot: false,
    selinux: isThere(kernel, "/sys/fs/selinux/enforce"),
    kernelNamespaces: kernelNamespaces(),
    joinedNetwork: networkPath === "" ? undefined : joinedNetwork(networkPath),
    get joinedUser() {
      return theirs();
    },
    get groups() {
      const joined = theirs();
      if (joined !== undefined && "deniesSetgroups" in joined) {
        return { mappings: joined.gidMappings, isDenied: joined.deniesSetgroups };
      }
      const writer = { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 };
      return groupFacts(config.linux?.gidMappings ?? [], { isDenied: deniesSetgroups("self"), writer });
    },
    get intelRdt() {
      const root = resctrlRoot(kernel);
      return root === undefined ? undefined : resctrlFeatures(kernel, root);
    },
  };
}
