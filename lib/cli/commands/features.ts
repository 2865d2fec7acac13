/**
 * `runc features`: prints what this runtime can do.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/features.md
 * @module
 */

import { capabilityNames } from "../../ffi/constants.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { Libseccomp } from "../../ffi/libraries/libseccomp.ts";
import { supportsSeccompFlags } from "../../ffi/process/seccomp.ts";
import { seccompActions, seccompArchs, seccompFlags, seccompOperators } from "../../libcontainer/seccomp/names.ts";
import { memoryPolicyFlags, memoryPolicyModes } from "../../libcontainer/config/memory_policy.ts";
import { mountOptionNames } from "../../libcontainer/config/mount_options.ts";
import { hookNames, namespaceTypes } from "../../specs/config.ts";
import { goJson } from "../../specs/go_json.ts";
import { OCI_VERSION } from "../../specs/state.ts";
import type { Command } from "../context.ts";
import type { ProgramKind } from "../host.ts";
import { builtFrom, VERSION } from "./version.ts";

/** Prints the features, and nothing on stderr: some callers read both streams as one text. */
export const run: Command<"features"> = (context) => {
  context.stdout.write(goJson(features(seccompOf(context.kernel), context.programKind()), 4) + "\n");
  return 0;
};

/** The parts that depend on the host. */
export interface SeccompFeatures {
  /** The flags that the kernel supports. */
  readonly supportedFlags: readonly string[];
  /** libseccomp's version, or undefined if it is not installed. */
  readonly version?: string;
}

function seccompOf(kernel: Kernel): SeccompFeatures {
  const newest = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
  const supportedFlags = Object.keys(seccompFlags).filter((name) =>
    name !== newest || supportsSeccompFlags(kernel, [newest])
  );
  try {
    return { supportedFlags, version: new Libseccomp(kernel).version };
  } catch {
    // A container that needs libseccomp reports the error.
    return { supportedFlags };
  }
}

/** `program`: the kind of this program. `enabled` means that the runtime supports it if the host does. */
export function features(
  { supportedFlags, version }: SeccompFeatures,
  program: ProgramKind,
): Readonly<Record<string, unknown>> {
  return {
    ociVersionMin: "1.0.0",
    ociVersionMax: OCI_VERSION,
    hooks: hookNames,
    mountOptions: [...mountOptionNames].sort(),
    linux: {
      namespaces: [...namespaceTypes].sort(),
      capabilities: capabilityNames,
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: true, rdma: true },
      seccomp: {
        enabled: true,
        actions: Object.keys(seccompActions).sort(),
        operators: Object.keys(seccompOperators).sort(),
        archs: Object.keys(seccompArchs).sort(),
        knownFlags: Object.keys(seccompFlags),
        supportedFlags,
      },
      apparmor: { enabled: true },
      selinux: { enabled: true },
      intelRdt: { enabled: true, schemata: true, monitoring: true },
      memoryPolicy: {
        modes: Object.keys(memoryPolicyModes).sort(),
        flags: Object.keys(memoryPolicyFlags).sort(),
      },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: true },
    },
    annotations: {
      ...(version === undefined ? {} : { "io.github.seccomp.libseccomp.version": version }),
      "org.opencontainers.runc.checkpoint.enabled": "true",
      "org.opencontainers.runc-ts.program": program,
      "org.opencontainers.runc.commit": builtFrom() ?? "",
      "org.opencontainers.runc.version": VERSION,
    },
    potentiallyUnsafeConfigAnnotations: ["bundle", "org.systemd.property.", "org.criu.config"],
  };
}
