/**
 * What CRIU and the kernel can do: CRIU's version and the features that an operation needs. The words are runc's.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Criu } from "./criu.ts";
import { INSTALL_HINT } from "./criu_program.ts";
import { type CriuFeatures, type CriuVersion, ReqType } from "./rpc.ts";
import type { Waits } from "../../ffi/waits.ts";

/** Versions of CRIU since which it has something, as {@link versionNumber}s. */
export const CriuSince = {
  /** The request for the version itself. */
  VERSION_REQUEST: 30_000,
  EXTERNAL_NETWORK: 31_100,
  /** All later features, such as the freezer of cgroup v2 (3.14), need no check: every operation checks this. */
  EXTERNAL_PID: 31_500,
  /** A security profile for the restored processes; before, it had no effect. */
  LSM_PROFILE: 31_600,
} as const;

/** A version as one number: 4.2.1 is 40201. A build from git counts as the next minor version. Pure. */
export function versionNumber({ major_number, minor_number, sublevel = 0, gitid = "" }: CriuVersion): number {
  const released = major_number * 10_000 + minor_number * 100;
  return gitid === "" ? released + sublevel : released + 100;
}

/** Pure. @throws {RuncError} `host-lacks`. */
export function requireVersion(version: number, least: number): void {
  if (version >= least) return;
  throw new RuncError("host-lacks", `CRIU version ${version} must be ${least} or higher`, { hint: INSTALL_HINT });
}

/** Asks CRIU for its {@link versionNumber}. @throws {RuncError} */
export function* askVersion(criu: Criu): Waits<number> {
  try {
    const { version } = yield* criu.ask({ type: ReqType.VERSION, keep_open: true });
    if (version === undefined) throw new RuncError("protocol", "unexpected CRIU RPC response");
    return versionNumber(version);
  } catch (error) {
    throw error instanceof RuncError && error.code !== "interrupted"
      ? error.within("CRIU version check failed")
      : error;
  }
}

/** A feature's name in runc's message, and what is missing. */
const known: Readonly<Record<keyof CriuFeatures, readonly [name: string, lack: string]>> = {
  mem_track: ["MemTrack", "the kernel does not track written memory (CONFIG_MEM_SOFT_DIRTY)"],
  lazy_pages: ["LazyPages", "the kernel has no userfaultfd with events for other processes (CONFIG_USERFAULTFD)"],
};

/** Asks CRIU whether it and the kernel have a feature. @throws {RuncError} `host-lacks` if not. */
export function* requireFeature(criu: Criu, feature: keyof CriuFeatures): Waits<void> {
  const request = { type: ReqType.FEATURE_CHECK, keep_open: true, features: { [feature]: true } };
  try {
    const { features } = yield* criu.ask(request);
    requireAnswer(feature, features ?? {});
  } catch (error) {
    const isCriu = error instanceof RuncError && (error.code === "checkpoint-failed" || error.code === "protocol");
    throw isCriu ? error.within("CRIU feature check failed") : error;
  }
}

/** Pure. @throws {RuncError} `host-lacks`. */
export function requireAnswer(feature: keyof CriuFeatures, answer: CriuFeatures): void {
  // An old CRIU does not answer what it does not know; runc goes on then, too.
  if (answer[feature] !== false) return;
  const [name, lack] = known[feature];
  throw new RuncError("host-lacks", `criu is missing features: [${name}]`, { hint: lack });
}
