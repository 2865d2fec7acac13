/**
 * `runc features`: prints what this runtime can do.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/features.md
 * @module
 */

import { capabilityNames } from "../ffi/constants.ts";
import { memoryPolicyFlags, memoryPolicyModes } from "../libcontainer/memory_policy.ts";
import { mountOptionNames } from "../libcontainer/mount_options.ts";
import { OCI_VERSION } from "../specs/state.ts";
import type { Command } from "./context.ts";
import { goJson } from "./go_text.ts";
import { builtFrom, VERSION } from "./version.ts";

/** Prints the features, and nothing on standard error: some callers read both as one text. */
export const run: Command<"features"> = (context) => {
  context.stdout(goJson(features(), 4) + "\n");
  return 0;
};

/** What is true here whatever the host: `enabled` means that the runtime does it where the host can. */
export function features(): Readonly<Record<string, unknown>> {
  return {
    ociVersionMin: "1.0.0",
    ociVersionMax: OCI_VERSION,
    hooks: ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
    mountOptions: [...mountOptionNames].sort(),
    linux: {
      namespaces: ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
      capabilities: capabilityNames,
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: true, rdma: false },
      seccomp: { enabled: false },
      apparmor: { enabled: false },
      selinux: { enabled: false },
      intelRdt: { enabled: false },
      memoryPolicy: {
        modes: Object.keys(memoryPolicyModes).sort(),
        flags: Object.keys(memoryPolicyFlags).sort(),
      },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: false },
    },
    annotations: {
      "org.opencontainers.runc.checkpoint.enabled": "false",
      "org.opencontainers.runc.commit": builtFrom() ?? "",
      "org.opencontainers.runc.version": VERSION,
    },
    potentiallyUnsafeConfigAnnotations: ["bundle", "org.systemd.property."],
  };
}
