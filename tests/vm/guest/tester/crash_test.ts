/** Commands of a user who is not root are killed before their acts: `delete --force` leaves nothing. */

import { assert, assertEquals } from "@std/assert";
import { crashEverywhere, doomedCommands, writeSleeping } from "../../../integration/crash_harness.ts";
import { boxTest } from "../../../integration/harness.ts";
import { cgroupOf, rootless } from "./rootless.ts";

/** The cgroup of a container: beside ours. */
const containersCgroup = (id: string) => `/sys/fs/cgroup${cgroupOf("self").replace(/[^/]*$/, id)}`;

for (const each of doomedCommands) {
  // Its programs of the host are only root's to mount.
  if (each.name === "debug") continue;
  if (Deno.args.length === 0 && each.name !== "create") continue;
  boxTest(`${each.name} is killed before its acts: delete --force leaves nothing: rootless`, (box) => {
    writeSleeping(box, rootless);
    const acts = crashEverywhere(box, { ...each, isSampled: true });
    assert(acts.length > 2, acts.join());
    const isThere = [...Deno.readDirSync(containersCgroup(""))].some(({ name }) => name === box.id);
    assertEquals(isThere, false);
  });
}
