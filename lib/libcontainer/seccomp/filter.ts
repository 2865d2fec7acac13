/**
 * A compiled seccomp filter. Pure.
 *
 * @see seccomp(2)
 * @module
 */

import type { Config } from "../../specs/config.ts";
import type { SeccompProfile } from "./profile.ts";

/** A filter ready to be loaded. */
export interface SeccompFilter {
  /** The profile that it was compiled from. */
  readonly profile: SeccompProfile;
  /** `struct sock_filter[]`, 8 bytes each. */
  readonly program: Uint8Array<ArrayBuffer>;
  /** SECCOMP_FILTER_FLAG bits. */
  readonly flags: number;
}

/**
 * Whether a config requires a filter: it does not if it has neither a default action nor rules. specconv/spec_linux.go,
 * SetupSeccomp
 */
export function hasSeccomp({ linux }: Config): boolean {
  const { defaultAction = "", syscalls = [] } = linux?.seccomp ?? {};
  return defaultAction !== "" || syscalls.length > 0;
}
