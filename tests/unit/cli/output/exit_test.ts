import { assertEquals } from "@std/assert";
import { exitJson, exitStatus, exitText } from "../../../../lib/cli/output/exit.ts";
import type { Exit } from "../../../../lib/libcontainer/state/exit_record.ts";

const endedAt = "2026-01-02T03:04:05Z";
const rows: readonly [exit: Exit, status: number, text: string][] = [
  [{ source: "monitor", status: 7, code: 7, oomKills: 0, endedAt }, 7, `exited with 7, at ${endedAt}\n`],
  [{ source: "kernel", status: 137, signal: "SIGKILL", coreDumped: false }, 137, "killed by SIGKILL\n"],
  [
    { source: "monitor", status: 139, signal: "SIGSEGV", coreDumped: true, oomKills: 1 },
    139,
    "killed by SIGSEGV, core dumped, 1 process of the container killed for lack of memory\n",
  ],
  [{ source: "unknown" }, 255, "ended; unknown how: nothing that watched it has left a record\n"],
];
for (const [exit, status, text] of rows) {
  Deno.test(`the status ${status}: ${text.trimEnd()}`, () => {
    assertEquals([exitStatus(exit), exitText(exit)], [status, text]);
    assertEquals(JSON.parse(exitJson("web", exit)), { id: "web", ...exit });
  });
}
