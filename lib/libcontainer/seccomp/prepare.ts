/**
 * Gets a profile's filter from the cache, or compiles and caches it. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { supportsSeccompFlags } from "../../ffi/process/seccomp.ts";
import { installedLibseccomp, Libseccomp } from "../../ffi/libraries/libseccomp.ts";
import { inSpan } from "../../trace/tracer.ts";
import type { Runtime } from "../runtime.ts";
import { FilterCache, type Key } from "./cache.ts";
import { compileProfile } from "./compile.ts";
import type { SeccompFilter } from "./filter.ts";
import { filterFlags, type SeccompProfile, type SeccompRule } from "./profile.ts";

/** Part of the cache key. Increase it when the same profile compiles to another program than before. */
const COMPILER_VERSION = 1;

/**
 * `store`: cache a compiled filter. @throws {RuncError} for a profile that cannot be compiled, or flags that the kernel
 * lacks.
 */
export function prepareFilter(runtime: Runtime, profile: SeccompProfile, options: { store: boolean }): SeccompFilter {
  const flags = filterFlags(profile);
  refuseUnsupportedFlags(runtime, profile);
  const { kernel } = runtime;
  const key = keyOf(runtime, installedLibseccomp(kernel) ?? new Libseccomp(kernel).version, profile);
  const cache = runtime.filterCache === undefined ? undefined : new FilterCache(kernel, runtime.filterCache);
  let program = cache?.read(key);
  if (program === undefined) {
    // There is no cached program.
    const compile = () => compileProfile(new Libseccomp(kernel), profile, runtime.log);
    program = inSpan(runtime.trace, "compile the profile", compile);
    if (options.store && cache !== undefined) store(runtime, cache, key, program);
  }
  // The words of runc's debug log, which its tests match.
  runtime.log("debug", `seccomp filter flags: ${flags}`);
  return { profile, program, flags };
}

function store(runtime: Runtime, cache: FilterCache, key: Key, program: Uint8Array<ArrayBuffer>): void {
  try {
    cache.write(key, program);
  } catch (error) {
    // Then the next container compiles it again.
    runtime.log("debug", `the seccomp filter is not cached: ${(error as Error).message}`);
  }
}

/** All that the program depends on. Flags and listener are not part of it. */
function keyOf(runtime: Runtime, compiler: string, profile: SeccompProfile): Key {
  const { default_action, default_errno_ret = null, architectures, syscalls } = profile;
  return JSON.stringify([
    COMPILER_VERSION,
    compiler,
    runtime.kernel.arch,
    Deno.readTextFileSync("/proc/sys/kernel/osrelease"),
    default_action,
    default_errno_ret,
    architectures ?? [],
    grouped(syscalls ?? []),
  ]);
}

/** The rules in their order, in a short form: a profile lists hundreds of system calls, and most are simply allowed. */
function grouped(rules: readonly SeccompRule[]): readonly unknown[] {
  const groups: unknown[] = [];
  let last: SeccompRule | undefined;
  let names: string[] = [];
  for (const rule of rules) {
    const { name, action, errnoRet, args } = rule;
    const isPlain = args === null || args.length === 0;
    if (!isPlain || last?.action !== action || last.errnoRet !== errnoRet) {
      groups.push(action, errnoRet, names = []);
      if (!isPlain) groups.push(args.map(({ index, value, value_two, op }) => `${index} ${op} ${value} ${value_two}`));
    }
    names.push(name);
    last = isPlain ? rule : undefined;
  }
  return groups;
}

/** Only this flag is newer than the oldest supported kernel: Linux 5.19. */
function refuseUnsupportedFlags({ kernel }: Runtime, { flags }: SeccompProfile): void {
  const flag = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
  if (!flags?.includes(flag) || supportsSeccompFlags(kernel, [flag])) return;
  throw new RuncError(
    "config-invalid",
    "error adding WaitKill flag to seccomp filter: SetWaitKill requires Linux >= 5.19",
    {
      field: "/linux/seccomp/flags",
      hint: `remove ${flag} from linux.seccomp.flags`,
    },
  );
}
