/**
 * A compiled seccomp filter. Pure.
 *
 * @see seccomp(2)
 * @module
 */

import type { Config } from "../../specs/config.ts";
import type { Fd } from "../../ffi/fd.ts";
import { hasListener, type SeccompProfile } from "./profile.ts";

/** A filter ready to be loaded. */
export interface SeccompFilter {
  /** The profile that it was compiled from. */
  readonly profile: SeccompProfile;
  /** `struct sock_filter[]`, 8 bytes each. */
  readonly program: Uint8Array<ArrayBuffer>;
  /** SECCOMP_FILTER_FLAG bits. */
  readonly flags: number;
  /** The filter asks about each call, and does not enforce the profile. */
  readonly audit?: SeccompAudit;
}

/** An audit: which calls a container makes. */
export interface SeccompAudit {
  /** Whether the config has a profile. */
  readonly hasProfile: boolean;
  /** The socket of the auditor, who takes the listener. Required to start a container. */
  readonly auditor?: Fd;
}

/** Whether loading the filter returns a listener: an agent or an auditor decides about some calls. */
export function needsListener({ profile, audit }: SeccompFilter): boolean {
  return audit !== undefined || hasListener(profile);
}

/** The profile that state.json keeps; none for a container whose config has none. */
export function keptProfile({ profile, audit }: SeccompFilter): SeccompProfile | undefined {
  return audit?.hasProfile === false ? undefined : profile;
}

/**
 * Whether a config requires a filter: it does not if it has neither a default action nor rules. specconv/spec_linux.go,
 * SetupSeccomp
 */
export function hasSeccomp({ linux }: Config): boolean {
  const { defaultAction = "", syscalls = [] } = linux?.seccomp ?? {};
  return defaultAction !== "" || syscalls.length > 0;
}
