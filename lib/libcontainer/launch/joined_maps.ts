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
import { RuncError } from "../../errors.ts";
import { open } from "../../ffi/files.ts";
import { runWaits } from "../../ffi/waits.ts";
import { call, fixedFd, step } from "../../plan/build.ts";
import type { Plan } from "../../plan/op.ts";
import type { IdMapping } from "../../specs/config.ts";
import { type Act, act } from "../plans/parent/act.ts";
import { endProcesses } from "../plans/parent/resources.ts";
import { LaunchWorld } from "./launch_world.ts";
import { runActs } from "./run_acts.ts";
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
    step("join the user namespace, wait until the parent has read its ids and exit", "/linux/namespaces", [
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
  let maps: JoinedMaps | undefined;
  const world = new LaunchWorld({ ...runtime, executor: "native" }, {
    acts,
    stage: () => ({
      plan: () => visit,
      stdio: [none.number, none.number, none.number],
      fds: { "ns-user": namespace },
      inheritedFds: 0,
      waits: false,
    }),
    hookState: () => {
      throw new RuncError("internal", "a visit of a user namespace has no hooks");
    },
    onProcess: () => void (maps = mapsBelow(`/proc/${world.launch.stagePid}`)),
  });
  try {
    runWaits(runtime, runActs(acts, world, world.conversation));
  } finally {
    world.close();
  }
  return maps!;
}

/** The stage waits while the parent reads its maps. It never has a child. */
const acts: readonly Act[] = [
  act("start a process", "/linux/namespaces", { verb: "startStage" }, { undo: [endProcesses] }),
  act("wait until it has joined the user namespace", "/linux/namespaces", {
    verb: "await",
    kind: "mapping",
    by: "stage",
  }),
  act("read the id maps", "/linux/namespaces", { verb: "tellCaller" }),
  act("end the process", "/linux/namespaces", { verb: "endProcesses" }),
];
