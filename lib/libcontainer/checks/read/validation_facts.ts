/**
 * Reads the facts for the rules that `create` and `check` apply. Runs in: parent.
 *
 * @module
 */

import type { CgroupLayout } from "../../../cgroups/layout.ts";
import { resctrlFeatures, resctrlRoot } from "../../../cgroups/rdt/resctrl.ts";
import { RuncError } from "../../../errors.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import { refusedCalls } from "../../../ffi/process/refused_calls.ts";
import type { Config } from "../../../specs/config.ts";
import { deniesSetgroups, hasSelinux, kernelNamespaces } from "../../config/facts.ts";
import { namespaceOf } from "../../config/validate/facts.ts";
import type { RootfsFacts, Unreadable, ValidationFacts } from "../../config/validate.ts";
import { groupFacts } from "../../launch/id_maps.ts";
import type { JoinedMaps } from "../../launch/joined_maps.ts";
import { refusalHint } from "../../plans/outer_sandbox.ts";
import { once } from "../../../once.ts";

/** What the reader must know already. */
export interface ValidationInput {
  readonly kernel: Kernel;
  readonly layout: CgroupLayout;
  /** Absolute path of the root file system. */
  readonly rootfs: string;
  readonly rootlessCgroups: boolean;
  readonly systemdCgroup: boolean;
  /** `--no-pivot`. */
  readonly noPivot?: boolean;
  /** As if the caller were root. */
  readonly asRoot?: boolean;
  /** Reads the maps of a user namespace. */
  readonly readMaps: (path: string) => JoinedMaps;
}

/** What is known of the user namespace that a config joins. */
interface JoinedUser {
  readonly joinedUser?: JoinedMaps | Unreadable;
}

function rootfsFacts(kernel: Kernel, path: string): RootfsFacts {
  try {
    const resolved = Deno.realPathSync(path);
    return { path, resolved, isDirectory: Deno.statSync(path).isDirectory };
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "no such file or directory" : (cause as Error).message;
    const error = `stat ${path}: ${why}`;
    // Deno has a fallback for ENOSYS, but reports EPERM as the result.
    const isRefused = cause instanceof Deno.errors.PermissionDenied && refusedCalls(kernel).has("statx");
    if (isRefused) throw new RuncError("host-lacks", error, { cause, hint: refusalHint("statx") });
    return { path, error };
  }
}

function joinedNetwork(path: string): ValidationFacts["joinedNetwork"] {
  try {
    const [theirs, ours] = [Deno.statSync(path), Deno.statSync("/proc/self/ns/net")];
    return { isOurs: theirs.dev === ours.dev && theirs.ino === ours.ino };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function joinedUser(path: string, readMaps: ValidationInput["readMaps"]): JoinedMaps | Unreadable {
  try {
    return readMaps(path);
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/**
 * Reads the facts about `config`, some of them when a rule asks.
 *
 * @throws {RuncError} `host-lacks` if a sandbox around the runtime refuses statx(2).
 */
export function readValidationFacts(config: Config, input: ValidationInput): ValidationFacts & JoinedUser {
  const { kernel, layout } = input;
  const userPath = namespaceOf(config, "user")?.path ?? "";
  const networkPath = namespaceOf(config, "network")?.path ?? "";
  const theirs = once(() => userPath === "" ? undefined : joinedUser(userPath, input.readMaps));
  return {
    rootfs: rootfsFacts(kernel, input.rootfs),
    rootlessEuid: !input.asRoot && Deno.uid() !== 0,
    rootlessCgroups: input.rootlessCgroups,
    cgroup2: layout.mode === "v2",
    systemdCgroup: input.systemdCgroup,
    noPivot: input.noPivot ?? false,
    get selinux() {
      return hasSelinux(kernel);
    },
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
