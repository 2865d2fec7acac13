/**
 * What config.json can ask for and this version does not build: refused by name, never ignored.
 *
 * @module
 */

import type { Config } from "../specs/config.ts";
import type { Problem } from "../specs/problem.ts";

/** The parts of the specification that are for other systems than Linux, or for virtual machines. */
const unbuilt = ["solaris", "windows", "vm", "zos", "freebsd"] as const;

/** A problem of code `unsupported` for everything in `config` that is not built. */
export function unsupported(config: Partial<Config>): readonly Problem[] {
  return unbuilt.filter((name) => config[name] !== undefined).map((name) => ({
    at: `/${name}`,
    found: config[name],
    wanted: "nothing",
    message: `/${name} is not supported by this version`,
    code: "unsupported",
  }));
}
