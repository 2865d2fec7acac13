/**
 * Configs that inputs begin with: what Docker, Podman, containerd's CRI and runc itself write, and one with every field.
 * Sources of bind mounts are in the bundle, so that they exist wherever it is.
 *
 * @module
 */

import { defaultSpec } from "../../../lib/specs/default_spec.ts";
import runcConfig from "../../fixtures/runc_1_1_5_config.json" with { type: "json" };
import typicalConfig from "../../fixtures/typical_config.json" with { type: "json" };
import { fullConfig } from "../../unit/libcontainer/full_config.ts";
import containerd from "./containerd.json" with { type: "json" };
import docker from "./docker.json" with { type: "json" };
import podman from "./podman.json" with { type: "json" };

/** By name. */
export const configs: Readonly<Record<string, unknown>> = {
  docker,
  podman,
  containerd,
  "runc spec": defaultSpec({ cgroup2: false }),
  "runc spec on cgroup v2": defaultSpec({ cgroup2: true }),
  "runc 1.1.5": runcConfig,
  typical: typicalConfig,
  "every field": fullConfig,
};

/** All of them. */
export const everyConfig: readonly unknown[] = Object.values(configs);
