/**
 * `runc init`: with `--init=deno`, the stage starts this in the container's namespaces.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { runInit } from "../../libcontainer/launch/executor.ts";
import type { Command } from "../context.ts";

/** Executes the plan in the image that the stage passes. The arguments are two descriptors. */
export const run: Command<"init"> = (context, { args }) => {
  const [imageFd, procFd] = args.map(Number);
  if (!Number.isInteger(imageFd) || !Number.isInteger(procFd)) {
    throw new RuncError("usage", "init is internal: only create, run and exec with --init=deno start it");
  }
  runInit(context.kernel, { imageFd: imageFd!, procFd: procFd! });
  return 1;
};
