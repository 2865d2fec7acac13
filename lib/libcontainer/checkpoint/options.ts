/**
 * How CRIU writes options of checkpoint and restore. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { CgMode } from "./rpc.ts";

/** The number of a word of `--manage-cgroups-mode`. @throws {RuncError} `usage`. */
export function cgroupMode(word = ""): number {
  const modes: Readonly<Record<string, number>> = {
    "": CgMode.DEFAULT,
    soft: CgMode.SOFT,
    full: CgMode.FULL,
    strict: CgMode.STRICT,
    ignore: CgMode.IGNORE,
  };
  if (Object.hasOwn(modes, word)) return modes[word]!;
  throw new RuncError("usage", "invalid manage-cgroups-mode value", { hint: "use soft, full, strict or ignore" });
}

/** CRIU's configuration file for containers, unless an annotation names another one. CRIU ignores a missing file. */
const CONFIG_FILE = "/etc/criu/runc.conf";
/** The annotation that names another configuration file; empty: none. */
const CONFIG_ANNOTATION = "org.criu.config";

/** The configuration file whose settings replace those of the request. */
export function configFile(annotations: Readonly<Record<string, string>>): string | undefined {
  return (annotations[CONFIG_ANNOTATION] ?? CONFIG_FILE) || undefined;
}
