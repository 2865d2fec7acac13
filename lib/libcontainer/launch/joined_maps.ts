/**
 * The id maps of a user namespace that is joined by path. Runs in: parent, before a container is planned.
 *
 * The kernel shows maps below the /proc directory of a process in the namespace, and nowhere else. A path of that kind says which process;
 * for one that is bound elsewhere a process of ours goes in, and is gone again afterwards.
 *
 * @see user_namespaces(7), "User and group ID mappings"
 * @module
 */

import { CloneFlag } from "../../ffi/constants.ts";
import { open } from "../../ffi/files.ts";
import { call, fixedFd, step } from "../../plan/build.ts";
import type { Plan } from "../../plan/op.ts";
import type { IdMapping } from "../../specs/config.ts";
import { Launch } from "./launch.ts";
import { closeForeignStep } from "../steps/namespaces.ts";
import { awaitGo, tell } from "../steps/protocol.ts";
import type { Runtime } from "../runtime.ts";

/** What is fixed in a user namespace that somebody else made. */
export interface JoinedMaps {
  /** As linux.uidMappings has them. */
  readonly uidMappings: readonly IdMapping[];
  /** As linux.gidMappings has them. */
  readonly gidMappings: readonly IdMapping[];
  /** setgroups(2) is given up in it for good. */
  readonly deniesSetgroups: boolean;
}

/** `container host size` a line. */
function parseMap(text: string): readonly IdMapping[] {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [containerID, hostID, size] = line.trim().split(/\s+/).map(Number) as [number, number, number];
    return { containerID, hostID, size };
  });
}

function mapsBelow(directory: string): JoinedMaps {
  const read = (file: string) => parseMap(Deno.readTextFileSync(`${directory}/${file}`));
  const deniesSetgroups = Deno.readTextFileSync(`${directory}/setgroups`).trim() === "deny";
  return { uidMappings: read("uid_map"), gidMappings: read("gid_map"), deniesSetgroups };
}

/** A process that enters the user namespace and waits to be looked at. */
const visit: Plan = {
  stage: [
    closeForeignStep(0),
    step("join the user namespace, wait until the parent has read its ids and exit", "/linux/namespaces", [
      call("setns", [fixedFd("ns-user"), CloneFlag.CLONE_NEWUSER]),
      tell("mapping"),
      ...awaitGo(),
      call("exit_group", [0]),
    ]),
  ],
  init: [],
};

/** @throws {RuncError} where it cannot be entered; {@link Deno.errors} where it cannot be opened. */
export function readJoinedMaps(runtime: Runtime, path: string): JoinedMaps {
  const [, directory] = /^(\/proc\/(?:\d+|self))\/ns\/user$/.exec(path) ?? [];
  if (directory !== undefined) return mapsBelow(directory);
  using namespace = open(runtime.kernel, path, 0);
  using none = open(runtime.kernel, "/dev/null", 0);
  using launch = new Launch({ ...runtime, executor: "native" }, {
    plan: visit,
    stdio: [none.number, none.number, none.number],
    fds: { "ns-user": namespace },
    inheritedFds: 0,
    waits: false,
    says: ["mapping"],
  });
  try {
    launch.next();
    return mapsBelow(`/proc/${launch.stagePid}`);
  } finally {
    launch.abort();
  }
}
