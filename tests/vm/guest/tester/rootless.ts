/** A config for a user who is not root. */

import { type TestConfig, withUserNamespace } from "../../../integration/harness.ts";

/** A process's cgroup. cgroups(7) */
export const cgroupOf = (pid: number | "self"): string =>
  Deno.readTextFileSync(`/proc/${pid}/cgroup`).trim().replace("0::", "");

/** As `runc spec --rootless` has it: our own ids alone are mapped; it sleeps, with a cgroup beside our own. */
export function rootless(config: TestConfig): void {
  config.process.args = ["sleep", "1000"];
  const kept = config.linux.namespaces.filter(({ type }) => type !== "network");
  config.linux.namespaces = [...kept, { type: "cgroup" }];
  withUserNamespace({ hostUid: Deno.uid()!, hostGid: Deno.gid()!, size: 1 })(config);
  config.linux.cgroupsPath = undefined;
  config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/sys")).map((mount) => ({
    ...mount,
    options: mount.options?.filter((option) => !option.startsWith("gid=")),
  }));
}
