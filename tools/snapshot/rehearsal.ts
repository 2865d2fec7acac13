/**
 * The bundles for the rehearsals before the snapshot, and their program, which exits at once. They cover what
 * containers have in common: a default container, one as engines create them, and one in a user namespace.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { RuncError } from "../../lib/errors.ts";
import { chooseFilterCache, readCaller } from "../../lib/cli/identity.ts";
import { Kernel } from "../../lib/ffi/kernel.ts";
import { createRuntime } from "../../lib/libcontainer/container/create_runtime.ts";
import { hasOnlyCgroup2 } from "../../lib/libcontainer/config/facts.ts";
import { compileSeccomp } from "../../lib/libcontainer/seccomp/seccomp.ts";
import { movImm, syscall, xor } from "../../lib/plan/native/asm_x86_64.ts";
import { assemble } from "../../lib/plan/native/assembler.ts";
import type { Config } from "../../lib/specs/config.ts";
import { defaultSpec, rootlessSpec } from "../../lib/specs/default_spec.ts";
import { exactInteger } from "../../lib/specs/json.ts";
import { Sys } from "./calls.ts";
import { executableHead } from "./elf.ts";

/** A static executable that ends with status 0. */
function idleProgram(): Uint8Array<ArrayBuffer> {
  const { code } = assemble([xor("edi", "edi"), movImm("eax", Sys.exit_group), syscall()]);
  return executableHead(code);
}

/** Adds what engines request in addition to the default config. */
function asEnginesDo(config: Config): Config {
  const mounts = [
    { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", "mode=1777", "size=65536k"] },
    {
      destination: "/program",
      type: "bind",
      source: join(config.root!.path, "program"),
      options: ["rbind", "rprivate", "ro"],
    },
  ];
  const resources = {
    ...config.linux?.resources,
    memory: { limit: 1n << 30n },
    cpu: { shares: 1024n },
    pids: { limit: 1024n },
  };
  return {
    ...config,
    process: { ...config.process!, args: ["/program"] },
    mounts: [...config.mounts ?? [], ...mounts],
    linux: { ...config.linux, resources, seccomp: profile },
  };
}

/** A seccomp profile like an engine's: most calls are allowed, some only with certain arguments. */
const profile = {
  defaultAction: "SCMP_ACT_ERRNO",
  defaultErrnoRet: 1,
  architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  syscalls: [
    // `close` and `openat` are init's: without them it ends after `create`.
    { names: ["arch_prctl", "close", "execve", "exit_group", "openat", "read", "write"], action: "SCMP_ACT_ALLOW" },
    { names: ["personality"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 8, op: "SCMP_CMP_EQ" }] },
  ],
};

/** Adds a user namespace. */
export function withUserNamespace(config: Config): Config {
  const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  const namespaces = [...config.linux?.namespaces ?? [], { type: "user" as const }];
  return { ...config, linux: { ...config.linux, namespaces, uidMappings: mapping, gidMappings: mapping } };
}

/** The name of the containers' cgroup. */
export const rehearsalCgroup = (): string => `runc-rehearsal-${Deno.pid}`;

/**
 * Creates the bundles `usual`, `engine` and `mapped` and a state directory, `state`, below `directory`. The containers
 * have their own cgroup if this process may create one.
 */
export async function makeRehearsalBundles(directory: string): Promise<void> {
  const rootfs = join(directory, "rootfs");
  ensureDirSync(join(rootfs, "bin"));
  for (const path of ["program", "bin/program"]) Deno.writeFileSync(join(rootfs, path), idleProgram(), { mode: 0o755 });
  const isRoot = Deno.uid() === 0;
  const byDefault = defaultSpec({ cgroup2: hasOnlyCgroup2() });
  const suitable = isRoot ? byDefault : rootlessSpec(byDefault, { uid: Deno.uid()!, gid: Deno.gid()! });
  const usual: Config = {
    ...suitable,
    root: { ...suitable.root!, path: rootfs },
    // Looked for in PATH, as most programs of containers.
    process: { ...suitable.process!, terminal: false, args: ["program"] },
    linux: { ...suitable.linux!, cgroupsPath: `/${rehearsalCgroup()}` },
  };
  const configs = { usual, engine: asEnginesDo(usual), mapped: isRoot ? withUserNamespace(usual) : usual };
  for (const [name, config] of Object.entries(configs)) {
    ensureDirSync(join(directory, name));
    Deno.writeTextFileSync(join(directory, name, "config.json"), JSON.stringify(config, exactInteger));
  }
  await keepFilter(directory, configs.engine);
}

/**
 * Stores the compiled filter in advance. A program that finds it does not load libseccomp, which would otherwise be in
 * the snapshot too.
 */
async function keepFilter(directory: string, config: Config): Promise<void> {
  const filterCache = chooseFilterCache(readCaller(() => undefined), directory);
  try {
    await compileSeccomp(createRuntime({ kernel: new Kernel(), filterCache }), config);
  } catch (error) {
    // Without libseccomp, the rehearsal with seccomp fails, which is ignored.
    if (!(error instanceof RuncError)) throw error;
  }
}
