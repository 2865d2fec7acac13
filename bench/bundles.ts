/**
 * The benchmark's bundles: the default config, a root file system that contains only busybox, and each scenario's
 * changes.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { join } from "@std/path";
import { exactInteger } from "../lib/specs/json.ts";
import { type Config, defaultSpec, hasOnlyCgroup2 } from "../mod.ts";
import { engineProfile } from "../tests/fixtures/seccomp_profile.ts";

/** The contents of a bundle. */
export interface BundleOptions {
  readonly busybox: string;
  readonly args: readonly string[];
  /**
   * Absolute, because runtimes place a relative one differently. The last part belongs to the container and is removed
   * with it.
   */
  readonly cgroup: string;
  /** Changes the default config. */
  readonly change?: (config: Config) => Config;
}

/** Creates a bundle, or only rewrites its config if it exists. */
export function makeBundle(directory: string, { busybox, args, cgroup, change = same }: BundleOptions): void {
  const rootfs = join(directory, "rootfs");
  if (!existsSync(rootfs)) makeRootfs(rootfs, busybox);
  const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
  const changed = change({
    ...config,
    // crun 1.8 refuses versions later than itself.
    ociVersion: "1.0.2",
    process: { ...config.process!, terminal: false, args },
    linux: { ...config.linux, cgroupsPath: cgroup },
  });
  Deno.writeTextFileSync(join(directory, "config.json"), JSON.stringify(changed, exactInteger));
}

function makeRootfs(rootfs: string, busybox: string): void {
  for (const name of ["bin", "dev", "proc", "sys"]) ensureDirSync(join(rootfs, name));
  Deno.copyFileSync(busybox, join(rootfs, "bin/busybox"));
  for (const name of ["true", "sleep"]) Deno.symlinkSync("busybox", join(rootfs, "bin", name));
}

const same = (config: Config) => config;

/** Adds 40 mounts. */
export function withMounts(config: Config): Config {
  const more = Array.from({ length: 40 }, (_, index) => ({
    destination: `/dev/shm/m${index}`,
    type: "tmpfs",
    source: "tmpfs",
    options: ["nosuid", "nodev", "size=64k"],
  }));
  return { ...config, mounts: [...config.mounts ?? [], ...more] };
}

/** Adds a seccomp profile like those of container engines. */
export function withSeccomp(config: Config): Config {
  return { ...config, linux: { ...config.linux, seccomp: engineProfile } };
}

/** Adds a memory limit, in bytes. */
export function withMemory(limit: number): (config: Config) => Config {
  return (config) => ({
    ...config,
    linux: { ...config.linux, resources: { ...config.linux?.resources, memory: { limit } } },
  });
}
