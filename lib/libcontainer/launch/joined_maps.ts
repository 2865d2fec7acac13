/**
 * The id maps of a user namespace that is joined by path. Runs in: parent, before a container is planned.
 *
 * The kernel shows the maps only in the /proc directory of a process in the namespace. If the path is in such a
 * directory, that one is read. For a namespace mounted elsewhere, a short-lived process joins it.
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

/** Properties of an existing user namespace. */
export interface JoinedMaps {
  /** In the format of linux.uidMappings. */
  readonly uidMappings: readonly IdMapping[];
  /** In the format of linux.gidMappings. */
  readonly gidMappings: readonly IdMapping[];
  /** setgroups(2) is denied in it permanently. */
  readonly deniesSetgroups: boolean;
}

/** Each line is `container host size`. */
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

/** A process that joins the user namespace and waits while the parent reads its maps. */
const visit: Plan = {
  stage: [
    closeForeignStep(0),
    step("join the user namespace, to see its ids", "/linux/namespaces", [
      call("setns", [fixedFd("ns-user"), CloneFlag.CLONE_NEWUSER]),
      tell("mapping"),
      ...awaitGo(),
      call("exit_group", [0]),
    ]),
  ],
  init: [],
};

/** @throws {RuncError} if it cannot be joined; {@link Deno.errors} if it cannot be opened. */
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
