/**
 * Commands are killed before their acts, on cgroup v2 with both drivers: `delete --force` leaves nothing, no unit either.
 *
 * Here the program starts slowly, so only one of four acts is killed, of a few commands. With the argument `commands`, of
 * all commands; with `all`, each act of all commands.
 */

import { assert, assertEquals } from "@std/assert";
import { crashEverywhere, doomedCommands, writeSleeping } from "../../../integration/crash_harness.ts";
import { boxTest } from "../../../integration/harness.ts";
import { drivers } from "./drivers.ts";

/** Units of systemd's with the box's name. */
function unitsOf(name: string): string {
  const { stdout } = new Deno.Command("systemctl", {
    args: ["list-units", "--all", "--plain", "--no-legend", `*${name}*`],
  })
    .outputSync();
  return new TextDecoder().decode(stdout);
}

/** Whose acts depend on the cgroup most. */
const usual = ["create"];

for (const { driver, flags, cgroupsPath } of drivers) {
  for (const each of doomedCommands) {
    if (Deno.args.length === 0 && !usual.includes(each.name)) continue;
    boxTest(`${each.name} is killed before its acts: delete --force leaves nothing: ${driver}`, (box) => {
      writeSleeping(box, (config) => void (config.linux.cgroupsPath = cgroupsPath(box)));
      const acts = crashEverywhere(box, { ...each, flags, isSampled: true });
      assert(acts.length > 2, acts.join());
      assertEquals(unitsOf(box.name), "");
    });
  }
}
