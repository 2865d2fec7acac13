/**
 * linux.seccomp: the filter that a container's processes run under. What compiles it is prepare.ts.
 *
 * @module
 */

import type { Config } from "../../specs/config.ts";
import { inSpan } from "../../trace/tracer.ts";
import type { Runtime } from "../runtime.ts";
import { hasSeccomp, type SeccompFilter } from "./filter.ts";
import { prepareFilter } from "./prepare.ts";
import { type SeccompProfile, toProfile } from "./profile.ts";

/**
 * Compiles the profile of a config that has been checked; undefined where it has none. {@link Container.create} needs it.
 *
 * `store`: whether the filter is kept in {@link Runtime.filterCache}, for the next container with this profile; it is unless this says no.
 *
 * @throws {RuncError} `host-lacks` without libseccomp, `config-invalid` for what it cannot compile.
 */
export function compileSeccomp(
  runtime: Runtime,
  config: Config,
  options: { readonly store?: boolean } = {},
): SeccompFilter | undefined {
  if (!hasSeccomp(config)) return undefined;
  return compileStored(runtime, toProfile(config.linux!.seccomp!), options);
}

/** As {@link compileSeccomp}, for a profile as state.json keeps it. */
export function compileStored(
  runtime: Runtime,
  profile: SeccompProfile,
  options: { readonly store?: boolean } = {},
): SeccompFilter {
  const prepare = () => prepareFilter(runtime, profile, { store: options.store ?? true });
  return inSpan(runtime.trace, "prepare the seccomp filter", prepare);
}
