import { assertEquals } from "@std/assert";
import { mountPointOf } from "../../../lib/cgroups/resctrl.ts";

Deno.test("mountPointOf() finds resctrl wherever it is mounted", () => {
  const root = "24 1 254:0 / / rw shared:1 - ext4 /dev/root rw";
  const cases: readonly [name: string, mountinfo: string, expected: string | undefined][] = [
    ["nowhere", `${root}\n`, undefined],
    ["elsewhere", `${root}\n40 24 0:30 / /mnt/rdt rw - resctrl resctrl rw\n`, "/mnt/rdt"],
    ["with a space in its path", "40 24 0:30 / /mnt/my\\040rdt rw shared:7 - resctrl none rw,cdp\n", "/mnt/my rdt"],
    ["its source alone has the name", "40 24 0:30 / /mnt rw - tmpfs resctrl rw\n", undefined],
  ];
  for (const [name, mountinfo, expected] of cases) assertEquals(mountPointOf(mountinfo), expected, name);
});
