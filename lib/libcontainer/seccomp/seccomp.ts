/**
 * linux.seccomp: the filter for a container's processes. prepare.ts compiles it.
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
 * Compiles the profile of a validated config; undefined if it has none. {@link Container.create} needs the result.
 *
 * `store`: whether to keep the filter in {@link Runtime.filterCache} for the next container with this profile (default:
 * true).
 *
 * @throws {RuncError} `host-lacks` without libseccomp, `config-invalid` for a profile that it cannot compile.
 */
export function compileSeccomp(
  runtime: Runtime,
  config: Config,
  options: { readonly store?: boolean } = {},
): SeccompFilter | undefined {
  if (!hasSeccomp(config)) return undefined;
  return compileStored(runtime, toProfile(config.linux!.seccomp!), options);
}

/** Like {@link compileSeccomp}, for a profile in the format of state.json. */
export function compileStored(
  runtime: Runtime,
  profile: SeccompProfile,
  options: { readonly store?: boolean } = {},
): SeccompFilter {
  const prepare = () => prepareFilter(runtime, profile, { store: options.store ?? true });
  return inSpan(runtime.trace, "prepare the seccomp filter", prepare);
}
