/**
 * `runc debug`: a program of the host in a container's namespaces.
 *
 * @module
 */

import { resolve } from "../../../std/path.ts";
import { RuncError } from "../../../errors.ts";
import { capabilityNames } from "../../../ffi/constants.ts";
import { runWaits } from "../../../ffi/waits.ts";
import { ContainerHandle } from "../../../libcontainer/container/handle.ts";
import { TRACE } from "../../../libcontainer/container/exec/tracers.ts";
import {
  CONTAINER,
  type ToolEntry,
  type ToolMount,
  type ToolRoot,
} from "../../../libcontainer/steps/root/tool_root.ts";
import { readHostLayout } from "../../../sandbox/config/host_layout.ts";
import { hostRoot } from "../../../sandbox/config/host_root.ts";
import type { Process } from "../../../specs/config.ts";
import type { Command, Context } from "../../context.ts";
import { foregroundOf } from "../../foreground.ts";
import type { Invocation } from "../../parse.ts";
import { makeRuntime } from "../../runtime.ts";
import { withSystemErrors } from "../../system_error.ts";
import { execute } from "../exec.ts";

/** The program's PATH. The last directory is for --tools: programs may lie in it directly. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/";

/** These places in the new root are not the tools'. */
const reserved: readonly string[] = [CONTAINER, "/proc", "/sys", "/dev", "/tmp", "/root"];

/** Runs a program of the host in a container, and waits for its end. */
export const run: Command<"debug"> = (context, invocation) => {
  const [id = ""] = invocation.args;
  const makeForeground = foregroundOf(context);
  const { process, tools } = debugProcess(context, invocation);
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  runWaits(runtime, container.refuseExec());
  return execute(runtime, { makeForeground, container }, process, {
    tools,
    detach: false,
    "preserve-fds": 0,
    "ignore-paused": false,
    cgroup: [],
  });
};

/** The process that a command line asks for, and its programs. @throws {RuncError} */
export function debugProcess(
  { environment }: Pick<Context, "environment">,
  { args: [, ...args], options }: Pick<Invocation<"debug">, "args" | "options">,
): { readonly process: Process; readonly tools: ToolRoot } {
  const capabilities = [...new Set([TRACE, ...options.cap.map(capability)])];
  const term = environment("TERM");
  return {
    tools: options.tools === undefined ? hostTools() : directoryTools(resolve(options.tools)),
    process: {
      args: args.length === 0 ? ["sh"] : args,
      cwd: options.cwd,
      terminal: options.tty,
      user: { uid: 0, gid: 0 },
      // Nothing of the container's environment: LD_PRELOAD, for one, names a file of the image.
      env: [`PATH=${PATH}`, "HOME=/root", ...(term ? [`TERM=${term}`] : []), ...options.env],
      // No set-user-id program in the container's files gives more capabilities than were asked for.
      noNewPrivileges: true,
      // Its memory would be written to the container's files, and root of the container can send the signal. core(5)
      rlimits: [{ type: "RLIMIT_CORE", soft: 0n, hard: 0n }],
      capabilities: {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
        inheritable: [],
        ambient: [],
      },
    },
  };
}

/** @throws {RuncError} `usage` */
function capability(word: string): string {
  const name = word.toUpperCase().replace(/^(?!CAP_)/, "CAP_");
  if (capabilityNames.includes(name)) return name;
  throw new RuncError("usage", `unknown capability ${JSON.stringify(word)}`, {
    hint: "capabilities(7) lists them, such as CAP_NET_ADMIN",
  });
}

/** The host's programs and libraries, and what they need of /etc. */
function hostTools(): ToolRoot {
  const user = { uid: 0, gid: 0 };
  const { skeleton, mounts } = hostRoot({ layout: readHostLayout(), user, network: "none", diskBytes: 0, places: [] });
  return {
    entries: skeleton.filter(({ path }) => path !== "/etc/hosts" && !path.startsWith("/home")),
    mounts: mounts.flatMap(({ destination, source = "", type }) =>
      // /etc/localtime may be a symlink to a place that is not shown.
      type === "none" ? [{ source: Deno.realPathSync(source), path: destination }] : []
    ),
  };
}

/** Everything in a directory, at the same place below the new root. @throws {RuncError} */
function directoryTools(directory: string): ToolRoot {
  const entries: ToolEntry[] = [{ path: "/tmp", kind: "directory" }, { path: "/root", kind: "directory" }];
  const mounts: ToolMount[] = [];
  const found = withSystemErrors(`open ${directory}`, () => [...Deno.readDirSync(directory)]);
  for (const { name, isSymlink, isDirectory, isFile } of found) {
    const [path, source] = [`/${name}`, `${directory}/${name}`];
    if (reserved.includes(path)) continue;
    if (isSymlink) entries.push({ path, kind: "symlink", target: Deno.readLinkSync(source) });
    else if (isDirectory) entries.push({ path, kind: "directory" });
    else if (isFile) entries.push({ path, kind: "file", content: "" });
    if (isDirectory || isFile) mounts.push({ source, path });
  }
  if (mounts.length === 0) {
    throw new RuncError("usage", `${directory} has no programs`, {
      hint: "name a directory with static programs, or with the bin, lib and usr of another system",
    });
  }
  return { entries, mounts };
}
