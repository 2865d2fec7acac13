/**
 * process.cwd: enters it and checks that it is inside the container. Runs in: init.
 *
 * @module
 */

import { at, buffer, call, fail, load, slot, step, when } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";

const later = slot("chdir later");

/** Enters `cwd` as root if root may, else as the user (a home directory on NFS, or with mode 0700). */
export function enterDirectorySteps(cwd: string, when_: "before setuid" | "after setuid"): readonly Step[] {
  const meaning = { "*": `chdir to cwd (${JSON.stringify(cwd)}) set in config.json failed` };
  if (when_ === "before setuid") {
    return [
      step(`enter ${cwd}`, "/process/cwd", [call("chdir", [cwd], { out: later, tolerate: ["EACCES"], meaning })]),
    ];
  }
  return [step(`enter ${cwd} as the user`, "/process/cwd", [
    when(later, "!=", 0, [call("chdir", [cwd], { meaning })]),
  ])];
}

/**
 * Rejects a directory outside the container's root, for example one reached through a leaked descriptor
 * (CVE-2024-21626). getcwd(2): the path of such a directory does not begin with a slash, or getcwd fails.
 */
export function checkDirectorySteps(): readonly Step[] {
  const why =
    "current working directory is outside of container mount namespace root -- possible container breakout detected";
  const name = buffer("cwd", 4096);
  const first = slot("type");
  return [step("make sure that the working directory is inside", "/process/cwd", [
    call("getcwd", [name, 4096], { meaning: { ENOENT: why } }),
    load(at(name, 0), 1, first),
    when(first, "!=", "/".charCodeAt(0), [fail(0, why)]),
  ])];
}
