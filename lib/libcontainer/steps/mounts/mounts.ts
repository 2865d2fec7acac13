/**
 * The mounts of config.json, in its order; each kind has its own file. Runs in: init, in its mount namespace, before
 * pivot_root.
 *
 * A mount's place is resolved once and is then a descriptor. File systems are mounted on its "."; copies of mounts are
 * moved onto it.
 *
 * @module
 */

import { step } from "../../../plan/build.ts";
import type { Op, Step } from "../../../plan/op.ts";
import type { Config } from "../../../specs/config.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { CgroupMount, FileSystemMount, ParsedMount } from "../../config/mounts.ts";
import { propagationThere } from "./attributes.ts";
import { bindStep, refuseBindOptions } from "./bind.ts";
import { cgroup1Steps, cgroup2Ops } from "./cgroup.ts";
import { fileSystemOps } from "./file_system.ts";
import { refuseInsideProc, refuseRootItself } from "./place.ts";
import { remountStep } from "./remount.ts";

/** All mounts, in the config's order. A mount stays writable if files must be made in it. */
export function mountSteps(mounts: readonly ParsedMount[], config: Config, facts: HostFacts): readonly Step[] {
  return mounts.flatMap((parsed) => {
    refuseRootItself(parsed);
    refuseInsideProc(parsed);
    switch (parsed.kind) {
      case "bind":
        refuseBindOptions(parsed);
        return [bindStep(parsed, config, facts)];
      case "remount":
        refuseBindOptions(parsed);
        return [remountStep(parsed, facts)];
      case "cgroup":
        if (facts.cgroupMode !== "v2") return cgroup1Steps(parsed, mounts, config, facts);
        return [newMountStep(parsed, cgroup2Ops(parsed, config, facts), facts)];
      case "fileSystem":
        return [newMountStep(parsed, fileSystemOps(parsed, facts), facts)];
    }
  });
}

function newMountStep(parsed: CgroupMount | FileSystemMount, ops: readonly Op[], facts: HostFacts): Step {
  const { mount, destination, from } = parsed;
  return step(`mount ${mount.type ?? "nothing"} on ${destination}`, from, [...ops, ...propagationThere(parsed, facts)]);
}
