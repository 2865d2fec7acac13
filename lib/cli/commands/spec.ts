/**
 * `runc spec`: writes a config.json as a starting point.
 *
 * @module
 */

import { existsSync } from "../../std/fs.ts";
import { RuncError } from "../../errors.ts";
import { defaultSpec, rootlessSpec } from "../../specs/default_spec.ts";
import { goJson } from "../../specs/go_json.ts";
import type { Context } from "../context.ts";
import { writeAll } from "../log.ts";
import type { Invocation } from "../parse.ts";
import { systemError, withSystemErrors } from "../system_error.ts";

/** This file exists only in the root of the unified hierarchy. cgroups(7) */
const CGROUP2_MARK = "/sys/fs/cgroup/cgroup.controllers";

/**
 * @throws {RuncError} `usage` if config.json exists, `syscall-failed` if it cannot be written.
 */
export function run(_context: Context, { options }: Invocation<"spec">): number {
  const config = defaultSpec({ cgroup2: existsSync(CGROUP2_MARK) });
  const written = options.rootless ? rootlessSpec(config, { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 }) : config;
  if (options.bundle) withSystemErrors(`chdir ${options.bundle}`, () => Deno.chdir(options.bundle!));
  writeNew("config.json", goJson(written, "\t"));
  return 0;
}

/** O_EXCL avoids a race between check and write, and follows no symlink. */
function writeNew(path: string, text: string): void {
  try {
    using file = Deno.openSync(path, { write: true, createNew: true, mode: 0o666 });
    writeAll(file, text);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw systemError(`open ${path}`, error);
    throw new RuncError("usage", "File config.json exists. Remove it first", { errnoName: "EEXIST", cause: error });
  }
}
