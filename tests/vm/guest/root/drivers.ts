/** Containers by both ways in which they get a cgroup. */

import type { Box, Change } from "../../../integration/harness.ts";

export const mountPoint = "/sys/fs/cgroup";

/** How a container gets its cgroup. */
export const drivers = [
  { driver: "cgroupfs", flags: [], cgroupsPath: (box: Box) => box.cgroup },
  { driver: "systemd", flags: ["--systemd-cgroup"], cgroupsPath: (box: Box) => `:test:${box.name}` },
] as const;

/** One of both. */
export type Driver = typeof drivers[number];

/** Starts a container that sleeps. */
export function start(box: Box, { flags, cgroupsPath }: Driver, change: Change): void {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.cgroupsPath = cgroupsPath(box);
    change(config);
  });
  box.must([...flags, "run", "--detach", box.id]);
}

/** The container's cgroup, whoever made it. */
export function directoryOf(box: Box): string {
  return mountPoint + Deno.readTextFileSync(`/proc/${box.state().pid}/cgroup`).trim().replace("0::", "");
}

/** What a file of the container's cgroup says. */
export function read(box: Box, name: string): string {
  return Deno.readTextFileSync(`${directoryOf(box)}/${name}`).trim();
}
