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
  /** What it was made from. */
  readonly profile: SeccompProfile;
  /** `struct sock_filter[]`, 8 bytes each. */
  readonly program: Uint8Array<ArrayBuffer>;
  /** SECCOMP_FILTER_FLAG bits. */
  readonly flags: number;
}

/** Whether a config asks for a filter: without an action and without rules it does not. specconv/spec_linux.go, SetupSeccomp */
export function hasSeccomp({ linux }: Config): boolean {
  const { defaultAction = "", syscalls = [] } = linux?.seccomp ?? {};
  return defaultAction !== "" || syscalls.length > 0;
}
