import { assertEquals } from "@std/assert";
import { mountPointsOf } from "../../../../lib/cgroups/rdt/resctrl.ts";

Deno.test("mountPointsOf() finds resctrl wherever it is mounted", () => {
  const root = "24 1 254:0 / / rw shared:1 - ext4 /dev/root rw";
  const cases: readonly [name: string, mountinfo: string, expected: readonly string[]][] = [
    ["nowhere", `${root}\n`, []],
    ["elsewhere", `${root}\n40 24 0:30 / /mnt/rdt rw - resctrl resctrl rw\n`, ["/mnt/rdt"]],
    ["with a space in its path", "40 24 0:30 / /mnt/my\\040rdt rw shared:7 - resctrl none rw,cdp\n", ["/mnt/my rdt"]],
    [
      "twice, one of them perhaps hidden",
      "40 24 0:30 / /mnt/a rw - resctrl resctrl rw\n41 24 0:30 / /mnt/b rw - resctrl resctrl rw\n",
      ["/mnt/a", "/mnt/b"],
    ],
    ["its source alone has the name", "40 24 0:30 / /mnt rw - tmpfs resctrl rw\n", []],
  ];
  for (const [name, mountinfo, expected] of cases) assertEquals(mountPointsOf(mountinfo), expected, name);
});
