import { assertEquals } from "@std/assert";
import { hasLimits } from "../../../../lib/cgroups/limits/limited.ts";
import type { Resources } from "../../../../lib/specs/config.ts";

Deno.test("hasLimits() is true for anything but device rules", () => {
  const cases: readonly [resources: Resources | undefined, expected: boolean][] = [
    [undefined, false],
    [{}, false],
    [{ devices: [{ allow: false, access: "rwm" }] }, false],
    [{ memory: {}, cpu: undefined, hugepageLimits: [], unified: {}, rdma: {} }, false],
    [{ memory: { limit: 1 } }, true],
    [{ cpu: { cpus: "0" } }, true],
    [{ pids: { limit: 0 } }, true],
    [{ blockIO: { weight: 10 } }, true],
    [{ hugepageLimits: [{ pageSize: "2MB", limit: 0 }] }, true],
    [{ network: { classID: 1 } }, true],
    [{ rdma: { mlx5_0: {} } }, true],
    [{ unified: { "memory.high": "1" } }, true],
  ];
  for (const [resources, expected] of cases) assertEquals(hasLimits(resources), expected, JSON.stringify(resources));
});
