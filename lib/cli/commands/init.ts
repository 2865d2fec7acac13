/**
 * `runc init`: what the stage starts in the container's namespaces with `--init=deno`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { runInit } from "../../libcontainer/launch/executor.ts";
import type { Command } from "../context.ts";

/** Carries out the plan in the image that the stage hands over; the arguments are two descriptors. */
export const run: Command<"init"> = (context, { args }) => {
  const [imageFd, procFd] = args.map(Number);
  if (!Number.isInteger(imageFd) || !Number.isInteger(procFd)) {
    throw new RuncError("usage", "init is started by create, run and exec with --init=deno, and by nobody else");
  }
  runInit(context.kernel, { imageFd: imageFd!, procFd: procFd! });
  return 1;
};
